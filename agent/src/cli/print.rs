//! `podsweep scan dir:PATH --print`: the path of every candidate, for comparing the scanner with `find`. The scan alone,
//! in its worker and under its limits; nothing of the sweep.

use std::io::{BufWriter, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::failure::{Ended, Failure};
use super::figures::count;
use super::output::{path_text, printable};
use crate::config::Config;
use crate::inventory::VolumeKind;
use crate::policy::SweepPolicy;
use crate::scan::{self, ScanEnd, ScanMessage, ScanPlace, ScanReport, ScanRequest, ScanRoot};

/// Prints until the walk is over. `end` follows each path.
pub(super) async fn run(
    directory: &Path,
    policy: SweepPolicy,
    config: &Config,
    end: u8,
    stop: &CancellationToken,
) -> Result<Ended, Failure> {
    let place =
        ScanPlace { cgroup_parent: config.scan_cgroup.clone(), ..ScanPlace::here().context("cgroups")? };
    let request = request(directory, policy, config)?;
    let mut scan = scan::start(request, &place).await.map_err(anyhow::Error::from)?;
    let stdout = std::io::stdout();
    let on_a_terminal = stdout.is_terminal();
    let mut out = BufWriter::new(stdout.lock());
    let report = loop {
        match stop.run_until_cancelled(scan.next()).await {
            Some(Some(ScanMessage::Candidate(found))) => {
                let path = path_of(directory, &found.path, on_a_terminal);
                if let Err(error) = out.write_all(&path).and_then(|()| out.write_all(&[end])) {
                    scan.cancel().await;
                    return Err(error.into());
                }
            }
            Some(Some(ScanMessage::Progress { .. })) => {}
            Some(Some(ScanMessage::End(report))) => break report,
            Some(None) => return Err(anyhow::anyhow!("the scan ended without a report").into()),
            None => break scan.cancel().await,
        }
    };
    out.flush()?;
    drop(out);
    conclude(&report)
}

fn request(directory: &Path, policy: SweepPolicy, config: &Config) -> Result<ScanRequest, Failure> {
    // Milliseconds that the clock lies before 1970 are not worth an error of their own.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(now.as_secs()).context("the clock is beyond any file's time")?;
    let root = ScanRoot {
        kind: VolumeKind::WritableLayer,
        host: directory.to_path_buf(),
        // The directory stands for the root of a container: `/tmp/**` means PATH/tmp/**.
        seen_at: PathBuf::from("/"),
        lower: Vec::new(),
        mounts: Vec::new(),
    };
    Ok(ScanRequest {
        roots: vec![root],
        junk: policy.spec.junk,
        never: config.never.iter().chain(&policy.spec.never).cloned().collect(),
        settings: policy.spec.scan,
        now: (seconds, now.subsec_nanos()),
    })
}

/// The path as the kernel has it, for programs; for a terminal, as text that cannot drive it.
fn path_of(directory: &Path, below: &[u8], on_a_terminal: bool) -> Vec<u8> {
    let mut path = directory.as_os_str().as_bytes().to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(below);
    if on_a_terminal { printable(&path_text(&path)).into_bytes() } else { path }
}

fn conclude(report: &ScanReport) -> Result<Ended, Failure> {
    let kept: Vec<_> =
        report.kept.iter().map(|(reason, files)| format!("{reason:?} {}", count(*files))).collect();
    let kept = if kept.is_empty() { String::new() } else { format!("; kept: {}", kept.join(", ")) };
    let (candidates, entries) = (count(report.candidates), count(report.entries));
    let mut stderr = std::io::stderr();
    writeln!(stderr, "podsweep: {candidates} candidates among {entries} entries ({:?}){kept}", report.end)?;
    Ok(Ended::well_if(report.end == ScanEnd::Complete && report.errors == 0))
}
