//! `podsweep scan`: what a policy would remove; reads only.

use std::sync::Arc;

use serde::Serialize;

use super::args::ScanArgs;
use super::failure::{Ended, Failure};
use super::figures::bytes;
use super::output::{Format, Table, json, line, path_text};
use super::progress::Progress;
use super::{interrupt, print, settings, summary};
use crate::inventory::{Target, VolumeKind};
use crate::one_shot::{self, Sampled};
use crate::policy::{
    Action, Breakers, FileType, JunkRule, Metadata, Mode, Rollout, ScanSettings, Select, Spec, SweepPolicy,
    SweepSettings,
};
use crate::report::SweepRecord;
use crate::scan;
use crate::units::{Bytes, Percent, Span};

/// The hidden command: the scan's own process.
pub(super) fn worker() -> Result<Ended, Failure> {
    scan::worker::run().map_err(anyhow::Error::from)?;
    Ok(Ended::Well)
}

/// Scans, shows.
pub(super) async fn run(args: ScanArgs) -> Result<Ended, Failure> {
    let policy = match (&args.policy, &args.target) {
        (Some(path), _) => settings::policy(path)?,
        (None, Target::Dir(_)) => every_file(),
        (None, _) => {
            let remedy = "name a policy file: --policy FILE (only dir:PATH may be scanned without one)";
            return Err(Failure::input(anyhow::anyhow!(remedy)));
        }
    };
    let config = settings::config(&args.config.config)?;
    let stop = interrupt::stop_on_signal()?;
    if args.print {
        let Target::Dir(directory) = &args.target else {
            let remedy = "--print is for dir:PATH; -o json lists the first candidates of a container";
            return Err(Failure::input(anyhow::anyhow!(remedy)));
        };
        let end = if args.null { 0 } else { b'\n' };
        return print::run(directory, policy, &config, end, &stop).await;
    }
    let progress = Progress::start();
    let subject = one_shot::find(&args.target, &policy, &config)?;
    let (record, sample) = one_shot::scan(subject, Arc::new(policy), &config, &progress, &stop).await?;
    drop(progress);
    match args.output.output {
        Format::Json => json(&Found::of(&record, &sample))?,
        Format::Table => show(&record, &sample, args.show)?,
    }
    Ok(Ended::well_if(summary::is_good(&record)))
}

/// Names every regular file, at a pace for a quick answer: for comparing the scanner with `find`.
fn every_file() -> SweepPolicy {
    let rule = JunkRule {
        name: "every-file".into(),
        paths: vec!["/**".into()],
        exclude: Vec::new(),
        volumes: vec![VolumeKind::WritableLayer],
        types: vec![FileType::File],
        // The youngest that the scanner ever names.
        older_than: Span::from_secs(10),
        min_size: Bytes(0),
        keep_newest: 0,
        owners: Vec::new(),
        empty_directories: false,
        action: Action::Delete,
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
            scan: ScanSettings { cpu: Percent(100.0), allow_missing_limits: true, ..ScanSettings::default() },
            sweep: SweepSettings::default(),
            rollout: Rollout::default(),
            breakers: Breakers::default(),
        },
    }
}

fn show(record: &SweepRecord, sample: &[Sampled], limit: usize) -> std::io::Result<()> {
    if !sample.is_empty() && limit > 0 {
        let mut table = Table::new(&["PATH", "RULE", "BYTES"]);
        for (path, rule, allocated) in sample.iter().take(limit) {
            table.row([&path_text(path), rule, &bytes(*allocated)]);
        }
        table.print()?;
        line("")?;
    }
    summary::table(record).print()
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
    fn of(record: &'a SweepRecord, sample: &'a [Sampled]) -> Self {
        let file =
            |(path, rule, bytes): &'a Sampled| FoundFile { path: path_text(path), rule, bytes: *bytes };
        Self { record, sample: sample.iter().map(file).collect() }
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
