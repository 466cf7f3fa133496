//! How many files of each sort a storm makes, and what they are called. No policy is known here.

use serde::{Deserialize, Serialize};

/// Files of the image that a storm writes to, so that they are copied up.
pub const IMAGE_FILES: u32 = 5;

/// The path of one of them.
pub fn image_file(number: u32) -> String {
    format!("/tmp/from-image-{number}.txt")
}

/// A storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Plain files made as fast as they can be: half below /tmp/job-N, half in /app/cache.
    pub bulk: u32,
    /// Files of each odd sort: held, linked, touched, locks, keepsakes, indexes, links.
    pub odd: u32,
    /// Files made after the bulk, one after the other, in /tmp/trickle.
    pub trickle: u32,
    /// How fast.
    pub trickle_per_second: u32,
}

impl Plan {
    /// Directories below /tmp.
    const JOBS: u32 = 50;

    /// The demo's storm: 200,000 files and some odd ones. The bulk takes 4 to 15 s, the trickle 36 s: the storm
    /// outlasts 30 s, and a stall of half a second leaves each second's rate above 200.
    pub const DEMO: Self = Self { bulk: 182_000, odd: 20, trickle: 18_000, trickle_per_second: 500 };

    /// A storm for a test: only plain files and a few odd ones.
    pub const fn small(bulk: u32) -> Self {
        Self { bulk, odd: 3, trickle: 0, trickle_per_second: 1 }
    }

    /// The directories to make first.
    pub(super) fn directories() -> Vec<String> {
        let jobs = (0..Self::JOBS).map(|job| format!("/tmp/job-{job}"));
        jobs.chain(["/tmp/held", "/tmp/linked", "/tmp/live", "/tmp/trickle"].map(String::from)).collect()
    }

    /// A plain file.
    pub(super) fn bulk_path(number: u32) -> String {
        let (pair, which) = (number / 2, number % 2);
        if which == 0 {
            format!("/tmp/job-{}/f{pair}.tmp", pair % Self::JOBS)
        } else {
            format!("/app/cache/download-{pair}.part")
        }
    }

    /// A file of the trickle.
    pub(super) fn trickle_path(number: u32) -> String {
        format!("/tmp/trickle/t{number}")
    }
}
