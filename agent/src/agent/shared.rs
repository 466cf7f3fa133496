//! What the agent's loop, its sweeps and its control endpoint share. Locks are held for a look or a change, never
//! across an await, and never two at a time: so there is no order in which to take them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cluster::Cluster;
use super::history_probe::LastAnswer;
use super::outside::Outside;
use super::refused::LastRefusals;
use crate::breaker::{self, Board, BoardSnapshot};
use crate::config::{Config, GlobalBreaker};
use crate::control::view::PolicyInForce;
use crate::gate::Gate;
use crate::inventory::{CgroupId, Inventory};
use crate::kernel::Cgroups;
use crate::observe::{Counts, Observer, Tier};
use crate::operation::{BREAKERS, Stores, unix_now};
use crate::policy::{PolicySet, Refusal};
use crate::report::metrics::{BuildInfo, Metrics};
use crate::report::{History, HistoryLimits, Journal, JournalLimits, SweepRecord};
use crate::scan::ScanPlace;
use crate::sweep::{self, Tools};

/// What this program is; the commit is told by the build where it knows.
const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    commit: match option_env!("PODSWEEP_COMMIT") {
        Some(commit) => commit,
        None => "unknown",
    },
};

/// Ended sweeps on their way to the loop; more than slots a node could have.
const ENDED_QUEUE: usize = 64;

/// The agent's state.
pub(crate) struct Shared {
    pub(super) config: Config,
    pub(super) stores: Arc<Stores>,
    pub(super) inventory: Mutex<Inventory>,
    /// The node's part in a cluster; `None` on a host by itself.
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) gate: Gate,
    pub(super) policies: Mutex<Policies>,
    /// Sweeps that wait, run or are observed, by id. Bounded by the slots.
    pub(super) live: Mutex<BTreeMap<String, Live>>,
    /// What the loop last saw of each container. Bounded by the inventory.
    pub(super) seen: Mutex<BTreeMap<CgroupId, Seen>>,
    pub(super) observed: Mutex<Observed>,
    pub(super) refusals: Mutex<LastRefusals>,
    /// Whether a sweep could be put on record.
    pub(super) history: Mutex<LastAnswer>,
    pub(super) ended: (mpsc::Sender<Ended>, Mutex<Option<mpsc::Receiver<Ended>>>),
    pub(super) outside: Outside,
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    pub(super) started_at: Timestamp,
    epoch: Instant,
    /// Milliseconds after `epoch` of the loop's last turn; 0 before the first.
    last_turn: AtomicU64,
}

/// Policies in force, and what is wrong with the files as they are now.
#[derive(Default)]
pub(super) struct Policies {
    pub(super) set: Arc<PolicySet>,
    pub(super) in_force: Vec<PolicyInForce>,
    pub(super) errors: Vec<String>,
    pub(super) read: bool,
}

/// A sweep that has not ended.
pub(super) struct Live {
    pub(super) record: SweepRecord,
    pub(super) stop: CancellationToken,
}

/// A sweep that has.
pub(super) struct Ended {
    pub(super) container: CgroupId,
    pub(super) record: SweepRecord,
}

/// The loop's last look at one container.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) counts: Counts,
    pub(super) creates_per_second: f64,
    pub(super) policy: Option<String>,
    pub(super) refusal: Option<Refusal>,
    pub(super) last_sweep: Option<String>,
}

/// How this kernel is observed.
#[derive(Clone)]
pub(super) struct Observed {
    pub(super) tier: Tier,
    pub(super) gaps: Vec<String>,
    pub(super) losses: BTreeMap<String, u64>,
}

/// Opens everything that one process at a time may hold: history, journal, and with them the breakers' state.
pub fn stores(config: &Config, cgroups: Cgroups) -> anyhow::Result<Arc<Stores>> {
    let limits = HistoryLimits {
        max_sweeps: u32::try_from(config.history.max_sweeps).unwrap_or(u32::MAX),
        max_age: config.history.max_age.0,
    };
    let history = History::open(&config.state, limits)
        .with_context(|| format!("state directory {}", config.state.display()))?;
    let journal_limits = JournalLimits { max_bytes: config.journal.max_bytes.0, files: config.journal.files };
    let journal = Journal::open(&config.state, journal_limits)?;
    for batch in journal.interrupted() {
        tracing::warn!(
            sweep = batch.sweep,
            batch = batch.batch,
            "this batch was cut off: of its files, some may be gone"
        );
    }
    let board = board(config, history.state(BREAKERS)?)?;
    let place = scan_place(config, &cgroups);
    let cgroups = Arc::new(cgroups);
    let tools = Tools {
        scans: place,
        cgroups: (*cgroups).clone(),
        audit: Arc::new(journal),
        deleters: Arc::new(sweep::Program::this()),
        exec: OnceLock::new(),
        stuck: sweep::Stuck::default(),
        node_pressure: config.node_pressure,
    };
    Ok(Arc::new(Stores {
        history: Arc::new(history),
        metrics: Arc::new(Metrics::new(BUILD)?),
        board: Mutex::new(board),
        cgroups,
        pods: config.kubernetes.as_ref().map(|_| Arc::default()),
        tools,
    }))
}

/// Where scans run: the worker is this program itself, also after the file on disk was upgraded.
pub fn scan_place(config: &Config, cgroups: &Cgroups) -> ScanPlace {
    ScanPlace {
        worker: PathBuf::from("/proc/self/exe"),
        cgroup_parent: config.scan_cgroup.clone(),
        cgroups: cgroups.clone(),
    }
}

/// The breakers, as they were kept.
pub(crate) fn board(config: &Config, kept: Option<serde_json::Value>) -> anyhow::Result<Board> {
    let GlobalBreaker { open, window } = config.breakers.global;
    let settings = breaker::GlobalBreaker { open, window: window.0 };
    let snapshot = match kept {
        Some(kept) => {
            serde_json::from_value(kept).context("the state \"breakers\" in the history database")?
        }
        None => BoardSnapshot::default(),
    };
    Ok(Board::restore(settings, snapshot, unix_now()))
}

impl Shared {
    pub(super) fn new(
        config: Config,
        stores: Arc<Stores>,
        inventory: Inventory,
        cluster: Option<Arc<Cluster>>,
        observer: &Observer,
        outside: Outside,
        shutdown: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (sender, receiver) = mpsc::channel(ENDED_QUEUE);
        Ok(Self {
            gate: Gate::new(&config, Arc::clone(&stores))?,
            config,
            stores,
            inventory: Mutex::new(inventory),
            cluster,
            policies: Mutex::default(),
            live: Mutex::default(),
            seen: Mutex::default(),
            refusals: Mutex::default(),
            history: Mutex::default(),
            observed: Mutex::new(Observed {
                tier: observer.tier(),
                gaps: observer.gaps().iter().map(ToString::to_string).collect(),
                losses: BTreeMap::new(),
            }),
            ended: (sender, Mutex::new(Some(receiver))),
            outside,
            tasks: TaskTracker::new(),
            shutdown,
            started_at: Timestamp::now(),
            epoch: Instant::now(),
            last_turn: AtomicU64::new(0),
        })
    }

    /// The agent's monotonic clock: time since its start.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn turned(&self) {
        let milliseconds = u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX);
        self.last_turn.store(milliseconds.max(1), Ordering::Relaxed);
    }

    /// Time since the loop last turned; `None` before its first turn.
    pub(super) fn since_turn(&self) -> Option<Duration> {
        match self.last_turn.load(Ordering::Relaxed) {
            0 => None,
            milliseconds => Some(self.now().saturating_sub(Duration::from_millis(milliseconds))),
        }
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
