//! What an attacker is told to do, as one JSON argument. Plain data.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One attack, and what the attacker's second thread does meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The attack.
    pub errand: Errand,
    /// Directories in which a service's own work goes on: create, rename, remove, mkdir, rmdir.
    pub bystand: Vec<PathBuf>,
    /// Whether that work leaves a file behind each time, which will be junk when it is old.
    pub supply: bool,
}

/// How two files change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// renameat2(2) with RENAME_EXCHANGE: both live on.
    Exchange,
    /// rename(2) over the name: the one that was there is gone.
    RenameOver,
}

/// An attack. All paths are the container's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Errand {
    /// Exchanges each pair in turn, without end: each spends half of the time in the other's place.
    Flip {
        /// What changes places.
        pairs: Vec<(PathBuf, PathBuf)>,
    },
    /// Follows the removal through `doomed` and puts a file of `precious` in the place of the one whose turn is next.
    Aim {
        /// Directory of junk.
        doomed: PathBuf,
        /// Directory of what no rule names.
        precious: PathBuf,
        /// How.
        by: By,
    },
    /// Waits until files of `from` go, then moves it to `to`, counts what is in it, waits, counts again, moves it
    /// back.
    MoveAway {
        /// A directory that a rule covers.
        from: PathBuf,
        /// A path that none covers.
        to: PathBuf,
    },
    /// Mounts over a directory and unmounts, without end. Needs CAP_SYS_ADMIN.
    Cover {
        /// The directory.
        target: PathBuf,
        /// What is bound over it; a tmpfs where there is none.
        source: Option<PathBuf>,
    },
    /// Makes and removes files, in many directories in turn, as fast as it can.
    Storm {
        /// Holds the directories.
        below: PathBuf,
        /// How many.
        directories: u32,
    },
    /// Only what the second thread does.
    Idle,
}
