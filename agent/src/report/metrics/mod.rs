//! Metrics: what Prometheus reads at `/metrics`.
//!
//! In: figures from all stages, by one method each. Out: the text format, and the reference in docs/metrics.md. Must
//! never: grow without bound (every label is bounded: by the containers there are, by a fixed set of words, or by
//! the `label` module), or block a stage.
//!
//! Names are `podsweep_<thing>_<unit>[_total]`, in base units.

mod containers;
mod kubernetes;
mod label;
mod node;
mod outside;
mod reference;
mod register;
mod sweeps;
mod total;

pub use containers::MAX_CONTAINERS;
pub use node::{LossTotals, Store};
pub use outside::{GivenUp, Told};

use prometheus::TextEncoder;

use self::containers::Containers;
use self::kubernetes::Kubernetes;
use self::label::Label;
use self::node::Node;
use self::outside::Outside;
use self::register::Register;
use self::sweeps::Sweeps;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// The metrics cannot be made or shown; only a mistake in this module can do that.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

/// Which program this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildInfo {
    /// `CARGO_PKG_VERSION`.
    pub version: &'static str,
    /// Git commit, or `unknown`.
    pub commit: &'static str,
}

/// All metrics of an agent. Share it by `Arc`.
pub struct Metrics {
    register: Register,
    containers: Containers,
    sweeps: Sweeps,
    kubernetes: Kubernetes,
    node: Node,
    outside: Outside,
}

impl Metrics {
    /// All at zero.
    pub fn new(build: BuildInfo) -> Result<Self, MetricsError> {
        let mut register = Register::default();
        Ok(Self {
            containers: Containers::new(&mut register)?,
            sweeps: Sweeps::new(&mut register)?,
            kubernetes: Kubernetes::new(&mut register)?,
            node: Node::new(&mut register, build)?,
            outside: Outside::new(&mut register)?,
            register,
        })
    }

    /// The text format.
    pub fn render(&self) -> Result<String, MetricsError> {
        self.node.collect();
        Ok(TextEncoder::new().encode_to_string(&self.register.gather())?)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
