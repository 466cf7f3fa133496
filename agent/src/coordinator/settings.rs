//! The coordinator's configuration file.
//!
//! In: `/etc/podsweep/coordinator.yaml`. Out: [`CoordinatorConfig`], checked. Must never: accept a field that it does
//! not know.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::admission::Window;
use crate::config::GlobalBreaker;
use crate::document::{self, FileError, Problem, Problems};
use crate::http_client::HttpUrl;
use crate::rollout;
use crate::units::Span;

/// What is wrong with a Prometheus' address that holds a `?`.
pub const PROMETHEUS_WITH_QUERY: &str = "has a query; write the address up to where /api/v1 begins";

/// The configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CoordinatorConfig {
    /// Kubeconfig file; left out: the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the slot Leases and of the leader's.
    pub namespace: String,
    /// Name of the leader's Lease.
    pub leader_lease: String,
    /// A leader that has not renewed for this long is followed by another.
    pub lease_duration: Span,
    /// A sweep whose agent has not renewed its slot for this long has lost it. Agents renew at half of it.
    pub slot_duration: Span,
    /// How long an ended Sweep object stays.
    pub ttl: Span,
    /// Local times of day in which sweeps may begin, as `22:00-06:00`; empty: always.
    pub allowed_hours: Vec<String>,
    /// When harm in several places stops everything.
    pub global_breaker: GlobalBreaker,
    /// The Prometheus that policies' guards are asked of; left out: every guard is unknown.
    pub prometheus_url: Option<HttpUrl>,
    /// Unix socket for `podsweep breakers`; left out: none.
    pub socket: Option<PathBuf>,
    /// Address of `/healthz`, `/readyz` and `/metrics`.
    pub listen: SocketAddr,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            namespace: "podsweep-system".into(),
            leader_lease: "podsweep-coordinator".into(),
            // client-go's default for leader election.
            lease_duration: Span::from_secs(15),
            slot_duration: Span::from_secs(120),
            ttl: Span::from_secs(3600),
            allowed_hours: Vec::new(),
            global_breaker: GlobalBreaker::default(),
            prometheus_url: None,
            socket: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9465)),
        }
    }
}

impl CoordinatorConfig {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, FileError> {
        Self::parse(&document::read(path)?, path)
    }

    /// Reads and checks text; `path` is for errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let (config, fields): (Self, _) = document::parse(text, path)?;
        let problems = problems(&config);
        if problems.is_empty() { Ok(config) } else { Err(FileError::located(path, &problems, &fields)) }
    }

    pub(super) fn windows(&self) -> Vec<Window> {
        self.allowed_hours.iter().filter_map(|hours| hours.parse().ok()).collect()
    }

    pub(super) fn rollout(&self) -> rollout::Settings {
        let GlobalBreaker { open, window } = self.global_breaker;
        rollout::Settings {
            global: crate::breaker::GlobalBreaker { open, window: window.0 },
            ttl: self.ttl.0,
        }
    }
}

fn problems(config: &CoordinatorConfig) -> Vec<Problem> {
    let mut problems = Problems::default();
    // Below, a leader's renewals would come faster than API servers answer under load; above, nobody would lead for
    // longer than people wait.
    between(&mut problems, "leaseDuration", config.lease_duration, 3, 300);
    // An agent has half of it to come through to the API server, and batches of some seconds to end.
    between(&mut problems, "slotDuration", config.slot_duration, 10, 3600);
    between(&mut problems, "ttl", config.ttl, 60, 30 * 24 * 3600);
    problems.each("allowedHours", &config.allowed_hours, |hours| hours.parse::<Window>().map(drop));
    if config.prometheus_url.as_ref().is_some_and(HttpUrl::has_query) {
        problems.add("prometheusUrl", PROMETHEUS_WITH_QUERY);
    }
    for (field, name) in [("namespace", &config.namespace), ("leaderLease", &config.leader_lease)] {
        if name.is_empty() {
            problems.add(field, "is empty; write a name, or leave the line out");
        }
    }
    problems.into_vec()
}

fn between(problems: &mut Problems, field: &str, span: Span, least: u64, most: u64) {
    if span.0 < Duration::from_secs(least) || span.0 > Duration::from_secs(most) {
        problems.add(field, format!("{span} is not between {least}s and {}", Span::from_secs(most)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        CoordinatorConfig::parse(text, Path::new("c.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_a_whole_configuration() {
        let config = CoordinatorConfig::parse("# nothing\n", Path::new("c.yaml")).unwrap();
        assert_eq!(config, CoordinatorConfig::default());
        assert!(problems(&config).is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        assert!(fault("slotDuration: 5s").starts_with("c.yaml:1:15: slotDuration: 5s is not between"));
        assert!(fault("allowedHours: ['25:00-26:00']").contains("allowedHours[0]"));
        assert!(fault("slots: 3").contains("slots"));
        assert!(fault("prometheusUrl: prometheus:9090").contains("prometheusUrl"));
        assert!(fault("prometheusUrl: http://a:b@prometheus/").contains("password"));
        assert!(fault("prometheusUrl: http://prometheus/?a=b").starts_with("c.yaml:1:16: prometheusUrl: "));
    }
}
