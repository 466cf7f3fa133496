//! The folder of policies on a host, read again when it changes.
//!
//! In: a path; the caller polls (every two seconds is enough). Out: a whole new [`PolicySet`], or every error in it.
//! Must never: hand on a set of which one file is bad, or read more than the limits below.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::load::parse_with_fields;
use super::{PolicyError, PolicySet};
use crate::document::{self, FileError, Problem};

/// Files in the folder; each is read whole and matched against every container.
pub const MAX_FILES: usize = 256;

/// Reads every policy of a folder: `*.yaml` and `*.yml`, by name, subfolders and hidden files not. All of them, or
/// the errors of all that are bad.
pub fn load_folder(path: &Path) -> Result<PolicySet, Vec<PolicyError>> {
    let files = list(path).map_err(|error| vec![error])?;
    read_all(path, files.keys())
}

/// A folder that is polled for changes.
#[derive(Debug)]
pub struct PolicyFolder {
    path: PathBuf,
    /// What the folder looked like when it was last read.
    seen: Option<Result<Files, io::ErrorKind>>,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Also changes where a tool sets the mtime back (`cp -p`, `touch -r`).
    changed: (i64, i64),
}

type Files = BTreeMap<OsString, Fingerprint>;

impl PolicyFolder {
    /// The first poll reads it.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), seen: None }
    }

    /// `None`: as it was. `Some(Err)`: the caller keeps the policies that it has.
    pub fn poll(&mut self) -> Option<Result<PolicySet, Vec<PolicyError>>> {
        let listed = list(&self.path);
        let looks = match &listed {
            Ok(files) => Ok(files.clone()),
            Err(FileError::Read { source, .. }) => Err(source.kind()),
            // Too many files: the same error again until the folder changes in some other way.
            Err(_) => Err(io::ErrorKind::Other),
        };
        if self.seen.as_ref() == Some(&looks) {
            return None;
        }
        // Remembered before the files are read: what changes in between is seen by the next poll.
        self.seen = Some(looks);
        Some(listed.map_err(|error| vec![error]).and_then(|files| read_all(&self.path, files.keys())))
    }
}

/// The policy files of a folder as they look now, symlinks followed (Kubernetes mounts ConfigMaps as such).
fn list(folder: &Path) -> Result<Files, PolicyError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| FileError::Read { path, source }
    };
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let name = entry.map_err(failed(folder))?.file_name();
        if !is_policy(&name) {
            continue;
        }
        let path = folder.join(&name);
        let metadata = std::fs::metadata(&path).map_err(failed(&path))?;
        if !metadata.is_file() {
            continue;
        }
        if files.len() == MAX_FILES {
            let problem = format!("holds more than {MAX_FILES} policies; merge some, or move them elsewhere");
            return Err(FileError::Unusable { path: folder.to_path_buf(), problem });
        }
        files.insert(name, Fingerprint::of(&metadata));
    }
    Ok(files)
}

fn is_policy(name: &OsString) -> bool {
    let path = Path::new(name);
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    is_yaml && !name.to_string_lossy().starts_with('.')
}

impl Fingerprint {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

fn read_all<'a>(
    folder: &Path,
    names: impl Iterator<Item = &'a OsString>,
) -> Result<PolicySet, Vec<PolicyError>> {
    let mut policies = Vec::new();
    let mut errors = Vec::new();
    let mut first_file_of: BTreeMap<String, PathBuf> = BTreeMap::new();
    for name in names {
        let path = folder.join(name);
        let (policy, fields) = match document::read(&path).and_then(|text| parse_with_fields(&text, &path)) {
            Ok(read) => read,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        if let Some(first) = first_file_of.get(&policy.metadata.name) {
            let message = format!(
                "{:?} is also the name of the policy in {}; rename one",
                policy.metadata.name,
                first.display()
            );
            let problem = Problem { field: "metadata.name".to_owned(), message };
            errors.push(FileError::located(&path, &[problem], &fields));
            continue;
        }
        first_file_of.insert(policy.metadata.name.clone(), path);
        policies.push(Arc::new(policy));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    PolicySet::new(policies).map_err(|error| {
        vec![FileError::Unusable {
            path: folder.to_path_buf(),
            problem: format!("has a select that fails: {error}"),
        }]
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn text(name: &str, more: &str) -> String {
        format!(
            "apiVersion: podsweep.io/v1alpha1\nkind: SweepPolicy\nmetadata: {{name: {name}}}\nspec:\n  \
             select: {{images: ['x']}}\n  junk: [{{name: a, paths: [/tmp/x]}}]\n{more}"
        )
    }

    fn names(set: &PolicySet) -> Vec<&str> {
        set.policies().iter().map(|policy| policy.metadata.name.as_str()).collect()
    }

    #[test]
    fn reads_yaml_files_by_name_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b.yaml"), text("one", "")).unwrap();
        fs::write(folder.path().join("a.yml"), text("two", "")).unwrap();
        fs::write(folder.path().join(".c.yaml"), "editor's swap file").unwrap();
        fs::write(folder.path().join("README"), "not yaml: [").unwrap();
        fs::create_dir(folder.path().join("d.yaml")).unwrap();
        assert_eq!(names(&load_folder(folder.path()).unwrap()), ["two", "one"]);
    }

    #[test]
    fn one_bad_file_refuses_the_whole_set_and_all_bad_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        for (file, content) in
            [("a.yaml", text("a", "")), ("b.yaml", text("B", "")), ("c.yaml", "x: 1".into())]
        {
            fs::write(folder.path().join(file), content).unwrap();
        }
        let errors = load_folder(folder.path()).unwrap_err();
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 2, "{shown:?}");
        assert!(shown[0].contains("b.yaml:3:18: metadata.name: \"B\""), "{shown:?}");
        assert!(shown[1].contains("c.yaml:1:1: x: unknown field"), "{shown:?}");
    }

    #[test]
    fn two_files_may_not_have_one_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), text("same", "")).unwrap();
        fs::write(folder.path().join("b.yaml"), text("same", "")).unwrap();
        let errors = load_folder(folder.path()).unwrap_err();
        let shown = errors[0].to_string();
        assert!(shown.contains("b.yaml:3:18: metadata.name") && shown.contains("a.yaml"), "{shown}");
    }

    #[test]
    fn a_change_is_seen_once_and_the_repair_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, text("a", "")).unwrap();
        let mut polled = PolicyFolder::new(folder.path());
        assert_eq!(names(&polled.poll().unwrap().unwrap()), ["a"]);
        assert!(polled.poll().is_none());

        // Same length, and the same mtime: only inode and ctime tell.
        let before = fs::metadata(&file).unwrap().modified().unwrap();
        let replacement = folder.path().join("new");
        fs::write(&replacement, text("b", "")).unwrap();
        fs::File::options().write(true).open(&replacement).unwrap().set_modified(before).unwrap();
        fs::rename(&replacement, &file).unwrap();
        assert_eq!(names(&polled.poll().unwrap().unwrap()), ["b"]);

        fs::write(&file, text("a", "  slots: 1\n")).unwrap();
        assert!(polled.poll().unwrap().is_err());
        assert!(polled.poll().is_none());
        fs::write(&file, text("a", "")).unwrap();
        assert!(polled.poll().unwrap().is_ok());
        fs::remove_file(&file).unwrap();
        assert!(polled.poll().unwrap().unwrap().is_empty());
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut polled = PolicyFolder::new(folder.path().join("later"));
        let errors = polled.poll().unwrap().unwrap_err();
        assert!(errors[0].to_string().contains("cannot read it"), "{errors:?}");
        assert!(polled.poll().is_none());
        fs::create_dir(folder.path().join("later")).unwrap();
        assert!(polled.poll().unwrap().unwrap().is_empty());
    }

    #[test]
    fn size_and_number_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("a.yaml"),
            " ".repeat(usize::try_from(document::MAX_FILE_BYTES).unwrap() + 1),
        )
        .unwrap();
        assert!(load_folder(folder.path()).unwrap_err()[0].to_string().contains("larger than"));
        for number in 0..MAX_FILES {
            fs::write(folder.path().join(format!("p{number}.yaml")), "").unwrap();
        }
        assert!(load_folder(folder.path()).unwrap_err()[0].to_string().contains("more than 256"));
    }
}
