//! The test levels: what each needs of the machine, and which tests it is made of.

use std::fmt;
use std::path::Path;

use clap::ValueEnum;

use crate::apt::is_root;
use crate::command::step;
use crate::kubernetes::{self, Extent};
use crate::setup::Need;
use crate::vm;

/// The agent's tests that mount, make cgroups or start containers: of the kernel level, though they stand beside the
/// code. One more that needs root goes into one of these modules, or it fails for everyone who is not root.
const ON_THIS_KERNEL: &str = "(package(podsweep) and (kind(test) or test(/^(\
     inventory::tests::(overlay_root|real_runc)|\
     observation::tests|\
     report::(history::full_disk_test|(journal|state_dir)::tests)|\
     sweep::tests\
     )::/)))";

/// The one test that runs the main job from end to end in a guest, where every tier can be had.
const MAIN_JOB: &str =
    "(package(podsweep-tests) and binary(node_sweep) and test(=a_storm_is_seen_counted_and_swept))";

/// Of the unit level, though they stand among those of the others: a cluster's decisions, in memory and simulated time.
const SIMULATED: &str = "binary(/^rollout/)";

/// Tests of the level `cluster` that need a kubelet as well.
const ON_A_NODE: &str = "binary(/^cluster_(demo|exec|node)/)";

/// Where tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Beside the code; needs no root.
    Unit,
    /// This machine's kernel and real files.
    Kernel,
    /// Real containers and a real agent.
    Node,
    /// Other kernels and cgroup v2, in QEMU.
    Vm,
    /// A real API server, and a real node.
    Cluster,
    /// A container that attacks.
    Adversary,
    /// Dashboards.
    Web,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("?", |value| value.get_name()))
    }
}

impl Level {
    /// What it shows.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Unit => "each module by itself",
            Self::Kernel => "counters, cgroups, mounts and filesystems of this kernel",
            Self::Node => "real containers, a real agent",
            Self::Vm => "other kernels, cgroup v2 with every controller",
            Self::Cluster => "a real API server, and a real node",
            Self::Adversary => "a hostile container",
            Self::Web => "dashboards",
        }
    }

    /// nextest's name for its tests.
    fn filter(self) -> String {
        match self {
            Self::Unit => format!(
                "(not {ON_THIS_KERNEL} and not (package(podsweep-tests) and kind(test) and not {SIMULATED}))"
            ),
            Self::Kernel => format!("({ON_THIS_KERNEL} or (package(podsweep-tests) and binary(/^kernel_/)))"),
            Self::Node => "(package(podsweep-tests) and binary(/^node_/))".into(),
            Self::Adversary => "(package(podsweep-tests) and binary(/^adversary_/))".into(),
            // Not by nextest on the host: `vm::test` runs them.
            Self::Vm | Self::Web => "none()".into(),
            Self::Cluster => match kubernetes::extent() {
                Extent::Node => "(package(podsweep-tests) and binary(/^cluster_/))".into(),
                Extent::ControlPlane => {
                    format!("(package(podsweep-tests) and binary(/^cluster_/) and not {ON_A_NODE})")
                }
            },
        }
    }

    /// Whether it starts containers or makes filesystems.
    fn needs_containers(self) -> bool {
        matches!(self, Self::Kernel | Self::Node | Self::Vm | Self::Cluster | Self::Adversary)
    }

    /// Why it cannot run here, if it cannot.
    fn obstacle(self) -> Option<String> {
        match self {
            Self::Unit => None,
            Self::Kernel | Self::Node | Self::Adversary => needs_root().or_else(no_cgroup2),
            Self::Vm => vm::obstacle(),
            Self::Cluster => needs_root().or_else(no_cgroup2).or_else(kubernetes::obstacle),
            Self::Web => Some("no such tests yet".into()),
        }
    }
}

/// Needs no root, but every kernel has its own seccomp and Landlock.
const CONFINEMENT: &str = "(package(podsweep) and test(/^sweep::deleter::tests::/))";

/// nextest's filter for what runs in guests: what is there for them alone, what shows this machine's kernel to be
/// right and may find another's wrong, and one end-to-end test.
pub(crate) fn in_guests() -> String {
    [ON_THIS_KERNEL, CONFINEMENT, "(package(podsweep-tests) and binary(/^(kernel|vm)_/))", MAIN_JOB]
        .join(" + ")
}

fn needs_root() -> Option<String> {
    (!is_root()).then(|| "needs root (its tests load eBPF programs, make cgroups and mounts)".into())
}

fn no_cgroup2() -> Option<String> {
    let unified = ["/sys/fs/cgroup/unified/cgroup.procs", "/sys/fs/cgroup/cgroup.procs"];
    let has_cgroup2 = unified.iter().any(|file| Path::new(file).exists());
    (!has_cgroup2).then(|| "no cgroup2 is mounted below /sys/fs/cgroup".into())
}

/// A level that cannot run here, and why.
pub(crate) type Obstacle = (Level, String);

/// Which of the levels asked for (all, where none is) can run, and why the others cannot.
pub(crate) fn sort(only: &[Level]) -> (Vec<Level>, Vec<Obstacle>) {
    let asked = if only.is_empty() { Level::value_variants() } else { only };
    let mut can = Vec::new();
    let mut cannot = Vec::new();
    for level in asked {
        match level.obstacle() {
            None => can.push(*level),
            Some(why) => cannot.push((*level, why)),
        }
    }
    (can, cannot)
}

/// What the levels need besides a build.
pub(crate) fn needs(levels: &[Level]) -> Vec<Need> {
    let containers = levels.iter().any(|level| level.needs_containers()).then_some(Need::Containers);
    let guests = levels.contains(&Level::Vm).then_some(Need::Guests);
    let fuzzing = levels.contains(&Level::Adversary).then_some(Need::Fuzzing);
    let kubernetes = levels.contains(&Level::Cluster).then_some(Need::Kubernetes);
    let needs = [containers, guests, fuzzing, kubernetes].into_iter().flatten();
    [Need::TestRunner].into_iter().chain(needs).collect()
}

/// One line for each level that cannot run.
pub(crate) fn say(cannot: &[Obstacle]) {
    for (level, why) in cannot {
        step(&format!("{level}: not run: {why}"));
    }
}

/// What of a level that can run is left out, and why.
pub(crate) fn left_out(level: Level) -> Option<&'static str> {
    let is_without = level == Level::Cluster && kubernetes::extent() == Extent::ControlPlane;
    is_without
        .then_some("tests of a node are not run: the folder KUBEBUILDER_ASSETS names has no kubelet for them")
}

/// nextest's filter for all of `levels`.
pub(crate) fn filter(levels: &[Level]) -> String {
    levels.iter().map(|level| level.filter()).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_without_tests_says_so_and_is_not_run() {
        let (can, cannot) = sort(&[Level::Unit, Level::Web]);
        assert_eq!(can, [Level::Unit]);
        assert_eq!(cannot, [(Level::Web, "no such tests yet".to_owned())]);
    }

    #[test]
    fn unit_tests_ask_for_no_container_runtime() {
        assert_eq!(needs(&[Level::Unit]), [Need::TestRunner]);
        assert_eq!(needs(&[Level::Unit, Level::Node]), [Need::TestRunner, Need::Containers]);
        let attackers = [Need::TestRunner, Need::Containers, Need::Fuzzing];
        assert_eq!(needs(&[Level::Adversary]), attackers);
    }

    #[test]
    fn kubernetes_is_built_for_the_level_of_clusters_alone() {
        assert!(needs(&[Level::Cluster]).contains(&Need::Kubernetes));
        assert!(needs(&[Level::Cluster]).contains(&Need::Containers), "a node runs them");
        assert!(
            !needs(&[Level::Unit, Level::Kernel, Level::Node, Level::Adversary]).contains(&Need::Kubernetes)
        );
    }

    #[test]
    fn qemu_is_asked_for_by_the_level_of_guests_alone() {
        assert!(needs(&[Level::Vm]).contains(&Need::Guests));
        assert!(!needs(&[Level::Unit, Level::Kernel, Level::Node]).contains(&Need::Guests));
    }

    #[test]
    fn tests_for_guests_never_run_on_the_host() {
        let on_the_host = filter(Level::value_variants());
        assert!(in_guests().contains("(kernel|vm)_") && !on_the_host.contains("vm"), "{on_the_host}");
    }

    #[test]
    fn levels_are_joined() {
        let joined = filter(&[Level::Kernel, Level::Node]);
        assert_eq!(joined.matches(" + ").count(), 1);
        assert!(joined.contains("kernel_") && joined.contains("node_"));
    }
}
