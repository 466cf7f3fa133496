//! How gently: bounds of scan, sweep, rollout and breakers.

use super::super::{
    Action, Breakers, Executor, JunkRule, Pressure, Rollout, ScanSettings, Spec, StopWhen, SweepSettings,
};
use crate::document::Problems;
use crate::units::{Bytes, Percent, Span};

const SECOND: Span = Span::from_secs(1);
const HOUR: Span = Span::from_secs(3600);
const DAY: Span = Span::from_secs(24 * 3600);

pub(super) fn check(spec: &Spec, problems: &mut Problems) {
    scan(&spec.scan, problems);
    sweep(&spec.sweep, problems);
    executor(spec, problems);
    rollout(&spec.rollout, problems);
    breakers(&spec.breakers, problems);
}

fn scan(scan: &ScanSettings, problems: &mut Problems) {
    problems.within(
        "spec.scan.cpu",
        &scan.cpu,
        Percent(1.0)..=Percent(1600.0),
        "it is a share of one core, and the kernel's shortest quota is 1 ms of 100",
    );
    problems.within(
        "spec.scan.readBytesPerSecond",
        &scan.read_bytes_per_second,
        Bytes(64 << 10)..=Bytes(100 << 30),
        "slower than one block in a while never ends",
    );
    problems.within("spec.scan.readIOPS", &scan.read_iops, 10..=10_000_000, "fewer reads never end");
    problems.within(
        "spec.scan.memory",
        &scan.memory,
        Bytes(16 << 20)..=Bytes(16 << 30),
        "the worker itself needs several MiB, and more than a scan can use protects nobody",
    );
    problems.within(
        "spec.scan.maxEntries",
        &scan.max_entries,
        1..=10_000_000_000,
        "it is the scan's only size limit",
    );
    problems.within(
        "spec.scan.timeout",
        &scan.timeout,
        SECOND..=DAY,
        "what is found must still be true when it is used",
    );
}

fn executor(spec: &Spec, problems: &mut Problems) {
    let truncates = |rule: &JunkRule| rule.action == Action::Truncate;
    if spec.sweep.executor == Executor::Exec && spec.junk.iter().any(truncates) {
        problems.add(
            "spec.sweep.executor",
            "Exec has rm alone, and a rule asks for Truncate; use Host, or action: Delete",
        );
    }
}

fn sweep(sweep: &SweepSettings, problems: &mut Problems) {
    problems.within(
        "spec.sweep.batchSize",
        &sweep.batch_size,
        1..=10_000,
        "a batch is the smallest thing that can be stopped",
    );
    problems.within(
        "spec.sweep.batchInterval",
        &sweep.batch_interval,
        Span::from_millis(10)..=HOUR,
        "without a pause the filesystem's journal stays busy and the neighbours wait",
    );
    problems.within(
        "spec.sweep.maxFiles",
        &sweep.max_files,
        1..=10_000_000_000,
        "to remove nothing use mode: DryRun",
    );
    problems.within("spec.sweep.timeout", &sweep.timeout, SECOND..=DAY, "a permit is held all that time");
    stop_when(&sweep.stop_when, problems);
    pressure(&sweep.max_pressure, problems);
    problems.within(
        "spec.sweep.retries.limit",
        &sweep.retries.limit,
        0..=10,
        "what failed ten times needs a person",
    );
    problems.within(
        "spec.sweep.retries.backoff",
        &sweep.retries.backoff,
        SECOND..=DAY,
        "a retry at once meets the same failure",
    );
}

fn stop_when(stop_when: &StopWhen, problems: &mut Problems) {
    for (field, value) in
        [("nodeInodesFree", stop_when.node_inodes_free), ("nodeBytesFree", stop_when.node_bytes_free)]
    {
        if let Some(value) = value {
            let field = format!("spec.sweep.stopWhen.{field}");
            problems.within(field, &value, Percent(0.1)..=Percent(99.0), "it is a share of the filesystem");
        }
    }
}

fn pressure(limits: &Pressure, problems: &mut Problems) {
    for (field, value) in [("cpu", limits.cpu), ("io", limits.io), ("memory", limits.memory)] {
        let field = format!("spec.sweep.maxPressure.{field}");
        problems.within(field, &value, 1.0..=100.0, "it is a percentage of time");
    }
}

fn rollout(rollout: &Rollout, problems: &mut Problems) {
    problems.within("spec.rollout.canary", &rollout.canary, 1..=100, "somebody must be first, and few");
    problems.within("spec.rollout.growth", &rollout.growth, 1..=10, "each wave is this many times the last");
    problems.within(
        "spec.rollout.observe",
        &rollout.observe,
        SECOND..=HOUR,
        "harm shows within minutes or is another's",
    );
    problems.within(
        "spec.rollout.maxParallel",
        &rollout.max_parallel,
        1..=1000,
        "0 would never let a sweep run",
    );
    for (index, dimension) in rollout.serial_by.iter().enumerate() {
        if rollout.serial_by[..index].contains(dimension) {
            problems.add(
                format!("spec.rollout.serialBy[{index}]"),
                format!("{dimension:?} is given twice; remove one"),
            );
        }
    }
}

fn breakers(breakers: &Breakers, problems: &mut Problems) {
    problems.within(
        "spec.breakers.sweep.errors",
        &breakers.sweep.errors,
        1..=1000,
        "0 would end a sweep before it begins",
    );
    let workload = &breakers.workload;
    for (field, value) in
        [("restarts", workload.restarts), ("oomKills", workload.oom_kills), ("notReady", workload.not_ready)]
    {
        let field = format!("spec.breakers.workload.{field}");
        problems.within(
            field,
            &value,
            1..=100,
            "it is the number of harmed containers that opens the breaker",
        );
    }
    let week = Span::from_secs(7 * 24 * 3600);
    problems.within(
        "spec.breakers.workload.coolDown",
        &workload.cool_down,
        SECOND..=week,
        "the next probe comes after it",
    );
}
