//! Random trees and policies on a real overlayfs: what goes is what an independent, naive reading of docs/policy.md
//! says, and nothing more, whatever the container does meanwhile.
//!
//! The scan is the worker's own code without its process (`scan::in_process`); everything after it is the stage as it
//! is. ctime cannot be set, so both are told that it is an hour later than it is.

mod changes;
mod policies;
mod reference;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::changes::{Watch, change};
use self::policies::policy;
use self::reference::{Files, Gone, Policy, directory};
use self::tree::{tree, upper};
use super::super::event::Done;
use super::super::plan::{Plan, plan_roots};
use super::super::run::{Tools, run_by_clock};
use super::super::source::{Candidates, ScanNotStarted, Scans};
use super::super::test_bed::{ANY_PRESSURE, InThisProcess, Pod, Remembers, in_an_hour};
use crate::kernel::Cgroups;
use crate::report::Outcome;
use crate::scan::{ScanMessage, ScanReport, ScanRequest, in_process};

/// Of each property; a case takes some 50 ms, most of it for the container.
const CASES: u32 = 64;

/// Longest time between two changes of a file's content in one tick of a kernel's coarse clock (CONFIG_HZ=100): a
/// file that is rewritten sooner after its making has the same ctime before Linux 6.13.
const CLOCK_TICK: Duration = Duration::from_millis(12);

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: CASES,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_goes_is_what_a_naive_reading_of_the_policy_says(tree in tree(), policy in policy()) {
        let pod = tree.plant();
        let (before, directories_before) = upper(&pod);
        let condemned = condemned(&policy, &before);
        let done = sweep(&pod, &policy, |_| {});
        prop_assert_eq!(done.outcome, Outcome::Complete, "{}: {}", &done.reason, &done.message);
        let (after, directories_after) = upper(&pod);
        let gone: BTreeMap<Vec<u8>, Gone> = before
            .iter()
            .filter_map(|(path, file)| match after.get(path) {
                None => Some((path.clone(), Gone::Removed)),
                Some(now) if now != file && now.size == 0 => Some((path.clone(), Gone::Truncated)),
                Some(now) => { assert_eq!(now, file); None }
            })
            .collect();
        let expected = condemned.iter().map(|(path, (_, gone))| (path.clone(), *gone)).collect();
        prop_assert_eq!(readable(&gone), readable(&expected));
        prop_assert!(after.keys().all(|path| before.contains_key(path)), "something new");
        let emptied = emptied(&policy, &condemned);
        for directory in directories_before.difference(&directories_after) {
            prop_assert!(emptied.contains(directory), "{} went", directory.escape_ascii());
        }
    }

    #[test]
    fn what_the_container_changes_before_its_turn_stays(
        tree in tree(),
        policy in policy(),
        changes in prop::collection::vec((turn(), any::<usize>(), change()), 1..12),
    ) {
        let pod = tree.plant();
        let before = upper(&pod).0;
        let condemned = condemned(&policy, &before);
        let mut watch = Watch::new(&pod, &before);
        let targets = targets(&watch, &condemned);
        std::thread::sleep(CLOCK_TICK);
        let done = sweep(&pod, &policy, |given| {
            for (_, file, change) in changes.iter().filter(|(at, ..)| *at == given) {
                watch.change(&targets, *file, *change);
            }
        });
        prop_assert_eq!(done.outcome, Outcome::Complete, "{}: {}", &done.reason, &done.message);
        let path = |number: usize| watch.files[number].path.clone();
        let gone = watch.gone().map(|(number, gone)| (path(number), gone)).collect();
        let paths = |numbers: &BTreeSet<usize>| numbers.iter().map(|&file| path(file)).collect::<BTreeSet<_>>();
        let (touched, held) = (paths(&watch.touched), paths(&watch.held));
        let stays = |path, gone| touched.contains(path) || (held.contains(path) && gone == Gone::Removed);
        let expected = condemned
            .iter()
            .filter(|(path, (_, gone))| !stays(*path, *gone))
            .map(|(path, (_, gone))| (path.clone(), *gone))
            .collect();
        prop_assert_eq!(readable(&gone), readable(&expected));
        prop_assert_eq!(watch.newcomers_gone(), 0, "what came after the scan went");
    }

    // One file is allowed: that which is renamed over a scanned one between the last look at the name and the unlink.
    // The door sees it, and the sweep ends at once (`sweep::door`). It was met once in some 2,000 cases.
    #[test]
    fn no_change_at_the_same_time_makes_more_go(
        tree in tree(),
        policy in policy(),
        changes in prop::collection::vec((any::<usize>(), change()), 8..64),
    ) {
        let pod = tree.plant();
        let before = upper(&pod).0;
        let condemned = condemned(&policy, &before);
        let watch = Watch::new(&pod, &before);
        let targets = targets(&watch, &condemned);
        let watch = Mutex::new(watch);
        let over = AtomicBool::new(false);
        let done = std::thread::scope(|scope| {
            let (scanned, wait) = std::sync::mpsc::channel();
            let (watch, over, targets) = (&watch, &over, &targets);
            scope.spawn(move || {
                let begun = wait.recv().is_ok();
                for (file, change) in changes.iter().cycle().take_while(|_| begun && !over.load(Ordering::Relaxed)) {
                    watch.lock().unwrap().change(targets, *file, *change);
                }
            });
            // An error: nobody waits any more.
            let done = sweep(&pod, &policy, |_| scanned.send(()).unwrap_or_default());
            over.store(true, Ordering::Relaxed);
            done
        });
        let watch = watch.into_inner().unwrap();
        let wrongly: BTreeMap<Vec<u8>, Gone> = watch
            .gone()
            .map(|(number, gone)| (watch.files[number].path.clone(), gone))
            .filter(|(path, gone)| condemned.get(path).is_none_or(|(_, condemned)| condemned != gone))
            .collect();
        let allowed = usize::from(done.reason == "Replaced");
        prop_assert!(
            wrongly.len() + watch.newcomers_gone() <= allowed,
            "{:?} and {} newer, and the sweep ended {}", readable(&wrongly), watch.newcomers_gone(), done.reason
        );
    }
}

/// Before which candidate something changes: most often before the first, which every tree with one has.
fn turn() -> impl Strategy<Value = usize> {
    prop_oneof![1 => Just(0), 1 => 0usize..24]
}

/// Numbers of the files to choose among for a change: those that are to go make up most of them.
fn targets(watch: &Watch, condemned: &BTreeMap<Vec<u8>, (usize, Gone)>) -> Vec<usize> {
    let all = 0..watch.files.len();
    let to_go = all.clone().filter(|&file| condemned.contains_key(&watch.files[file].path));
    let to_go: Vec<usize> = to_go.collect();
    to_go.repeat(4).into_iter().chain(all).collect()
}

fn readable(gone: &BTreeMap<Vec<u8>, Gone>) -> Vec<String> {
    gone.iter().map(|(path, gone)| format!("{} {gone:?}", path.escape_ascii())).collect()
}

fn condemned(policy: &Policy, files: &Files) -> BTreeMap<Vec<u8>, (usize, Gone)> {
    policy.condemned(files, i64::try_from(in_an_hour().as_secs()).unwrap())
}

/// Directories that may have been emptied: those with a file that went by a rule which asks for it, and all above.
fn emptied(policy: &Policy, condemned: &BTreeMap<Vec<u8>, (usize, Gone)>) -> BTreeSet<Vec<u8>> {
    let asked = condemned.iter().filter(|(_, (rule, _))| policy.rules[*rule].empty_directories);
    let above = |path: &Vec<u8>| {
        std::iter::successors(Some(directory(path).to_vec()), |below| {
            (!below.is_empty()).then(|| directory(below).to_vec())
        })
        .collect::<Vec<_>>()
    };
    asked.flat_map(|(path, _)| above(path)).collect()
}

/// A whole sweep. `step` is called before each candidate is handed over, with how many were before it.
fn sweep(pod: &Pod, policy: &Policy, step: impl FnMut(usize) + Send) -> Done {
    let policy = crate::policy::parse(&policy.text(), Path::new("random.yaml")).unwrap();
    let container = pod.container();
    let plan = Plan {
        id: "sweep".into(),
        roots: plan_roots(&container, &policy.spec.junk),
        container: Some(Arc::new(container)),
        mode: policy.spec.mode,
        never: policy.spec.never.clone(),
        policy: Arc::new(policy),
    };
    let tools = Tools {
        scans: InProcess(Mutex::new(Some(step))),
        cgroups: Cgroups::find().unwrap(),
        audit: Arc::new(Remembers::default()),
        deleters: Arc::new(InThisProcess),
        exec: std::sync::OnceLock::new(),
        stuck: crate::sweep::Stuck::default(),
        node_pressure: ANY_PRESSURE,
    };
    let (events, _received) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run_by_clock(plan, &tools, events, CancellationToken::new(), None, in_an_hour))
}

/// Scans that are over before the first candidate is handed out. The step is the first scan's.
struct InProcess<Step>(Mutex<Option<Step>>);

struct Scanned<Step> {
    messages: std::vec::IntoIter<ScanMessage>,
    given: usize,
    step: Step,
    limits: BTreeMap<String, String>,
}

impl<Step: FnMut(usize) + Send> Scans for InProcess<Step> {
    type Running = Scanned<Step>;

    async fn start(&self, request: ScanRequest) -> Result<Scanned<Step>, ScanNotStarted> {
        let messages = in_process::scan(&request).await.into_iter();
        let step = self.0.lock().unwrap().take().unwrap();
        Ok(Scanned { messages, given: 0, step, limits: BTreeMap::new() })
    }
}

impl<Step: FnMut(usize) + Send> Candidates for Scanned<Step> {
    async fn next(&mut self) -> Option<ScanMessage> {
        (self.step)(self.given);
        self.given += 1;
        self.messages.next()
    }

    fn limits(&self) -> (&BTreeMap<String, String>, &[String]) {
        (&self.limits, &[])
    }

    fn failure(&self) -> Option<&str> {
        None
    }

    async fn cancel(mut self) -> ScanReport {
        let last = self.messages.next_back();
        let Some(ScanMessage::End(report)) = last else { panic!("a scan without an end: {last:?}") };
        report
    }
}
