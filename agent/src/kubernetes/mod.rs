//! Everything that is said to and heard from a Kubernetes API server, and nothing that decides.
//!
//! ```text
//! resources   the custom resources, as Rust types
//! crds        the CRDs, made from them: deploy/base/crds.yaml
//! labels      keys of labels and annotations, and what a label may hold
//! client      one connection, with its limits and counts
//! ```
//!
//! Must never: answer a question from memory that has gone stale without saying so.

pub mod crds;
pub mod labels;
pub mod resources;
