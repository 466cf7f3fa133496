//! What every level says of a container's next sweep, for a person who asks: by the agent that runs, or by what lies
//! on the disk where none does.
//!
//! In: a container, the policies. Out: a [`Standing`]. Must never: change anything.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::levels::{Levels, Wanted};
use super::memory::Memory;
use crate::agent::board;
use crate::config::Config;
use crate::inventory::Container;
use crate::operation::unix_now;
use crate::policy::chain::{Chain, Step};
use crate::policy::{Refusal, SweepPolicy};

/// What the levels say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// The policy that acts, where one does.
    pub policy: Option<SweepPolicy>,
    /// The node's own deny list of paths.
    pub never: Vec<String>,
    /// Levels 0 to 4, up to the first no.
    pub before_files: Vec<Step>,
    /// Levels 5 to 7, up to the first no; empty where a level before said no.
    pub after_files: Vec<Step>,
}

impl Standing {
    /// By all that this process knows.
    pub(super) fn of(
        levels: &Levels,
        breakers: impl FnOnce(&str) -> Result<(), Refusal>,
        container: &Container,
        wanted: Wanted<'_>,
        running: Option<&str>,
    ) -> Self {
        let mut chain = Chain::default();
        let policy = policy(levels, container, wanted, &mut chain).ok();
        let mut later = Chain::default();
        if let Some(policy) = &policy {
            // A no has already put its deciding step on the chain.
            let _: Result<(), Refusal> = levels
                .limits_and_breakers(container, running, breakers, &mut later)
                .and_then(|()| levels.hours_and_slots(container, policy, &mut later));
        }
        Self {
            policy: policy.map(Arc::unwrap_or_clone),
            never: levels.guard.never().to_vec(),
            before_files: chain.into_steps(),
            after_files: later.into_steps(),
        }
    }

    /// Where no agent answers: by the config, and by what the state folder remembers. Of what cannot be read there it
    /// is said that it is not known, and why.
    pub fn without_agent(config: &Config, container: &Container, wanted: Wanted<'_>) -> anyhow::Result<Self> {
        let remembered = Memory::read(&config.state).and_then(|memory| {
            let board = board(config, memory.breakers.clone())?;
            Ok((memory, board))
        });
        let (memory, board, unknown) = match remembered {
            Ok((memory, board)) => (memory, board, None),
            Err(error) => (Memory::default(), board(config, None)?, Some(format!("{error:#}"))),
        };
        let levels = Levels { unknown, ..Levels::new(config, memory, None)? };
        Ok(Self::of(&levels, |key| board.would_allow(key, unix_now()), container, wanted, None))
    }
}

fn policy(
    levels: &Levels,
    container: &Container,
    wanted: Wanted<'_>,
    chain: &mut Chain,
) -> Result<Arc<SweepPolicy>, Refusal> {
    let policy = levels.until_policy(container, wanted, chain)?;
    Levels::mode(&policy, chain)?;
    Ok(policy)
}
