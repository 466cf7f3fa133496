//! A hostile container: a real process in it, as its root, that changes under podsweep's hands what podsweep looks
//! at; and what a test needs to set it up, to sweep meanwhile, and to say afterwards what was touched.
//!
//! ```text
//! host                                         container
//! Siege::hold --HTTP--> agent --sweeps-->      /attacker: order::Order
//!   |                                            Swapper (flip, aim, move_away, cover)
//!   Attack <---- lines of Tally ---------------  Bystander (what a service does meanwhile)
//!   Canaries: what no policy names, before and after
//! ```
//!
//! Every figure of a test is the attacker's own count of system calls that succeeded. Must never: change anything
//! outside the test's own folder and container.

mod aim;
mod attack;
mod bystander;
mod canary;
mod counts;
mod flip;
mod ground;
mod order;
mod program;
mod siege;
mod storm;

pub use attack::Attack;
pub use canary::Canaries;
pub use counts::Tally;
pub use ground::{Ground, fill};
pub use order::{By, Errand, Order};
pub use program::run;
pub use siege::{Fought, Pace, Siege, race_is_long};
