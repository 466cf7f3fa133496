use super::*;
use crate::config::Switch;
use crate::policy::fixtures::policy;
use crate::report::Outcome;
use crate::sweep::Event;

struct Nobody;

impl Follow for Nobody {
    fn phase(&self, _: &SweepRecord) {}

    fn event(&self, _: &str, _: &Event) {}
}

async fn sweep_directory(path: &Path, config: &Config) -> anyhow::Result<SweepRecord> {
    let policy = policy("p", "");
    let subject = find(&Target::Dir(path.into()), &policy, config)?;
    sweep(subject, policy, Mode::Enforce, config, &Nobody, &CancellationToken::new()).await
}

#[test]
fn a_directory_is_known_by_its_real_path() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", home.path().join("link")).unwrap();
    let found = |name: &str| {
        find(&Target::Dir(home.path().join(name)), &policy("p", ""), &Config::default())
            .map(|subject| subject.roots[0].host.clone())
    };
    assert_eq!(found("link").unwrap(), home.path().canonicalize().unwrap().join("real"));
    assert!(found("gone").err().unwrap().to_string().contains("gone"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_the_system_is_refused_also_by_another_name() {
    let home = tempfile::tempdir().unwrap();
    let config = Config { state: home.path().join("state"), ..Config::default() };
    std::os::unix::fs::symlink("/etc", home.path().join("junk")).unwrap();
    let error = sweep_directory(&home.path().join("junk"), &config).await.unwrap_err().to_string();
    assert!(error.contains("dir:\"/etc\" is not swept"), "{error}");
    assert!(!config.state.exists(), "refused before anything was opened");
    let error = sweep_directory(home.path(), &config).await.unwrap_err().to_string();
    assert!(error.contains("keeps its history"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_switch_holds_for_directories_too() {
    let (home, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = Config { state: state.path().into(), sweeps: Switch::Disabled, ..Config::default() };
    let record = sweep_directory(home.path(), &config).await.unwrap();
    assert_eq!((record.outcome, record.reason.as_deref()), (Some(Outcome::Refused), Some("NodeDisabled")));
}
