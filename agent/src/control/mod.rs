//! The agent's control endpoint: HTTP/1.1 with JSON over a unix socket and, if wanted, loopback TCP.
//!
//! In: requests of people and programs. Out: calls of [`Node`], their answers as the types of [`view`], errors as
//! problem+json (RFC 9457). Must never: decide anything, touch a container, answer a TCP client that brings no token.
//!
//! ```text
//! listen (sockets) -> serve (connections, limits) -> router (routes, token) -> Node (the agent)
//! client (the command line) ------- unix socket ------^
//! ```

mod client;
mod listen;
mod node;
mod problem;
pub(crate) mod router;
pub(crate) mod serve;
#[cfg(test)]
mod tests;
mod token;
pub mod view;

pub use client::{Client, ClientError};
pub use listen::{Endpoints, ListenError, Listeners};
pub use node::{Node, Refused, RefusedKind};
pub use problem::{PROBLEM_JSON, Problem};
pub use router::MAX_BODY;
pub use serve::serve;
pub(crate) use serve::{serve_router, serve_socket};
pub use view::{
    Accepted, ActiveSweep, BreakerState, BreakerView, ContainerView, ExplainRequest, Paused, PolicyInForce,
    Status, SweepRequest, SweepsQuery,
};
