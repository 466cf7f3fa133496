//! The container itself: only the very one that was scanned is touched.

use std::fs;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use super::super::test_bed::{Lister, Pod, Remembers, list, policy_with, rule};
use super::{Ran, plan_of, sweep};
use crate::inventory::{CgroupId, Container};
use crate::policy::{Action, Mode};
use crate::report::Outcome;

fn pod_with_files(count: usize) -> Pod {
    let pod = Pod::start(|_| {}, |_| {});
    for number in 0..count {
        fs::write(pod.inside(&format!("/tmp/{number:03}")), "junk").unwrap();
    }
    pod
}

async fn sweep_all(pod: &Pod, container: Container) -> Ran {
    let candidates = list(&pod.upper(), Action::Delete);
    let plan = plan_of(container, vec![rule("scratch", "/tmp/**")], Mode::Enforce);
    sweep(plan, Lister::of(candidates), Remembers::default(), CancellationToken::new(), None).await
}

#[tokio::test]
async fn a_whole_sweep_removes_all_and_tells_of_it() {
    let pod = pod_with_files(450);
    let ran = sweep_all(&pod, pod.container()).await;
    assert_eq!((ran.done.outcome, ran.done.reason.as_str()), (Outcome::Complete, "Complete"));
    assert_eq!((ran.done.figures.removed, ran.done.figures.batches), (450, 3));
    assert_eq!(fs::read_dir(pod.inside("/tmp")).unwrap().count(), 0);
    let announced = ran.audit.announced.lock().unwrap();
    assert_eq!((announced.len(), announced[0].path.as_slice()), (450, &b"/tmp/000"[..]));
}

#[tokio::test]
async fn another_process_cgroup_or_mount_is_another_container() {
    let pod = pod_with_files(3);
    let mut restarted = pod.container();
    restarted.first.start_time -= 1;
    let mut remade = pod.container();
    remade.cgroup = CgroupId(remade.cgroup.0 + 1);
    let mut moved = pod.container();
    moved.cgroup_path = "/podsweep-test-no-such-cgroup".into();
    let mut remounted = pod.container();
    remounted.layer.as_mut().unwrap().mount_id += 1;
    for (container, reason) in [
        (restarted, "ContainerChanged"),
        (remade, "ContainerChanged"),
        (moved, "SignalMissing"),
        (remounted, "ViewDiffers"),
    ] {
        let ran = sweep_all(&pod, container).await;
        assert_eq!((ran.done.outcome, ran.done.reason.as_str()), (Outcome::Stopped, reason));
        assert_eq!(ran.done.figures.removed, 0);
    }
    assert_eq!(fs::read_dir(pod.inside("/tmp")).unwrap().count(), 3);
}

#[tokio::test]
async fn a_container_that_ends_in_mid_sweep_is_left_alone() {
    let pod = pod_with_files(30);
    let candidates = list(&pod.upper(), Action::Delete);
    let upper = pod.upper();
    let mut plan = plan_of(pod.container(), vec![rule("scratch", "/tmp/**")], Mode::Enforce);
    plan.policy = Arc::new(policy_with(plan.policy.spec.junk.clone(), |spec| {
        spec.sweep.batch_size = 10;
        spec.sweep.batch_interval = crate::units::Span::from_secs(0);
    }));
    let pod = Arc::new(Mutex::new(pod));
    let kill = Arc::clone(&pod);
    let hook = Some((15, Arc::new(move || kill.lock().unwrap().kill()) as Arc<dyn Fn() + Send + Sync>));
    let scans = Lister { candidates, hook };
    let ran = sweep(plan, scans, Remembers::default(), CancellationToken::new(), None).await;
    assert_eq!((ran.done.outcome, ran.done.reason.as_str()), (Outcome::Stopped, "ContainerChanged"));
    assert_eq!(ran.done.figures.removed, 10);
    assert_eq!(fs::read_dir(upper.join("tmp")).unwrap().count(), 20);
}
