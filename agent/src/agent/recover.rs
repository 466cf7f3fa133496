//! What an agent that was killed left behind: processes, cgroups, sweeps on record as running.

use jiff::Timestamp;

use crate::operation::{self, Stores};
use crate::report::{Outcome, Phase};
use crate::scan;

/// Ends workers of an earlier run and removes their cgroups.
pub(super) fn leftovers(stores: &Stores) -> anyhow::Result<()> {
    let found = scan::sweep_leftovers(&stores.tools.scans);
    if found.killed > 0 || found.removed > 0 {
        tracing::info!(
            processes = found.killed,
            cgroups = found.removed,
            "removed what an earlier agent left"
        );
    }
    anyhow::ensure!(
        found.problems.is_empty(),
        "an earlier agent's scan could not be cleaned up: {}",
        found.problems.join("; ")
    );
    Ok(())
}

/// Sweeps on record as running were cut off: they are not resumed, because nobody watched the container since.
pub(super) fn abandon_unfinished(stores: &Stores) -> anyhow::Result<()> {
    for mut record in stores.history.unfinished()? {
        let phase = record.phase;
        record.phase = Phase::Ended;
        record.ended_at = Some(Timestamp::now().to_string());
        record.outcome = Some(Outcome::Abandoned);
        record.reason = Some("AgentEnded".into());
        record.message =
            Some(format!("the agent ended while this sweep was {phase:?}; the journal has what it removed"));
        // A disk that is too full even for this must not keep the agent from starting: the next start says it again.
        operation::keep(stores, &record);
        stores.metrics.sweep_ended(&record);
        tracing::warn!(
            sweep = record.id,
            container = record.container.name,
            ?phase,
            "sweep abandoned by an earlier agent"
        );
    }
    Ok(())
}
