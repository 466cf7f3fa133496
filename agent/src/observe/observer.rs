//! The observer: tries the tiers, keeps the one that proves itself, reads its maps.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};

use agent_common::{COUNTERS, Counters, LOSSES, Loss as LossWord, REMOVED};
use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::util::nr_cpus;
use aya_log::EbpfLogger;
use tracing_log::LogTracer;

use super::batch::Batches;
use super::btf::BtfError;
use super::cgroup_events::CgroupEvents;
use super::cost::{self, ProgramCost};
use super::counts::Counts;
use super::directories::{Directories, TopDirectory};
use super::gap::Gap;
use super::heap;
use super::load::{self, Attached, Kernel};
use super::self_test;
use super::tiers::Tier;
use crate::inventory::CgroupId;

/// How to observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObserveSettings {
    /// Cgroups that can be counted at a time. Kernel memory, taken at start, is `(104 + 96 * CPUs)` bytes for each:
    /// 1.2 MB for 4,096 on 2 CPUs, 26 MB on 64.
    pub max_cgroups: u32,
    /// Count by directory too, and name them: 0.8 MB on 2 CPUs, 4.9 MB on 64; 3 to 7 % of create's CPU time.
    pub with_directories: bool,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self { max_cgroups: 4096, with_directories: true }
    }
}

/// Why nothing can be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The kernel's type information is not usable.
    #[error(transparent)]
    Types(#[from] BtfError),
    /// The same, as the loader sees it.
    #[error("the loader cannot use /sys/kernel/btf/vmlinux: {0}")]
    Btf(Box<aya::BtfError>),
    /// Every tier was refused; the reasons, by tier.
    #[error("no way to count on this kernel: {}; see `podsweep doctor`", reasons(.0))]
    NoTier(Vec<(Tier, String)>),
    /// A map of the kernel side cannot be read.
    #[error("cannot read the kernel's map {map}: {source}")]
    Read {
        /// Name of the map.
        map: &'static str,
        /// Why.
        source: Box<MapError>,
    },
}

fn reasons(tried: &[(Tier, String)]) -> String {
    tried.iter().map(|(tier, reason)| format!("{tier}: {reason}")).collect::<Vec<_>>().join("; ")
}

/// What was not counted, or not told, since the observer started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Upper bound of operations that the kernel skipped (fexit and tracepoint programs on a preemptible kernel).
    pub recursion_misses: u64,
    /// Cgroups that found the counter map full when they first created or removed something.
    pub cgroups_not_counted: u64,
    /// Operations of such cgroups.
    pub operations_not_counted: u64,
    /// Creations left out of the directory counts because their directory could not be named at the time.
    pub directories_not_named: u64,
    /// Cgroups made or removed that were not told; the slow rescan finds them.
    pub cgroup_events: u64,
}

/// Counts from the moment it is made until it is dropped.
pub struct Observer {
    tier: Tier,
    gaps: Vec<Gap>,
    programs: Vec<&'static str>,
    counts: PerCpuHashMap<MapData, u64, Counters>,
    /// Of the same map: aya keeps its own to itself.
    counts_fd: OwnedFd,
    batches: Batches,
    loss: PerCpuArray<MapData, [u64; LOSSES]>,
    directories: Option<Directories>,
    events: Option<CgroupEvents>,
    log: EbpfLogger<LogTracer>,
    // Dropped last: programs and links.
    ebpf: Ebpf,
}

/// Loads, attaches and tests each tier, then drops it: what this kernel can do, for `podsweep doctor`. A tier that works
/// says what it cannot see, any other why it does not.
pub fn trial() -> Vec<(Tier, Result<Vec<Gap>, String>)> {
    let settings = ObserveSettings::default();
    let kernel = Kernel::read().map_err(|error| error.to_string());
    Tier::ALL
        .into_iter()
        .map(|tier| {
            let tried = kernel.as_ref().map_err(Clone::clone).and_then(|kernel| {
                Observer::attempt(kernel, tier, settings).map(|observer| observer.gaps.clone())
            });
            (tier, tried)
        })
        .collect()
}

impl Observer {
    /// Takes the first tier that this kernel accepts and that passes its test. Blocks for some 100 ms.
    pub fn start(settings: &ObserveSettings) -> Result<Self, ObserveError> {
        let started = Self::first_that_works(*settings);
        heap::give_back();
        started
    }

    fn first_that_works(settings: ObserveSettings) -> Result<Self, ObserveError> {
        let kernel = Kernel::read()?;
        let mut tried = Vec::new();
        for tier in Tier::ALL {
            match Self::attempt(&kernel, tier, settings) {
                Ok(observer) => {
                    tracing::info!(%tier, programs = observer.programs.len(), "counting in the kernel");
                    for gap in &observer.gaps {
                        tracing::info!(%tier, id = %gap.id, %gap, "not seen");
                    }
                    return Ok(observer);
                }
                Err(reason) => {
                    tracing::info!(%tier, reason, "this way to count is not available");
                    tried.push((tier, reason));
                }
            }
        }
        Err(ObserveError::NoTier(tried))
    }

    /// Takes this tier or none: for tests of each, and for finding out why one is refused.
    pub fn start_tier(tier: Tier, settings: &ObserveSettings) -> Result<Self, ObserveError> {
        let kernel = Kernel::read()?;
        Self::attempt(&kernel, tier, *settings).map_err(|reason| ObserveError::NoTier(vec![(tier, reason)]))
    }

    /// The tier in use: the label of a metric.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// What this tier cannot see here.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Totals of every cgroup that created or removed anything, summed over CPUs. A cgroup that was removed appears
    /// one last time. Also passes on the kernel side's log lines. To be called several times a second: directories
    /// to be named wait in a bounded buffer.
    pub fn read(&mut self) -> Result<BTreeMap<CgroupId, Counts>, ObserveError> {
        self.log.flush();
        if let Some(directories) = &mut self.directories {
            directories.drain();
        }
        let mut all = BTreeMap::new();
        let mut removed = Vec::new();
        let read = self.batches.read(self.counts_fd.as_fd(), |id, by_cpu| {
            let by_cpu = by_cpu.chunks_exact(COUNTERS).filter_map(|one| <&Counters>::try_from(one).ok());
            if by_cpu.clone().any(|counters| counters[REMOVED] != 0) {
                removed.push(CgroupId(id));
            }
            all.insert(CgroupId(id), sum(by_cpu));
        });
        read.map_err(|error| unreadable("COUNTS", MapError::IoError(error)))?;
        for id in removed {
            self.forget(id);
        }
        Ok(all)
    }

    /// A container is gone: frees its counter slot and what is known of its directories. Removed cgroups are found
    /// without this, too, where the kernel tells of them.
    pub fn forget(&mut self, id: CgroupId) {
        // It may never have created anything, or be forgotten already.
        let _ = self.counts.remove(&id.0);
        if let Some(directories) = &mut self.directories {
            directories.forget(id);
        }
    }

    /// The directories in which these cgroups made most files, most first. Reads up to 8,192 entries (some 10 ms):
    /// for the moment of a burst.
    pub fn top_directories(&mut self, cgroups: &[CgroupId], limit: usize) -> Vec<TopDirectory> {
        self.directories.as_mut().map(|directories| directories.top(cgroups, limit)).unwrap_or_default()
    }

    /// What was not counted.
    pub fn loss(&self) -> Loss {
        let words = self.loss.get(&0, 0).ok();
        let word = |loss: LossWord| {
            words.iter().flat_map(|by_cpu| by_cpu.iter()).map(|losses| losses[loss as usize]).sum()
        };
        Loss {
            recursion_misses: cost::recursion_misses(&self.ebpf, &self.programs),
            cgroups_not_counted: word(LossWord::Cgroups),
            operations_not_counted: word(LossWord::Operations),
            directories_not_named: word(LossWord::Directories),
            cgroup_events: word(LossWord::CgroupEvents),
        }
    }

    /// What each program cost so far.
    pub fn costs(&self) -> Vec<ProgramCost> {
        cost::of(&self.ebpf, &self.programs)
    }

    /// The stream of cgroups made and removed; once, and only where the kernel tells.
    pub fn cgroup_events(&mut self) -> Option<CgroupEvents> {
        self.events.take()
    }

    fn attempt(kernel: &Kernel, tier: Tier, settings: ObserveSettings) -> Result<Self, String> {
        if let Some(reason) = tier.excluded() {
            return Err(reason);
        }
        let Attached { mut ebpf, programs, gaps } = load::attach(kernel, tier, settings)?;
        let directories =
            Directories::new(take(&mut ebpf, "DIRECTORIES")?, take(&mut ebpf, "DIRECTORIES_SEEN")?);
        let events: RingBuf<MapData> = take(&mut ebpf, "CGROUP_EVENTS")?;
        let observer = Self {
            tier,
            counts_fd: descriptor(&ebpf, "COUNTS")?,
            counts: take(&mut ebpf, "COUNTS")?,
            batches: Batches::new(COUNTERS, nr_cpus().map_err(|(file, error)| format!("{file}: {error}"))?),
            loss: take(&mut ebpf, "LOSS")?,
            directories: settings.with_directories.then_some(directories),
            events: programs.contains(&"cgroup_mkdir").then(|| CgroupEvents::new(events)),
            log: EbpfLogger::init_with_logger(&mut ebpf, LogTracer::new())
                .map_err(|error| format!("the kernel side's log: {error}"))?,
            gaps,
            programs,
            ebpf,
        };
        self_test::run(|id| observer.totals(id))?;
        Ok(observer)
    }

    fn totals(&self, id: CgroupId) -> Result<Counts, String> {
        match self.counts.get(&id.0, 0) {
            Ok(by_cpu) => Ok(sum(by_cpu.iter())),
            Err(MapError::KeyNotFound) => Ok(Counts::default()),
            Err(error) => Err(unreadable("COUNTS", error).to_string()),
        }
    }
}

fn sum<'a>(by_cpu: impl Iterator<Item = &'a Counters>) -> Counts {
    let mut total = Counts::default();
    for counters in by_cpu {
        total.add(&Counts::from(counters));
    }
    total
}

fn unreadable(map: &'static str, source: MapError) -> ObserveError {
    ObserveError::Read { map, source: Box::new(source) }
}

/// Another descriptor of a map that has not been taken yet.
fn descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, String> {
    let Some(Map::PerCpuHashMap(map)) = ebpf.map(name) else { return Err(no_map(name)) };
    map.fd().as_fd().try_clone_to_owned().map_err(|error| format!("map {name}: {error}"))
}

fn no_map(name: &str) -> String {
    format!("the object built into this program has no map {name} of the right type")
}

fn take<M: TryFrom<Map, Error = MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<M, String> {
    let map = ebpf.take_map(name).ok_or_else(|| no_map(name))?;
    M::try_from(map).map_err(|error| format!("map {name}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_of_every_tier_is_told() {
        let tried = vec![(Tier::Lsm, "no bpf".to_owned()), (Tier::SysExit, "no BTF".to_owned())];
        let text = ObserveError::NoTier(tried).to_string();
        assert!(text.contains("lsm: no bpf; sys_exit: no BTF"), "{text}");
    }

    #[test]
    fn the_observer_can_move_between_threads() {
        fn movable<T: Send>() {}
        movable::<Observer>();
        movable::<CgroupEvents>();
    }
}
