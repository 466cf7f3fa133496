//! Where the loop's policies come from: a folder on a host by itself, objects of the API on a node of a cluster.

use std::sync::Arc;

use super::super::Shared;
use crate::kubernetes::Index;
use crate::policy::{PolicyError, PolicyFolder, PolicySet};

pub(super) enum PolicySource {
    Folder(PolicyFolder),
    Objects(Arc<Index>),
}

impl PolicySource {
    pub(super) fn of(shared: &Shared) -> Self {
        match &shared.stores.pods {
            Some(index) => Self::Objects(Arc::clone(index)),
            None => Self::Folder(PolicyFolder::new(&shared.config.policies)),
        }
    }

    /// `None`: as they were. `Some(Err)`: the caller keeps the policies that it has.
    pub(super) fn poll(&mut self) -> Option<Result<PolicySet, Vec<PolicyError>>> {
        match self {
            Self::Folder(folder) => folder.poll(),
            Self::Objects(index) => index.poll_policies(),
        }
    }
}
