//! sweep

mod audit;

pub use audit::{Audit, AuditEntry, AuditResult, Fate};
