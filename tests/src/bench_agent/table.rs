//! The figures for people: every one that the object has.

use super::detection::Detection;
use super::figures::{Aim, Figures, Load, PeerFigures, Verdict};
use super::schedule::{FOR, LIMIT};
use super::usage::{CpuPercent, Memory, hundredths};

const MICROS: u64 = 1_000_000;

impl Figures {
    /// As a table.
    pub fn table(&self) -> String {
        let Self { machine, tier, seconds, containers, cpu_percent: cpu, .. } = self;
        let by_phase = [cpu.steady, cpu.bursts, cpu.peer];
        let mut lines = vec![
            format!("{machine}; counting by {tier}"),
            format!(
                "{containers} containers, {seconds} s measured; a burst: {LIMIT} creates/s for {} s",
                FOR / MICROS
            ),
            String::new(),
            row("", ["steady", "bursts", "peers"]),
        ];
        lines.extend(rates(&self.load));
        lines.extend([
            cpu_row("agent's CPU, % of a core", by_phase.map(|cpu| cpu.total)),
            cpu_row("  user", by_phase.map(|cpu| cpu.user)),
            cpu_row("  system", by_phase.map(|cpu| cpu.system)),
        ]);
        lines.extend(self.peers.iter().flat_map(of_peer));
        lines.extend([String::new(), of_memory(&self.memory_kib)]);
        lines.extend(of_detection(&self.detection));
        lines.push(format!("counted    {} of {} creates", self.load.counted, self.load.created));
        lines.push(String::new());
        lines.extend(self.aims.iter().map(of_aim));
        lines.join("\n")
    }
}

fn row(name: &str, [steady, bursts, peer]: [&str; 3]) -> String {
    format!("{name:<34}{steady:>10}{bursts:>10}{peer:>10}")
}

fn cpu_row(name: &str, by_phase: [f64; 3]) -> String {
    let by_phase = by_phase.map(|percent| format!("{percent:.2}"));
    row(name, by_phase.each_ref().map(String::as_str))
}

fn rates(load: &Load) -> [String; 2] {
    let rates = [load.steady, load.bursts, load.peer];
    let line = |name: &str, rates: [f64; 3]| {
        let rates = rates.map(|rate| format!("{rate:.0}"));
        row(name, rates.each_ref().map(String::as_str))
    };
    [
        line("creates/s ordered", rates.map(|rate| rate.ordered)),
        line("creates/s achieved", rates.map(|rate| rate.achieved)),
    ]
}

fn of_peer(peer: &PeerFigures) -> [String; 3] {
    let PeerFigures { name, cpu_percent: CpuPercent { total, user, system }, .. } = peer;
    let figures = format!("{total:.2}");
    [
        row(name, ["", "", &figures]),
        format!("  user {user:.2}, system {system:.2}; told of {} of each file", peer.events_per_file),
        row("  agent / this peer", ["", "", &format!("{:.2}", peer.agent_to_peer)]),
    ]
}

fn of_memory(memory: &Memory) -> String {
    let mib = |kib: u64| hundredths(kib as f64 / 1024.0);
    let Memory { rss, peak, anon, file } = *memory;
    let (rss, peak, anon, file) = (mib(rss), mib(peak), mib(anon), mib(file));
    format!("memory     RSS {rss} MiB (anonymous {anon}, file {file}), peak {peak}")
}

fn of_detection(detection: &Detection) -> Vec<String> {
    let ms = |figure: Option<f64>| figure.map_or("-".into(), |ms| format!("{ms:.0} ms"));
    let Detection { bursts, not_carried, missed, unasked, min_ms, p50_ms, p99_ms, max_ms } = *detection;
    let [min, p50, p99, max] = [min_ms, p50_ms, p99_ms, max_ms].map(ms);
    vec![
        format!("detection  p50 {p50}, p99 {p99}, min {min}, max {max}"),
        format!(
            "           {bursts} bursts, {missed} missed, {unasked} decisions that none asked for; \
             {not_carried} more bursts that the machine had no time for"
        ),
    ]
}

fn of_aim(aim: &Aim) -> String {
    let Aim { what, at_most, measured, verdict } = aim;
    let measured = measured.map_or("none".into(), |measured| measured.to_string());
    let verdict = match verdict {
        Verdict::Met => "met",
        Verdict::Missed => "MISSED",
        Verdict::LoadNotCarried => "not tested: this machine did not carry the load",
    };
    format!("aim: {what}: {measured}, at most {at_most}: {verdict}")
}
