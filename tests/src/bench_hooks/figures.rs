//! What was measured, and how it is told. Pure.

use std::fmt::Write as _;
use std::time::Duration;

use podsweep::observe::{ProgramCost, Tier};
use serde::Serialize;

use super::kernel_memory::KernelMemory;
use super::watcher::{Read, Watcher};

/// One turn of one watcher.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// CPU time of the thread that did the work.
    pub(super) spent: Duration,
    pub(super) reader: Option<Read>,
}

/// All turns of one piece of work.
pub(super) struct Rounds<'w> {
    on: String,
    watchers: &'w [Watcher],
    /// For each watcher, by round.
    turns: Vec<Vec<Measured>>,
}

/// What one watcher costs one piece of work. Medians over the rounds.
#[derive(Debug, Serialize)]
pub(super) struct Cost {
    /// The filesystem, or the unrelated system call.
    pub on: String,
    /// What watched.
    pub watcher: String,
    /// CPU nanoseconds of one operation (create, close and unlink; or the system call), in the thread that does it.
    pub ns: f64,
    /// To nothing in the same round: median of the rounds' ratios.
    pub ratio: f64,
    /// CPU nanoseconds of the watcher's own reader for one operation.
    pub reader_ns: Option<f64>,
    /// Events that reached the reader for one operation: less than 1 where the kernel merged or dropped some.
    pub events: Option<f64>,
}

/// What the kernel says of one program.
#[derive(Debug, Serialize)]
pub(super) struct Program {
    /// In which tier.
    pub tier: String,
    /// Its name.
    pub name: String,
    /// Runs while the work was done.
    pub runs: u64,
    /// Nanoseconds of one run.
    pub ns: f64,
}

/// Everything.
#[derive(Debug, Serialize)]
pub struct Figures {
    kernel: String,
    processor: String,
    load: String,
    rounds: usize,
    creates: Vec<Cost>,
    unrelated: Vec<Cost>,
    programs: Vec<Program>,
    memory: Vec<KernelMemory>,
    left_out: Vec<String>,
}

impl<'w> Rounds<'w> {
    pub(super) fn new(on: &str, watchers: &'w [Watcher]) -> Self {
        Self { on: on.to_owned(), watchers, turns: vec![Vec::new(); watchers.len()] }
    }

    pub(super) fn add(&mut self, watcher: usize, measured: Measured) {
        self.turns[watcher].push(measured);
    }

    /// The first watcher is what the others are compared with.
    pub(super) fn figures(&self, operations: u32) -> Vec<Cost> {
        let each = |watcher: usize| self.cost(watcher, f64::from(operations));
        (0..self.watchers.len()).map(each).collect()
    }

    fn cost(&self, watcher: usize, operations: f64) -> Cost {
        let (base, turns) = (&self.turns[0], &self.turns[watcher]);
        let ns = |time: Duration| time.as_secs_f64() * 1e9 / operations;
        let readers = || turns.iter().filter_map(|turn| turn.reader);
        let of_readers = |figure: fn(&Read) -> f64| {
            readers().next().is_some().then(|| median(readers().map(|read| figure(&read) / operations)))
        };
        let ratios =
            turns.iter().zip(base).map(|(turn, base)| turn.spent.as_secs_f64() / base.spent.as_secs_f64());
        Cost {
            on: self.on.clone(),
            watcher: self.watchers[watcher].to_string(),
            ns: rounded(median(turns.iter().map(|turn| ns(turn.spent))), 10.0),
            ratio: rounded(median(ratios), 1000.0),
            reader_ns: of_readers(|read| read.spent.as_secs_f64() * 1e9).map(|ns| rounded(ns, 10.0)),
            events: of_readers(|read| read.events as f64).map(|events| rounded(events, 1000.0)),
        }
    }
}

impl Program {
    /// `None` for one that did not run.
    pub(super) fn between(tier: Tier, before: &ProgramCost, after: &ProgramCost) -> Option<Self> {
        let runs = after.runs - before.runs;
        let time = after.run_time.saturating_sub(before.run_time);
        (runs > 0).then(|| Self {
            tier: tier.to_string(),
            name: after.program.clone(),
            runs,
            ns: rounded(time.as_secs_f64() * 1e9 / runs as f64, 10.0),
        })
    }
}

impl Figures {
    pub(super) fn new(
        rounds: usize,
        creates: Vec<Cost>,
        unrelated: Vec<Cost>,
        programs: Vec<Program>,
        memory: Vec<KernelMemory>,
        left_out: Vec<String>,
    ) -> Self {
        Self {
            kernel: first_word("/proc/sys/kernel/osrelease"),
            processor: processor(),
            load: first_word("/proc/loadavg"),
            rounds,
            creates,
            unrelated,
            programs,
            memory,
            left_out,
        }
    }

    /// For people: at most 100 columns.
    pub fn table(&self) -> String {
        let Self { kernel, processor, load, rounds, .. } = self;
        let mut text = format!("Linux {kernel}, {processor}, load {load}; {rounds} rounds, medians\n\n");
        let head = ["ns", "ratio", "reader ns", "events"];
        let _ = writeln!(
            text,
            "{:<9} {:<34} {:>8} {:>7} {:>10} {:>7}",
            "on", "watched by", head[0], head[1], head[2], head[3]
        );
        for cost in self.creates.iter().chain(&self.unrelated) {
            let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
            let Cost { on, watcher, ns, ratio, reader_ns, events } = cost;
            let (reader, events) = (figure(*reader_ns), figure(*events));
            let _ = writeln!(text, "{on:<9} {watcher:<34} {ns:>8.0} {ratio:>7.3} {reader:>10} {events:>7}");
        }
        let _ = writeln!(text, "\nby the kernel's statistics, on tmpfs");
        for Program { tier, name, runs, ns } in &self.programs {
            let _ = writeln!(text, "{tier:<9} {name:<34} {ns:>8.0} ns a run, {runs} runs");
        }
        for KernelMemory { tier, map_bytes, jit_bytes, programs } in &self.memory {
            let _ = writeln!(
                text,
                "{tier:<9} maps {map_bytes} bytes; {programs} programs, {jit_bytes} bytes of machine code"
            );
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "not measured: {left_out}");
        }
        text
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn rounded(figure: f64, parts: f64) -> f64 {
    (figure * parts).round() / parts
}

fn first_word(file: &str) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<_> =
        text.lines().filter_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1)).collect();
    format!("{} x{}", models.len(), models.first().unwrap_or(&" unknown processor"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_is_compared_with_its_own_nothing() {
        let watchers = [Watcher::Nothing, Watcher::Inotify];
        let mut rounds = Rounds::new("tmpfs", &watchers);
        // A machine that is twice as slow in the second round, and three times in the third.
        for slow in [1, 2, 3] {
            let measured =
                |micros: u64, reader| Measured { spent: Duration::from_micros(slow * micros), reader };
            rounds.add(0, measured(100, None));
            rounds.add(1, measured(125, Some(Read { events: 98, spent: Duration::from_micros(10) })));
        }
        let [nothing, inotify] = <[Cost; 2]>::try_from(rounds.figures(100)).unwrap();
        assert_eq!((nothing.ns, nothing.ratio, nothing.events), (2000.0, 1.0, None));
        assert_eq!((inotify.ns, inotify.ratio), (2500.0, 1.25));
        assert_eq!((inotify.reader_ns, inotify.events), (Some(100.0), Some(0.98)));
    }

    #[test]
    fn a_program_that_did_not_run_is_left_out() {
        let cost =
            |runs, micros| ProgramCost { program: "p".into(), runs, run_time: Duration::from_micros(micros) };
        assert!(Program::between(Tier::Lsm, &cost(5, 1), &cost(5, 1)).is_none());
        let program = Program::between(Tier::Lsm, &cost(5, 1), &cost(15, 3)).unwrap();
        assert_eq!((program.runs, program.ns), (10, 200.0));
    }

    #[test]
    fn the_table_fits_a_terminal() {
        let cost = Cost {
            on: "overlay".into(),
            watcher: Watcher::Podsweep { tier: Tier::SysExit, with_directories: true }.to_string(),
            ns: 123_456.7,
            ratio: 1.234,
            reader_ns: Some(12_345.6),
            events: Some(0.982),
        };
        let table = Figures::new(15, vec![cost], Vec::new(), Vec::new(), Vec::new(), Vec::new()).table();
        let longest = table.lines().skip(1).map(str::len).max().unwrap();
        assert!(longest <= 100, "{longest}:\n{table}");
    }
}
