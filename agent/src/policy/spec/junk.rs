//! What is junk, and what to do with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::VolumeKind;
use crate::units::{Bytes, Span};

/// What a file must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FileType {
    /// Regular file.
    File,
    /// Symbolic link (itself, never what it points to).
    Symlink,
    /// Socket.
    Socket,
    /// Named pipe.
    Fifo,
}

/// What to do with junk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Unlink it.
    #[default]
    Delete,
    /// Cut it to zero length: a log that a process still holds open.
    Truncate,
}

/// One rule. A file is junk if one rule matches it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JunkRule {
    /// A DNS label; unique in the policy.
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub name: String,
    /// Globs over the path as the container sees it.
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 4096)))]
    pub paths: Vec<String>,
    /// Globs that take out again.
    #[serde(default)]
    #[schemars(length(max = 256), inner(length(min = 1, max = 4096)))]
    pub exclude: Vec<String>,
    /// Where the rule may look.
    #[serde(default = "JunkRule::default_volumes")]
    #[schemars(length(min = 1))]
    pub volumes: Vec<VolumeKind>,
    /// Which types.
    #[serde(default = "JunkRule::default_types")]
    #[schemars(length(min = 1))]
    pub types: Vec<FileType>,
    /// Age of the newest of mtime and ctime.
    #[serde(default = "JunkRule::default_age")]
    pub older_than: Span,
    /// Bytes.
    #[serde(default)]
    pub min_size: Bytes,
    /// Newest files of each directory that stay.
    #[serde(default)]
    #[schemars(range(max = 10_000))]
    pub keep_newest: u32,
    /// Uids on the host's side of the container's user namespace; empty: any.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub owners: Vec<u32>,
    /// Remove directories that this sweep emptied.
    #[serde(default)]
    pub empty_directories: bool,
    /// What to do.
    #[serde(default)]
    pub action: Action,
    /// The author knows that the rule names nearly everything.
    #[serde(default)]
    pub i_know_this_is_broad: bool,
}

impl JunkRule {
    fn default_volumes() -> Vec<VolumeKind> {
        vec![VolumeKind::WritableLayer]
    }
    fn default_types() -> Vec<FileType> {
        vec![FileType::File]
    }
    fn default_age() -> Span {
        Span::from_secs(3600)
    }
}
