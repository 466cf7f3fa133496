//! Why one file of a container would, or would not, be removed: reads what the policy stage must know and asks it.
//!
//! In: a container, a path as it sees it, policies. Out: the chain of answers. Must never: follow a symlink in the
//! container, change anything.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::inventory::Container;
use crate::policy::explain::{Asked, Step, explain};
use crate::policy::{FileFacts, NodeGuard, PolicySet};
use crate::scan::{Identity, facts};

/// Asks everybody about one file. `now`: seconds and nanoseconds since 1970.
pub fn explain_file(
    container: &Container,
    path: &Path,
    set: &PolicySet,
    guard: &NodeGuard,
    now: (i64, u32),
) -> std::io::Result<Vec<Step>> {
    if let Some(layer) = layer_with(container, path)? {
        return Ok(vec![Step {
            level: 0,
            question: "is it a file of the image?".into(),
            answer: format!(
                "yes, also in {}: stays; removing it would free nothing and leave a whiteout",
                layer.display()
            ),
            deciding: true,
        }]);
    }
    let facts = file_facts(container, path)?;
    let asked = Asked { container, path: path.as_os_str().as_bytes(), facts: facts.as_ref(), now };
    Ok(explain(set, guard, &asked))
}

/// The image's layer that has this path, too.
fn layer_with(container: &Container, path: &Path) -> std::io::Result<Option<PathBuf>> {
    if container.volumes.iter().any(|volume| path.starts_with(&volume.mount_point)) {
        return Ok(None);
    }
    for lower in container.layer.iter().flat_map(|layer| &layer.lower) {
        if stat_below(lower, path)?.is_some() {
            return Ok(Some(lower.clone()));
        }
    }
    Ok(None)
}

/// What the file is on the host's side of its storage; `None` where it is not there.
fn file_facts(container: &Container, path: &Path) -> std::io::Result<Option<FileFacts>> {
    let volumes = container.volumes.iter().map(|volume| (volume.mount_point.as_path(), &volume.host_path));
    let layer = container.layer.iter().map(|layer| (Path::new("/"), &layer.upper));
    let innermost = volumes
        .chain(layer)
        .filter(|(mount_point, _)| path.starts_with(mount_point))
        .max_by_key(|(mount_point, _)| mount_point.components().count());
    let Some((mount_point, host)) = innermost else { return Ok(None) };
    let below = path.strip_prefix(mount_point).unwrap_or(path);
    Ok(stat_below(host, below)?.map(|stat| facts(&Identity::from(&stat))))
}

fn stat_below(root: &Path, path: &Path) -> std::io::Result<Option<Stat>> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else { return Ok(None) };
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(&root, parent, flags, Mode::empty(), resolve)
        .and_then(|parent| rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW));
    match found {
        Ok(stat) => Ok(Some(stat)),
        // A symlink on the way, or a `..` that leads out, is not the file that was asked about: rules do not reach
        // through them either.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Config;
    use crate::inventory::Layer;
    use crate::policy::fixtures;

    /// A container whose layers and emptyDir are folders of the test's own.
    struct Stage {
        home: tempfile::TempDir,
        container: Container,
    }

    impl Stage {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let [upper, lower, empty_dir] =
                ["upper", "lower", "empty-dir"].map(|name| home.path().join(name));
            for folder in [upper.join("tmp"), lower.join("tmp"), lower.join("scratch"), empty_dir.clone()] {
                fs::create_dir_all(folder).unwrap();
            }
            let mut container = fixtures::container();
            container.layer = Some(Layer { upper, lower: vec![lower], mount_id: 1 });
            container.volumes[0].host_path = empty_dir;
            Self { home, container }
        }

        fn write(&self, file: &str) {
            fs::write(self.home.path().join(file), "content").unwrap();
        }

        /// The answer that decides, a day from now.
        fn decided(&self, path: &str) -> (u8, String) {
            let set = PolicySet::new(vec![fixtures::policy("p", "")]).unwrap();
            let guard = NodeGuard::new(&Config::default()).unwrap();
            let now = (jiff::Timestamp::now().as_second() + 86_400, 0);
            let steps = explain_file(&self.container, Path::new(path), &set, &guard, now).unwrap();
            let deciding: Vec<_> = steps.into_iter().filter(|step| step.deciding).collect();
            assert_eq!(deciding.len(), 1, "{path}: {deciding:?}");
            (deciding[0].level, deciding[0].answer.clone())
        }
    }

    #[test]
    fn a_file_of_the_writable_layer_is_judged_by_the_rules() {
        let stage = Stage::new();
        stage.write("upper/tmp/junk");
        assert_eq!(stage.decided("/tmp/junk"), (4, "yes: Delete".into()));
        stage.write("upper/precious");
        let (level, answer) = stage.decided("/precious");
        assert!(level == 4 && answer.ends_with("stays"), "{answer}");
    }

    #[test]
    fn a_file_that_the_image_has_too_stays() {
        let stage = Stage::new();
        stage.write("upper/tmp/config");
        stage.write("lower/tmp/config");
        let (level, answer) = stage.decided("/tmp/config");
        assert!(level == 0 && answer.contains("lower") && answer.contains("stays"), "{answer}");
    }

    #[test]
    fn a_file_of_a_volume_is_looked_for_there_and_not_in_the_image() {
        let stage = Stage::new();
        stage.write("empty-dir/junk");
        stage.write("lower/scratch/junk");
        assert_eq!(stage.decided("/scratch/junk"), (4, "yes: Delete".into()));
    }

    #[test]
    fn what_is_not_there_or_lies_behind_a_symlink_stays() {
        let stage = Stage::new();
        stage.write("upper/tmp/junk");
        symlink("tmp", stage.home.path().join("upper/alias")).unwrap();
        symlink("/tmp", stage.home.path().join("upper/tmp/inner")).unwrap();
        for path in ["/tmp/missing", "/tmp/inner/junk", "/tmp/junk/below-a-file", "/tmp/../../../etc/passwd"]
        {
            let (level, answer) = stage.decided(path);
            assert!(level == 0 && answer.starts_with("it is not there"), "{path}: {answer}");
        }
    }
}
