//! The demo of the whole product: on a real node, a pod whose container floods its disk is evicted; with podsweep, the
//! same pod is swept and stays.
//!
//! In: nothing but this machine. Out: [`Figures`]. Must never give the second pod an easier flood than the first.

mod figures;
mod flood;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use self::flood::Flood;
use super::narrator::Narrator;
use crate::cluster::deployed::{self, Scans};
use crate::cluster::kubectl::Kubectl;
use crate::cluster::node::{Node, NodeOptions};
use crate::disk::Size;
use crate::wait;

pub use self::figures::{Figures, Sweep, With, Without};

const PREFIX: &str = "podsweep-demo";
/// The policy that it installs.
pub const POLICY: &str = include_str!("../../../policies/demo-cluster.yaml");
/// The pods', and the policy's.
pub const NAMESPACE: &str = "shop";
/// The node's own disk: images, containers, volumes.
const DISK: Size = Size { bytes: 4 << 30, inodes: 32_768 };
/// `evictionHard: nodefs.inodesFree`.
const EVICTED_BELOW: u64 = 10_000;
const POD_WITHIN: Duration = Duration::from_mins(1);
/// The kubelet looks at its disk every 10 s; it takes another 10 s to tell.
const EVICTED_WITHIN: Duration = Duration::from_mins(3);
/// The controllers take the taint away after the kubelet has seen room for some time.
const ROOM_WITHIN: Duration = Duration::from_mins(2);
/// Sweep and observation of a busy machine.
const SWEPT_WITHIN: Duration = Duration::from_mins(3);
/// After the flood: the kubelet looks at its disk two more times.
const STAYS_FOR: Duration = Duration::from_secs(25);
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Runs the demo. `silent`: say nothing as it happens.
pub fn run(silent: bool) -> Result<Figures> {
    let narrator = Narrator::new(silent);
    narrator.say("starts a node: etcd, API server, controllers, scheduler, containerd, kubelet");
    let options = NodeOptions {
        disk: Some(DISK),
        eviction: BTreeMap::from([("nodefs.inodesFree", EVICTED_BELOW.to_string())]),
        usual_folders: true,
        ..NodeOptions::default()
    };
    let node = Node::start(PREFIX, &options)?;
    let kubectl = node.kubectl()?;
    let mut demo = Demo { narrator, kubectl, node, scans: None };
    let figures = demo.tell();
    if figures.is_err() {
        eprintln!("{}", deployed::state(&demo.kubectl));
    }
    figures
}

struct Demo {
    narrator: Narrator,
    kubectl: Kubectl,
    node: Node,
    // Goes after the node, whose agent may hold it.
    scans: Option<Scans>,
}

impl Demo {
    fn tell(&mut self) -> Result<Figures> {
        self.kubectl.run(&["create", "namespace", NAMESPACE])?;
        self.wait_for_service_account()?;
        let quiet = self.start_pod("quiet", &json!({}))?;
        let free = self.node.free_inodes()?;
        let flood = Flood::that_fills(free.saturating_sub(EVICTED_BELOW));
        self.narrator.say(&format!(
            "{free} inodes are free; the kubelet evicts below {EVICTED_BELOW}; a flood makes {} files",
            flood.files()
        ));
        let without = self.without(flood)?;
        self.make_room(free)?;
        let with = self.with(flood)?;
        let neighbour = self.pod("quiet")?;
        let figures = Figures {
            kernel: nix::sys::utsname::uname()?.release().to_string_lossy().into_owned(),
            evicted_below_free_inodes: EVICTED_BELOW,
            files_of_a_flood: flood.files(),
            without,
            with,
            neighbour_restarts: restarts(&neighbour)
                + u64::from(neighbour["metadata"]["uid"] != quiet["metadata"]["uid"]),
        };
        self.narrator.cluster_summary(&figures);
        Ok(figures)
    }

    fn without(&mut self, flood: Flood) -> Result<Without> {
        self.narrator.say("without podsweep: pod flooded begins to write");
        self.start_pod("flooded", &flood.container())?;
        let began = Instant::now();
        let mut lowest = u64::MAX;
        let evicted = wait::until("pod flooded is evicted", EVICTED_WITHIN, || {
            lowest = lowest.min(self.look()?);
            sleep(BETWEEN_LOOKS);
            let pod = self.pod("flooded")?;
            Ok((pod["status"]["reason"] == "Evicted").then_some(pod))
        })?;
        let message = evicted["status"]["message"].as_str().unwrap_or_default().to_owned();
        self.narrator.say(&format!("pod flooded is evicted: {message}"));
        Ok(Without { evicted_after_ms: milliseconds(began.elapsed()), lowest_free_inodes: lowest, message })
    }

    /// The evicted pod's files go with it; then the node takes pods again.
    fn make_room(&mut self, before: u64) -> Result<()> {
        self.kubectl.run(&["delete", "pod", "flooded", "-n", NAMESPACE, "--wait=true"])?;
        wait::until_true("the node has room again", ROOM_WITHIN, || {
            sleep(BETWEEN_LOOKS);
            let node = self.kubectl.get(&["node", crate::cluster::node::NAME])?;
            let is_tainted = node["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty());
            Ok(!is_tainted && self.look()? + before / 100 > before)
        })?;
        self.narrator.say("the evicted pod is deleted, the node has room again");
        // Unused while the disk was full: the kubelet may have removed them.
        self.node.add_own_images()
    }

    fn with(&mut self, flood: Flood) -> Result<With> {
        self.install()?;
        self.narrator.say("with podsweep: the same pod begins to write");
        let first = self.start_pod("flooded", &flood.container())?;
        let began = Instant::now();
        let mut lowest = u64::MAX;
        wait::until_true("the flood is over", Flood::takes() * 2, || {
            lowest = lowest.min(self.look()?);
            sleep(BETWEEN_LOOKS);
            let pod = self.pod("flooded")?;
            if pod["status"]["phase"] != "Running" || restarts(&pod) > 0 {
                bail!("pod flooded is {}", pod["status"]);
            }
            Ok(began.elapsed() >= Flood::takes())
        })?;
        let sweeps = self.sweeps()?;
        let until = Instant::now() + STAYS_FOR;
        while Instant::now() < until {
            lowest = lowest.min(self.look()?);
            sleep(BETWEEN_LOOKS);
        }
        let last = self.pod("flooded")?;
        let kept = self.in_pod(&["/bin/busybox", "sh", "-c", "ls /srv/keep | wc -l"])?;
        let left = self.in_pod(&["/bin/busybox", "sh", "-c", "ls /tmp/junk | wc -l"])?;
        Ok(With {
            evicted: last["status"]["reason"] == "Evicted",
            same_pod: last["metadata"]["uid"] == first["metadata"]["uid"],
            restarts: restarts(&last),
            lowest_free_inodes: lowest,
            wrongly_removed: flood::KEPT.saturating_sub(kept.trim().parse()?),
            junk_left: left.trim().parse()?,
            sweeps,
        })
    }

    fn install(&mut self) -> Result<()> {
        self.narrator.say("installs podsweep: kubectl apply -f deploy/podsweep-older.yaml");
        // A second sweep of the same container may begin soon: the story is to last minutes.
        self.scans = Some(deployed::install(&mut self.node, &json!({"coolDown": "10s"}))?);
        self.kubectl.apply(POLICY)?;
        self.narrator.say("the agent (a DaemonSet's pod) and three coordinators are ready; policy shop-junk");
        Ok(())
    }

    /// All sweeps, when they have ended.
    fn sweeps(&self) -> Result<Vec<Sweep>> {
        let ended = wait::until("every sweep has ended", SWEPT_WITHIN, || {
            sleep(BETWEEN_LOOKS);
            let sweeps = self.kubectl.get(&["sweeps", "-n", NAMESPACE])?;
            let sweeps: Vec<Sweep> =
                sweeps["items"].as_array().into_iter().flatten().map(Sweep::of).collect();
            Ok((!sweeps.is_empty() && sweeps.iter().all(Sweep::is_ended)).then_some(sweeps))
        });
        let ended = ended.map_err(|error| anyhow!("{error:#}\n{}", deployed::state(&self.kubectl)))?;
        for sweep in &ended {
            self.narrator.say(&format!(
                "sweep {}: {} {}, {} files removed, {} kept, container {}",
                sweep.name, sweep.phase, sweep.reason, sweep.removed, sweep.kept, sweep.health
            ));
        }
        Ok(ended)
    }

    fn look(&mut self) -> Result<u64> {
        self.node.check_alive()?;
        self.node.free_inodes()
    }

    fn pod(&self, name: &str) -> Result<Value> {
        self.kubectl.get(&["pod", name, "-n", NAMESPACE])
    }

    fn in_pod(&self, command: &[&str]) -> Result<String> {
        self.kubectl.run(&[&["exec", "-n", NAMESPACE, "flooded", "--"], command].concat())
    }

    fn start_pod(&mut self, name: &str, container: &Value) -> Result<Value> {
        self.node.run_pod(&Node::pod_in(NAMESPACE, name, container), POD_WITHIN)
    }

    fn wait_for_service_account(&self) -> Result<()> {
        wait::until_true("the namespace has its service account", POD_WITHIN, || {
            Ok(self.kubectl.get(&["serviceaccount", "default", "-n", NAMESPACE]).is_ok())
        })
    }
}

fn restarts(pod: &Value) -> u64 {
    pod.pointer("/status/containerStatuses/0/restartCount").and_then(Value::as_u64).unwrap_or_default()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
