//! `podsweep scan`: what a policy would remove; reads only.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;
use tokio::sync::mpsc;

use super::args::ScanArgs;
use super::failure::{Ended, Failure};
use super::figures::{bytes, count};
use super::output::{Format, Table, json, path_text};
use super::pending::{self, Finished, OneShot};
use super::{interrupt, settings, summary, sweep};
use crate::policy::{
    JunkRule, Metadata, Mode, Rollout, ScanSettings, Select, Spec, SweepPolicy, SweepSettings,
};
use crate::report::SweepRecord;
use crate::units::{Bytes, Span};

/// Paths on their way to stdout.
const PATH_QUEUE: usize = 1024;

/// The hidden command: the scan's own process.
pub(super) fn worker() -> Result<Ended, Failure> {
    pending::scan_worker()?;
    Ok(Ended::Well)
}

/// Scans, shows.
pub(super) async fn run(args: ScanArgs) -> Result<Ended, Failure> {
    let policy = match &args.policy {
        Some(path) => settings::policy(path)?,
        None if args.target.starts_with("dir:") => every_file(),
        None => {
            let remedy = "name a policy file: --policy FILE (only dir:PATH may be scanned without one)";
            return Err(Failure::input(anyhow::anyhow!(remedy)));
        }
    };
    let config = settings::config(&args.config.config)?;
    let request = OneShot { config, target: args.target, policy, mode: Mode::DryRun };
    if args.print {
        return print(request, if args.null { 0 } else { b'\n' }).await;
    }
    let finished = sweep::by_this_process(request).await?;
    match args.output.output {
        Format::Json => json(&Found::of(&finished))?,
        Format::Table => show(&finished, args.show)?,
    }
    Ok(Ended::well_if(summary::is_good(&finished.record)))
}

/// Names every regular file, at a pace for a quick answer: for comparing the scanner with `find`.
fn every_file() -> SweepPolicy {
    let rule = JunkRule {
        name: "every-file".into(),
        paths: vec!["/**".into()],
        exclude: Vec::new(),
        volumes: vec![crate::inventory::VolumeKind::WritableLayer],
        types: vec![crate::policy::FileType::File],
        // The youngest that the scanner ever names.
        older_than: Span::from_secs(10),
        min_size: Bytes(0),
        keep_newest: 0,
        owners: Vec::new(),
        empty_directories: false,
        action: crate::policy::Action::Delete,
        i_know_this_is_broad: true,
    };
    SweepPolicy {
        api_version: "podsweep.io/v1alpha1".into(),
        kind: "SweepPolicy".into(),
        metadata: Metadata { name: "every-file".into() },
        spec: Spec {
            mode: Mode::DryRun,
            priority: 0,
            select: Select { cgroups: vec!["/".into()], ..Select::default() },
            triggers: Vec::new(),
            junk: vec![rule],
            never: Vec::new(),
            scan: ScanSettings {
                cpu: crate::units::Percent(100.0),
                allow_missing_limits: true,
                ..ScanSettings::default()
            },
            sweep: SweepSettings::default(),
            rollout: Rollout::default(),
            breakers: crate::policy::Breakers::default(),
        },
    }
}

async fn print(request: OneShot, end: u8) -> Result<Ended, Failure> {
    let (sender, mut found) = mpsc::channel::<Vec<u8>>(PATH_QUEUE);
    let stop = interrupt::stop_on_signal()?;
    let scan = pending::candidates(request, sender, stop.clone());
    let write = async {
        let _stop_on_error = stop.drop_guard();
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        while let Some(path) = found.recv().await {
            out.write_all(&path)?;
            out.write_all(&[end])?;
        }
        out.flush()
    };
    let (report, written) = tokio::join!(scan, write);
    written.context("cannot write to stdout")?;
    let report = report?;
    eprintln!("podsweep: {} candidates of {} entries", count(report.candidates), count(report.entries));
    Ok(Ended::Well)
}

fn show(finished: &Finished, limit: usize) -> std::io::Result<()> {
    let shown = &finished.sample[..finished.sample.len().min(limit)];
    if !shown.is_empty() {
        let mut table = Table::new(&["PATH", "RULE", "BYTES"]);
        for (path, rule, allocated) in shown {
            table.row([&path_text(path), rule, &bytes(*allocated)]);
        }
        table.print()?;
        super::output::line("")?;
    }
    summary::table(&finished.record).print()
}

/// The record, and the first candidates.
#[derive(Serialize)]
struct Found<'a> {
    #[serde(flatten)]
    record: &'a SweepRecord,
    sample: Vec<FoundFile<'a>>,
}

#[derive(Serialize)]
struct FoundFile<'a> {
    /// Bytes that are not UTF-8 as `\xNN`.
    path: String,
    rule: &'a str,
    bytes: u64,
}

impl<'a> Found<'a> {
    fn of(finished: &'a Finished) -> Self {
        let file = |(path, rule, bytes): &'a (Vec<u8>, String, u64)| FoundFile {
            path: path_text(path),
            rule,
            bytes: *bytes,
        };
        Self { record: &finished.record, sample: finished.sample.iter().map(file).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_of_every_file_is_a_valid_policy() {
        assert_eq!(crate::policy::validate(&every_file()), Vec::new());
    }
}
