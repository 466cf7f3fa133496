//! What a workload tells the host. Times are microseconds since 1970: both sides are on one machine and one clock.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// One line of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "say")]
pub enum Said {
    /// The service runs.
    Ready,
    /// One heartbeat.
    Beat(Beat),
    /// The storm is about to make its first file.
    StormBegan {
        /// When.
        at: u64,
    },
    /// All of the storm's files exist but those that trickle.
    BulkMade {
        /// When.
        at: u64,
        /// Files that a process of the container keeps open, mapped or locked.
        held: Vec<String>,
        /// Files that are touched every second.
        touched: Vec<String>,
    },
    /// Some more files.
    Trickled(Trickled),
    /// No more files will be made.
    StormEnded {
        /// When.
        at: u64,
        /// All that the storm has made.
        created: Created,
    },
    /// Something failed: the test is void.
    Failed {
        /// What.
        error: String,
    },
}

/// One heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// When it began.
    pub at: u64,
    /// How long it took, microseconds.
    pub micros: u64,
}

/// Files made one after the other in a known stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trickled {
    /// Not before.
    pub began: u64,
    /// Not after.
    pub ended: u64,
    /// Their paths.
    pub paths: Vec<String>,
}

/// What was made, by kind; only what the kernel reported as made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Regular files.
    pub create: u64,
    /// Directories.
    pub mkdir: u64,
    /// Hard links.
    pub link: u64,
    /// Symbolic links.
    pub symlink: u64,
}

impl Created {
    /// All kinds.
    pub fn total(self) -> u64 {
        self.create + self.mkdir + self.link + self.symlink
    }
}

impl Said {
    /// Tells the host. A line is one write: processes of a container share its standard output.
    pub fn tell(&self) -> io::Result<()> {
        let mut line = serde_json::to_string(self)?;
        line.push('\n');
        io::stdout().lock().write_all(line.as_bytes())
    }
}

/// Now.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
