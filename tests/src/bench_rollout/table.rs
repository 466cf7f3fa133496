//! The figures for people: every one that the object has.

use super::clustered::{Clustered, Idle, Sweeping};
use super::figures::{Outcomes, Writes};
use super::requests::Rate;
use super::simulated::Simulated;
use super::{Figures, Shown};

impl Figures {
    /// As a table.
    pub fn table(&self) -> String {
        let mut lines = vec![self.machine.clone(), String::new()];
        match &self.shown {
            Shown::Simulated(runs) => lines.extend(of_runs(runs)),
            Shown::Clustered(clustered) => lines.extend(of_cluster(clustered)),
        }
        lines.push(String::new());
        lines.extend(self.aims.iter().map(super::figures::Aim::line));
        lines.join("\n")
    }
}

fn of_runs(runs: &[Simulated]) -> Vec<String> {
    let row = |name: &str, figure: &dyn Fn(&Simulated) -> String| {
        let figures: Vec<_> = runs.iter().map(|run| format!("{:>14}", figure(run))).collect();
        format!("{name:<36}{}", figures.concat())
    };
    let mut rows = vec![
        row("weather", &|run| format!("{:?}", run.scenario.weather).to_lowercase()),
        row("nodes", &|run| run.scenario.nodes.to_string()),
        row("sweeps", &|run| run.scenario.sweeps.to_string()),
        row("workloads, slots", &|run| format!("{}, {}", run.workloads, run.slots)),
        row("simulated, s", &|run| run.seconds.to_string()),
        row("most at once", &|run| run.most_at_once.to_string()),
        row("cap violations", &|run| run.cap_violations.to_string()),
        row("succeeded", &|run| run.outcomes.succeeded.to_string()),
        row("failed, aborted, other", &|run| {
            let Outcomes { failed, aborted, other, .. } = run.outcomes;
            format!("{failed}, {aborted}, {other}")
        }),
        row("leaders, resets by a person", &|run| format!("{}, {}", run.leaders, run.resets)),
        row("waves", &|run| run.waves.to_string()),
        row("in queue p50, s", &|run| run.queue_seconds.p50.to_string()),
        row("         p99, s", &|run| run.queue_seconds.p99.to_string()),
        row("         max, s", &|run| run.queue_seconds.max.to_string()),
        row("writes per sweep", &|run| format!("{:.2}", run.writes.per_sweep)),
        row("       most", &|run| run.writes.most.to_string()),
        row("       sweeps with more than 12", &|run| run.writes.above_aim.to_string()),
        row("turns", &|run| run.turns.count.to_string()),
        row("      CPU mean, ms", &|run| format!("{:.2}", run.turns.mean_ms)),
        row("      CPU longest, ms", &|run| format!("{:.2}", run.turns.longest_ms)),
        row("      CPU per sweep, ms", &|run| format!("{:.2}", run.turns.per_sweep_ms)),
        row("      CPU, % of a core", &|run| format!("{:.2}", run.turns.of_a_core)),
        row("wall time of the simulation, s", &|run| format!("{:.1}", run.wall_seconds)),
    ];
    for run in runs {
        let weather = format!("{:?}", run.scenario.weather).to_lowercase();
        let what = format!("writes, {weather}, {} nodes, {} sweeps", run.scenario.nodes, run.scenario.sweeps);
        rows.push(format!("{what}: {}", by_purpose(&run.writes)));
    }
    rows
}

fn by_purpose(writes: &Writes) -> String {
    let each = writes.by_purpose.iter().map(|(what, count)| format!("{what} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

fn of_cluster(Clustered { agents, coordinators, idle, sweeping }: &Clustered) -> Vec<String> {
    let mut lines = vec![format!("{agents} agents, {coordinators} coordinators, one API server")];
    lines.extend(of_idle(idle));
    lines.extend(of_sweeping(sweeping));
    lines
}

fn of_idle(idle: &Idle) -> Vec<String> {
    let Idle { seconds, answered_per_second, all, by_whom, failed_watches, stale_agents } = idle;
    let mut lines = vec![
        format!("idle for {seconds} s: {answered_per_second:.1} requests/s by the API server's metrics"),
        format!("{:<28}{:>12}{:>14}{:>14}", "by its audit", "per second", "worst 1 s", "worst 10 s"),
    ];
    lines.extend(by_whom.iter().map(|(who, rate)| of_rate(who, rate)));
    lines.push(of_rate("all", all));
    lines.push(format!("watches that failed: {failed_watches}; agents cut off at the end: {stale_agents}"));
    lines
}

fn of_rate(who: &str, Rate { per_second, worst_second, worst_ten_seconds }: &Rate) -> String {
    format!("  {who:<26}{per_second:>12.2}{worst_second:>14}{worst_ten_seconds:>14}")
}

fn of_sweeping(sweeping: &Sweeping) -> Vec<String> {
    let Sweeping { sweeps, workloads, slots, seconds, outcomes, writes, .. } = sweeping;
    let Outcomes { succeeded, failed, aborted, other } = outcomes;
    vec![
        format!("{sweeps} sweeps of {workloads} workloads under {slots} slots: {seconds:.0} s"),
        format!("  succeeded {succeeded}, failed {failed}, aborted {aborted}, other {other}"),
        format!(
            "  writes per sweep {:.2}, most {}, more than 12: {} sweeps; {}",
            writes.per_sweep,
            writes.most,
            writes.above_aim,
            by_purpose(writes)
        ),
        format!(
            "  most at once: {} by the audit, {} by the agents' book; cap violations {}",
            sweeping.most_at_once, sweeping.most_worked, sweeping.cap_violations
        ),
    ]
}
