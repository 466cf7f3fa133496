use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::gate::Wanted;
use crate::inventory::Layer;
use crate::policy::fixtures;
use crate::policy::{FileFacts, FileType as JunkType, PolicySet};

/// A container whose layers and emptyDir are folders of the test's own.
struct Stage {
    home: tempfile::TempDir,
    container: Container,
    config: Config,
}

impl Stage {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let [upper, lower, empty_dir] = ["upper", "lower", "empty-dir"].map(|name| home.path().join(name));
        for folder in [upper.join("tmp"), lower.join("tmp"), lower.join("scratch"), empty_dir.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        let mut container = fixtures::container();
        container.layer = Some(Layer { upper, lower: vec![lower], mount_id: 1 });
        container.volumes[0].host_path = empty_dir;
        let config = Config { state: home.path().join("state"), ..Config::default() };
        Self { home, container, config }
    }

    fn write(&self, file: &str) {
        fs::write(self.home.path().join(file), "content").unwrap();
    }

    /// The chain of the checks before the removal's own, for a policy with `more`; `after`: seconds from now.
    fn chain(&self, path: &str, more: &str, after: i64) -> Vec<Step> {
        let set = PolicySet::new(vec![policy(more)]).unwrap();
        let standing = Standing::without_agent(&self.config, &self.container, Wanted::ByOneOf(&set)).unwrap();
        let now = (jiff::Timestamp::now().as_second() + after, 0);
        let mut chain = Chain::default();
        let _ = self.ask(Path::new(path), &standing, now, &mut chain);
        chain.into_steps()
    }

    fn ask(&self, path: &Path, standing: &Standing, now: (i64, u32), chain: &mut Chain) -> Result<(), Halt> {
        let place = storage(&self.container, path, chain)?;
        chain.append(standing.before_files.clone())?;
        let policy = standing.policy.as_ref().unwrap();
        let stat = entry(&self.container, &place, path, chain)?;
        let file = File { place, stat, path };
        let container = &Arc::new(self.container.clone());
        let (cgroups, audit) = (&Cgroups::find().unwrap(), Arc::new(crate::one_shot::NothingToAudit));
        let means = Means { container, standing: standing.clone(), cgroups, audit, now };
        let named = named(&means, policy, &file, chain)?;
        image_layer(container, &file, chain)?;
        newest(&means, policy, &file, &named, chain)?;
        chain.append(standing.after_files.clone())?;
        conclude(policy, &named, chain);
        Ok(())
    }

    /// Level and word (of a yes, the answer) of the step that decides, a day from now.
    fn decided(&self, path: &str, more: &str) -> (u8, String) {
        let steps = self.chain(path, more, 86_400);
        let deciding: Vec<_> = steps.iter().filter(|step| step.deciding).collect();
        assert_eq!(deciding.len(), 1, "{path}: {steps:?}");
        let step = deciding[0];
        (step.level, step.reason.clone().unwrap_or_else(|| step.answer.clone()))
    }
}

/// A policy for the fixtures' container, with these lines in its spec; rules of its own where they have none.
fn policy(more: &str) -> Arc<SweepPolicy> {
    if !more.contains("junk:") {
        return fixtures::policy("p", more);
    }
    let text = format!(
        "apiVersion: podsweep.io/v1alpha1\nkind: SweepPolicy\nmetadata: {{name: p}}\nspec:\n  \
         select: {{containers: [app]}}\n{more}\n"
    );
    Arc::new(crate::policy::parse(&text, Path::new("policy.yaml")).unwrap())
}

const ENFORCE: &str = "  mode: Enforce";

#[test]
fn a_file_of_the_writable_layer_is_judged_by_the_rules() {
    let stage = Stage::new();
    stage.write("upper/tmp/junk");
    assert_eq!(stage.decided("/tmp/junk", ENFORCE), (4, "yes: Delete".into()));
    assert_eq!(stage.decided("/tmp/junk", "  mode: DryRun"), (4, "DryRun".into()));
    assert_eq!(stage.decided("/tmp/junk", "  mode: Observe"), (4, "ObserveOnly".into()));
    stage.write("upper/precious");
    assert_eq!(stage.decided("/precious", ENFORCE), (4, "NotNamed".into()));
    assert_eq!(stage.decided("/etc/app/x", ENFORCE), (0, "MountInside".into()));
}

#[test]
fn deny_lists_are_told_apart() {
    let mut stage = Stage::new();
    stage.write("upper/tmp/junk");
    let never = "  mode: Enforce\n  never: ['/tmp/**']";
    assert_eq!(stage.decided("/tmp/junk", never), (4, "Never".into()));
    stage.config.never = vec!["/tmp/junk".into()];
    assert_eq!(stage.decided("/tmp/junk", never), (1, "Never".into()));
}

#[test]
fn a_file_that_the_image_has_too_stays() {
    let stage = Stage::new();
    stage.write("upper/tmp/config");
    stage.write("lower/tmp/config");
    assert_eq!(stage.decided("/tmp/config", ENFORCE), (0, "LowerLayer".into()));
}

#[test]
fn a_file_of_a_volume_is_looked_for_there_and_not_in_the_image() {
    let stage = Stage::new();
    stage.write("empty-dir/junk");
    stage.write("lower/scratch/junk");
    assert_eq!(stage.decided("/scratch/junk", ENFORCE), (4, "yes: Delete".into()));
}

#[test]
fn what_is_not_there_says_why() {
    let stage = Stage::new();
    stage.write("upper/tmp/junk");
    stage.write("lower/tmp/only");
    symlink("tmp", stage.home.path().join("upper/alias")).unwrap();
    fs::create_dir(stage.home.path().join("upper/tmp/d")).unwrap();
    for (path, word) in [
        ("/tmp/missing", "NotThere"),
        ("/tmp/junk/below-a-file", "NotThere"),
        // No process has this root, so that nobody can say that it is a symlink.
        ("/alias/junk", "NotThere"),
        ("/tmp/only", "OfTheImage"),
        ("/tmp/d", "Directory"),
    ] {
        assert_eq!(stage.decided(path, ENFORCE), (0, word.into()), "{path}");
    }
}

#[test]
fn the_newest_that_a_rule_keeps_are_told_from_the_rest() {
    let stage = Stage::new();
    for name in ["upper/tmp/a", "upper/tmp/b", "upper/tmp/b.lock"] {
        stage.write(name);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let junk =
        "  mode: Enforce\n  junk: [{name: keep, paths: ['/tmp/*'], exclude: ['**/*.lock'], keepNewest: 1}]";
    assert_eq!(stage.decided("/tmp/b", junk), (4, "Newest".into()), "the lock is newer and no junk");
    assert_eq!(stage.decided("/tmp/a", junk), (4, "yes: Delete".into()));
}

#[test]
fn what_is_built_in_has_its_own_level() {
    let stage = Stage::new();
    stage.write("upper/tmp/junk");
    let young = |after| {
        let steps = stage.chain("/tmp/junk", ENFORCE, after);
        steps.into_iter().find(|step| step.deciding).map(|step| (step.level, step.reason)).unwrap()
    };
    assert_eq!(young(5), (0, Some("TooYoung".into())));
    assert_eq!(young(60), (4, Some("TooYoung".into())));
    fs::hard_link(stage.home.path().join("upper/tmp/junk"), stage.home.path().join("upper/tmp/twin"))
        .unwrap();
    assert_eq!(stage.decided("/tmp/junk", ENFORCE), (0, "HardLinked".into()));
}

#[test]
fn what_no_agent_can_be_asked_is_not_made_up() {
    let mut stage = Stage::new();
    stage.write("upper/tmp/junk");
    let folder = stage.home.path().join("held");
    fs::create_dir(&folder).unwrap();
    let held = crate::report::StateLock::take(&folder);
    stage.config.state = folder;
    let steps = stage.chain("/tmp/junk", ENFORCE, 86_400);
    drop(held);
    let unknown: Vec<_> = steps
        .iter()
        .filter(|step| step.answer.starts_with("not known: process"))
        .map(|step| step.level)
        .collect();
    assert_eq!(unknown, [1, 5, 5, 6, 7], "{steps:?}");
    let steps = stage.chain("/tmp/junk", ENFORCE, 86_400);
    assert!(steps.iter().all(|step| !step.answer.contains("not known")), "{steps:?}");
}

#[tokio::test]
async fn a_path_that_goes_up_is_refused() {
    let stage = Stage::new();
    let (container, cgroups) = (&Arc::new(stage.container.clone()), &Cgroups::find().unwrap());
    let audit = Arc::new(crate::one_shot::NothingToAudit);
    let means = Means { container, standing: Standing::default(), cgroups, audit, now: (0, 0) };
    let error = explain_file(means, Path::new("/tmp/../etc/passwd")).await.unwrap_err();
    assert!(matches!(error, ExplainError::NotStraight(_)), "{error}");
}

proptest! {
    /// Whatever the file is, the chain of the rules ends in the word that a scan would count.
    #[test]
    fn the_chain_ends_in_the_word_that_a_scan_counts(
        path in prop::sample::select(vec!["/tmp/x", "/tmp/x.lock", "/srv/x", "/tmp/deep/er/x", "/app/x.part"]),
        (uid, links, size) in (0u32..3, 1u64..3, 0u64..3),
        (mtime, ctime) in (0i64..8000, 0i64..8000),
        file_type in prop::sample::select(vec![Some(JunkType::File), Some(JunkType::Symlink), None]),
        (node, own) in (any::<bool>(), any::<bool>()),
    ) {
        let policy = policy("  mode: Enforce
  junk:
  - {name: a, paths: ['/tmp/*'], exclude: ['**/*.lock'], owners: [1], minSize: 2, olderThan: 10s}
  - {name: b, paths: ['/tmp/**'], olderThan: 1h}
  - {name: c, paths: ['/app/*.part'], volumes: [EmptyDir]}");
        let node_never = if node { vec!["**/deep/**".to_owned()] } else { Vec::new() };
        let mut policy = (*policy).clone();
        if own { policy.spec.never = vec!["/tmp/*.lock".into()]; }
        let facts = FileFacts { file_type, mode: 0, uid, links, size, mtime: (mtime, 0), ctime: (ctime, 0) };
        let kind = VolumeKind::WritableLayer;
        let (node_never, facts, now) = (&node_never[..], &facts, (7200, 0));
        let asked = Asked { policy: &policy, node_never, kind, path: path.as_bytes(), facts, now };
        let mut chain = Chain::default();
        let named = rules::ask(&asked, &mut chain);
        let never: Vec<_> = node_never.iter().chain(&policy.spec.never).cloned().collect();
        let judged = Junk::compile(&policy.spec.junk, &never).unwrap().judge(kind, path.as_bytes(), facts, now);
        let steps = chain.into_steps();
        let decided: Vec<_> = steps.iter().filter(|step| step.deciding).collect();
        match (judged, named) {
            (Judgement::Junk { rule, .. }, Ok(named)) => {
                prop_assert_eq!(rule, named.rule);
                prop_assert!(decided.is_empty());
            }
            (Judgement::Kept(reason), Err(No)) => {
                prop_assert_eq!(decided.len(), 1);
                prop_assert_eq!(decided[0].reason.clone(), Some(word(reason)));
            }
            (Judgement::NotNamed, Err(No)) => {
                prop_assert_eq!(decided[0].reason.as_deref(), Some("NotNamed"));
            }
            (judged, named) => prop_assert!(false, "{:?} {:?}", judged, named),
        }
    }
}
