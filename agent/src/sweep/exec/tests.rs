//! Exec on a real container: its own `rm`, run by chroot in place of the API server; every fate is the filesystem's.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::audit::{Audit, Fate};
use super::super::run::{Tools, run_by_clock};
use super::super::test_bed::{
    ANY_PRESSURE, InThisProcess, Lister, Pod, Remembers, in_an_hour, list, policy_with, rule,
};
use super::super::{Done, Plan, Stuck, plan_roots};
use super::{NotRun, PodContainer, PodExec, Ran, RmCommand};
use crate::inventory::{Container, Names};
use crate::kernel::Cgroups;
use crate::policy::{Action, Executor, Mode, Spec};
use crate::report::Outcome;
use crate::scan::Kept;

/// What happens as a command arrives at the container, before it is run.
type OnArrival = Box<dyn Fn(&[String], &mut dyn FnMut()) -> Option<Result<Ran, NotRun>> + Send + Sync>;

/// Runs commands in a [`Pod`]. `arrival` may answer in place of the container.
struct ByChroot {
    root: PathBuf,
    commands: Mutex<Vec<Vec<String>>>,
    arrival: OnArrival,
    /// Answers to whether it is still this container; the last stands.
    still: Mutex<Vec<Result<(), NotRun>>>,
}

impl std::fmt::Debug for ByChroot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ByChroot")
    }
}

impl ByChroot {
    fn of(pod: &Pod) -> Self {
        Self::with(pod, |_, _| None)
    }

    fn with(
        pod: &Pod,
        arrival: impl Fn(&[String], &mut dyn FnMut()) -> Option<Result<Ran, NotRun>> + Send + Sync + 'static,
    ) -> Self {
        let root = PathBuf::from(format!("/proc/{}/root", pod.pid()));
        let still = Mutex::new(vec![Ok(())]);
        Self { root, commands: Mutex::default(), arrival: Box::new(arrival), still }
    }

    /// Files named to `rm` or `rmdir`.
    fn named(&self) -> BTreeSet<String> {
        let commands = self.commands.lock().unwrap();
        commands.iter().flat_map(|command| operands(command).to_vec()).collect()
    }
}

fn operands(command: &[String]) -> &[String] {
    let end = command.iter().position(|word| word == "--").expect("a command without --");
    &command[end + 1..]
}

impl PodExec for ByChroot {
    fn must_be(&self, at: &PodContainer) -> Result<(), NotRun> {
        assert_eq!((at.namespace.as_str(), at.pod.as_str(), at.container.as_str()), ("shop", "web-0", "app"));
        let mut still = self.still.lock().unwrap();
        if still.len() > 1 { still.remove(0) } else { still[0].clone() }
    }

    fn run(
        &self,
        _: &PodContainer,
        command: &RmCommand,
        within: Duration,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Ran, NotRun> {
        let arguments = command.arguments();
        self.commands.lock().unwrap().push(arguments.to_vec());
        if let Some(answer) = (self.arrival)(arguments, meanwhile) {
            return answer;
        }
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.root).args(arguments).env_clear().env("PATH", "/bin:/usr/sbin");
        let mut child = chroot.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < within, "{arguments:?} hangs");
            meanwhile();
            std::thread::sleep(Duration::from_millis(5));
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Ran { code: output.status.code(), said })
    }
}

/// Debian's busybox-static has no `nice`: this one only does as it is told.
const NICE: &str = "#!/bin/busybox sh\n[ \"$1 $2\" = \"-n 19\" ] || exit 125\nshift 2\nexec \"$@\"\n";

fn pod_with(programs: &'static [&'static str]) -> Pod {
    let image = move |lower: &Path| {
        for program in programs {
            let path = lower.join("bin").join(program);
            if *program == "nice" {
                fs::write(&path, NICE).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            } else {
                symlink("busybox", &path).unwrap();
            }
        }
    };
    Pod::start(image, |_| {})
}

fn pod() -> Pod {
    pod_with(&["rm", "rmdir", "nice"])
}

fn write(pod: &Pod, path: &str) {
    fs::write(pod.inside(path), "junk").unwrap();
}

fn container(pod: &Pod) -> Container {
    let word = |word: &str| Some(word.to_owned());
    let names = Names {
        namespace: word("shop"),
        pod: word("web-0"),
        container: word("app"),
        pod_uid: word("uid"),
        ..Names::default()
    };
    Container { names, ..pod.container() }
}

struct Swept {
    done: Done,
    fates: Vec<(String, Fate)>,
    announced: usize,
}

impl Swept {
    fn end(&self) -> (Outcome, &str) {
        (self.done.outcome, &self.done.reason)
    }

    fn fate(&self, path: &str) -> Fate {
        self.fates.iter().find(|(at, _)| at == path).unwrap_or_else(|| panic!("{path}: {:?}", self.fates)).1
    }
}

/// A sweep of everything in the container's /tmp, an hour from now.
async fn sweep(pod: &Pod, pods: &Arc<ByChroot>, mode: Mode, change: impl FnOnce(&mut Spec)) -> Swept {
    let policy = Arc::new(policy_with(vec![rule("scratch", "/tmp/**")], |spec| {
        spec.sweep.executor = Executor::Exec;
        change(spec);
    }));
    let container = container(pod);
    let roots = plan_roots(&container, &policy.spec.junk);
    let plan = Plan {
        id: "sweep".into(),
        container: Some(Arc::new(container)),
        policy,
        mode,
        roots,
        never: Vec::new(),
    };
    let audit = Arc::new(Remembers::default());
    // What a scan by that rule would find.
    let mut candidates = list(&pod.upper(), Action::Delete);
    candidates.retain(|candidate| candidate.path.starts_with(b"tmp/"));
    let paths: Vec<_> =
        candidates.iter().map(|candidate| String::from_utf8_lossy(&candidate.path).into_owned()).collect();
    let tools = Tools {
        scans: Lister::of(candidates),
        cgroups: Cgroups::find().unwrap(),
        audit: Arc::clone(&audit) as Arc<dyn Audit>,
        deleters: Arc::new(InThisProcess),
        exec: OnceLock::from(Arc::clone(pods) as Arc<dyn PodExec>),
        stuck: Stuck::default(),
        node_pressure: ANY_PRESSURE,
    };
    let (events, _received) = mpsc::channel(1000);
    let done = run_by_clock(plan, &tools, events, CancellationToken::new(), None, in_an_hour).await;
    let results = audit.results.lock().unwrap();
    let fates = paths.into_iter().zip(results.iter().map(|result| result.result)).collect();
    Swept { done, fates, announced: audit.announced.lock().unwrap().len() }
}

async fn enforce(pod: &Pod, pods: &Arc<ByChroot>) -> Swept {
    sweep(pod, pods, Mode::Enforce, |_| {}).await
}

#[tokio::test]
async fn idle_files_go_whatever_their_names_and_emptied_directories_after_them() {
    let pod = pod();
    fs::create_dir_all(pod.inside("/tmp/-r/deep")).unwrap();
    let names = ["-rf", "--", "a b", "new\nline", "$(touch x);'\"", "文件", "-r/deep/x", "*"];
    for name in names {
        write(&pod, &format!("/tmp/{name}"));
    }
    for number in 0..120 {
        write(&pod, &format!("/tmp/{number:03}"));
    }
    symlink("/bin/busybox", pod.inside("/tmp/link")).unwrap();
    let pods = Arc::new(ByChroot::of(&pod));
    let swept = sweep(&pod, &pods, Mode::Enforce, |spec| spec.junk[0].empty_directories = true).await;
    assert_eq!(swept.end(), (Outcome::Complete, "Complete"), "{}", swept.done.message);
    assert_eq!((swept.done.figures.removed, swept.done.figures.removed_directories), (129, 2));
    assert_eq!(fs::read_dir(pod.upper().join("tmp")).unwrap().count(), 0, "no whiteout either");
    assert!(pod.inside("/bin/busybox").exists());
    // Announced: files and directories, each before it went.
    assert_eq!(swept.announced, 131);
    let commands = pods.commands.lock().unwrap();
    assert!(commands.iter().all(|command| command.starts_with(&["nice".into(), "-n".into(), "19".into()])));
    assert!(commands.iter().all(|command| operands(command).iter().all(|name| name.starts_with("/tmp/"))));
    assert!(commands.len() >= 4, "129 names are more than two commands take");
}

#[tokio::test]
async fn what_a_check_keeps_is_never_named_to_rm() {
    let pod = pod();
    for name in ["idle", "open", "linked", "other"] {
        write(&pod, &format!("/tmp/{name}"));
    }
    fs::hard_link(pod.inside("/tmp/linked"), pod.inside("/tmp/second")).unwrap();
    let bad = PathBuf::from(std::ffi::OsString::from_vec(b"/tmp/\xff".to_vec()));
    fs::write(pod.inside("/").join(bad.strip_prefix("/").unwrap()), "junk").unwrap();
    let _reader = File::open(pod.inside("/tmp/open")).unwrap();
    let pods = Arc::new(ByChroot::of(&pod));
    let swept = enforce(&pod, &pods).await;
    assert_eq!(swept.end(), (Outcome::Complete, "Complete"), "{}", swept.done.message);
    assert_eq!(swept.fate("tmp/open"), Fate::Kept(Kept::Open));
    assert_eq!(swept.fate("tmp/linked"), Fate::Kept(Kept::HardLinked));
    assert_eq!(swept.fate("tmp/\u{fffd}"), Fate::Kept(Kept::NotPassable));
    assert_eq!(swept.done.figures.removed, 2);
    let expected = ["/tmp/idle", "/tmp/other"].map(str::to_owned);
    assert_eq!(pods.named(), BTreeSet::from(expected));
}

#[tokio::test]
async fn a_dry_run_runs_nothing_in_the_container() {
    let pod = pod();
    write(&pod, "/tmp/a");
    let pods = Arc::new(ByChroot::of(&pod));
    let swept = sweep(&pod, &pods, Mode::DryRun, |_| {}).await;
    assert_eq!((swept.end(), swept.done.figures.would_remove), ((Outcome::Complete, "Complete"), 1));
    assert_eq!(pods.commands.lock().unwrap().len(), 0);
    assert!(pod.inside("/tmp/a").exists());
}

#[tokio::test]
async fn without_nice_it_is_done_all_the_same_and_without_rm_it_is_refused() {
    let without_nice = pod_with(&["rm"]);
    write(&without_nice, "/tmp/a");
    let pods = Arc::new(ByChroot::of(&without_nice));
    assert_eq!(enforce(&without_nice, &pods).await.done.figures.removed, 1);
    assert_eq!(pods.commands.lock().unwrap().last().unwrap()[0], "rm");

    // Not even `nice`: that of the tests is a script, and busybox's shell has an rm of its own.
    let without_rm = pod_with(&[]);
    write(&without_rm, "/tmp/a");
    let pods = Arc::new(ByChroot::of(&without_rm));
    let swept = enforce(&without_rm, &pods).await;
    assert_eq!((swept.end(), swept.announced), ((Outcome::Refused, "NoRm"), 0), "{}", swept.done.message);
    assert!(swept.done.scan.is_none(), "a scan was spent on it");
    assert!(without_rm.inside("/tmp/a").exists());
}

#[tokio::test]
async fn a_refusing_api_server_and_a_container_without_a_pod_are_told_apart() {
    let pod = pod();
    write(&pod, "/tmp/a");
    let pods = Arc::new(ByChroot::with(&pod, |_, _| Some(Err(NotRun::Forbidden("no".into())))));
    assert_eq!(enforce(&pod, &pods).await.end(), (Outcome::Refused, "ExecForbidden"));
    let pods = Arc::new(ByChroot::of(&pod));
    *pods.still.lock().unwrap() = vec![Err(NotRun::AnotherContainer("restarted".into()))];
    assert_eq!(enforce(&pod, &pods).await.end(), (Outcome::Stopped, "ContainerChanged"));
    assert_eq!(pods.commands.lock().unwrap().len(), 0);
    assert!(pod.inside("/tmp/a").exists());
}

#[tokio::test]
async fn it_is_asked_before_each_command_whether_it_is_still_this_container() {
    let pod = pod();
    for number in 0..120 {
        write(&pod, &format!("/tmp/{number:03}"));
    }
    let pods = Arc::new(ByChroot::of(&pod));
    *pods.still.lock().unwrap() = vec![Ok(()), Ok(()), Err(NotRun::AnotherContainer("restarted".into()))];
    let swept = enforce(&pod, &pods).await;
    assert_eq!(swept.end(), (Outcome::Stopped, "ContainerChanged"));
    assert_eq!((swept.done.figures.removed, swept.announced), (50, 120));
    assert_eq!(swept.fate("tmp/000"), Fate::Removed);
    assert_eq!(swept.fate("tmp/050"), Fate::NotTried);
    assert_eq!(fs::read_dir(pod.inside("/tmp")).unwrap().count(), 70);
}

#[tokio::test]
async fn the_containers_word_counts_for_nothing() {
    let pod = pod();
    for number in 0..5 {
        write(&pod, &format!("/tmp/{number}"));
    }
    let lies = |arguments: &[String], _: &mut dyn FnMut()| {
        let said = "rm: can't remove '\u{1b}[2J': Permission denied\n".to_owned();
        (!operands(arguments).is_empty()).then_some(Ok(Ran { code: Some(0), said }))
    };
    let pods = Arc::new(ByChroot::with(&pod, lies));
    let swept = sweep(&pod, &pods, Mode::Enforce, |spec| spec.breakers.sweep.errors = 3).await;
    assert_eq!(swept.end(), (Outcome::Stopped, "SweepBreaker"));
    assert_eq!(swept.done.figures.kept.get(&Kept::Refused), Some(&5));
    assert_eq!(swept.done.notes, ["RmSaid: rm: can't remove '\u{fffd}[2J': Permission denied"]);
    assert_eq!(fs::read_dir(pod.inside("/tmp")).unwrap().count(), 5);
}

#[tokio::test]
async fn a_command_whose_end_is_not_seen_leaves_its_files_in_doubt_and_ends_the_sweep() {
    let pod = pod();
    for name in ["a", "b"] {
        write(&pod, &format!("/tmp/{name}"));
    }
    let first = pod.inside("/tmp/a");
    let hangs = move |arguments: &[String], _: &mut dyn FnMut()| {
        if operands(arguments).is_empty() {
            return None;
        }
        fs::remove_file(&first).unwrap();
        Some(Err(NotRun::TimedOut(Duration::from_secs(15))))
    };
    let swept = enforce(&pod, &Arc::new(ByChroot::with(&pod, hangs))).await;
    assert_eq!(swept.end(), (Outcome::Failed, "ExecFailed"), "{}", swept.done.message);
    assert_eq!((swept.fate("tmp/a"), swept.fate("tmp/b")), (Fate::Removed, Fate::Unknown));
    assert_eq!(swept.done.figures.removed, 1);
}

/// What docs/threat-model.md leaves to chance with Exec: shown, so that nobody believes otherwise.
#[tokio::test]
async fn a_file_that_takes_the_name_in_the_window_is_lost_and_the_sweep_ends() {
    let pod = pod();
    write(&pod, "/tmp/junk");
    fs::write(pod.inside("/precious"), "precious").unwrap();
    let (junk, aside, precious) =
        (pod.inside("/tmp/junk"), pod.inside("/tmp/aside"), pod.inside("/precious"));
    let swaps = move |arguments: &[String], _: &mut dyn FnMut()| {
        if !operands(arguments).is_empty() {
            fs::rename(&junk, &aside).unwrap();
            fs::rename(&precious, &junk).unwrap();
        }
        None
    };
    let swept = enforce(&pod, &Arc::new(ByChroot::with(&pod, swaps))).await;
    assert_eq!(swept.end(), (Outcome::Stopped, "Replaced"), "{}", swept.done.message);
    assert_eq!(swept.fate("tmp/junk"), Fate::Replaced);
    assert!(pod.inside("/tmp/aside").exists() && !pod.inside("/tmp/junk").exists());
}

#[tokio::test]
async fn a_directory_that_takes_the_name_in_the_window_stays_with_all_that_is_in_it() {
    let pod = pod();
    write(&pod, "/tmp/junk");
    fs::create_dir(pod.inside("/precious")).unwrap();
    write(&pod, "/precious/data");
    let (junk, aside, precious) =
        (pod.inside("/tmp/junk"), pod.inside("/tmp/aside"), pod.inside("/precious"));
    let swaps = move |arguments: &[String], _: &mut dyn FnMut()| {
        if !operands(arguments).is_empty() {
            fs::rename(&junk, &aside).unwrap();
            fs::rename(&precious, &junk).unwrap();
        }
        None
    };
    let swept = enforce(&pod, &Arc::new(ByChroot::with(&pod, swaps))).await;
    assert_eq!(swept.end(), (Outcome::Stopped, "Replaced"), "{}", swept.done.message);
    assert_eq!(fs::read(pod.inside("/tmp/junk/data")).unwrap(), b"junk");
}

#[tokio::test]
async fn who_opens_a_file_while_rm_is_on_its_way_does_not_wait_for_it() {
    /// Well below the 45 s after which the kernel itself breaks a lease (`/proc/sys/fs/lease-break-time`).
    const OPENED_WITHIN: Duration = Duration::from_secs(20);
    let pod = pod();
    write(&pod, "/tmp/a");
    let path = pod.inside("/tmp/a");
    let opener: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
    let shared_opener = Arc::clone(&opener);
    let opens = move |arguments: &[String], meanwhile: &mut dyn FnMut()| {
        if operands(arguments).is_empty() {
            return None;
        }
        let path = path.clone();
        let opening = std::thread::spawn(move || drop(File::open(path).unwrap()));
        let began = Instant::now();
        while !opening.is_finished() && began.elapsed() < OPENED_WITHIN {
            meanwhile();
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(opening.is_finished(), "the opener waits for a lease");
        *shared_opener.lock().unwrap() = Some(opening);
        None
    };
    let swept = enforce(&pod, &Arc::new(ByChroot::with(&pod, opens))).await;
    assert_eq!(swept.end(), (Outcome::Complete, "Complete"), "{}", swept.done.message);
    opener.lock().unwrap().take().unwrap().join().unwrap();
}
