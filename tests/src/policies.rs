//! Policies for the tests, in the text form that people write.

use crate::container::Container;

/// What a policy under test does beyond its rules for scratch files.
#[derive(Debug, Clone, Copy)]
pub struct Scratch<'a> {
    /// Its name.
    pub name: &'a str,
    /// `Observe`, `DryRun` or `Enforce`.
    pub mode: &'a str,
    /// YAML of `spec.triggers`.
    pub triggers: &'a str,
    /// YAML of `spec.sweep`.
    pub sweep: &'a str,
}

/// Only by hand.
pub const NEVER: &str = "[]";
/// A storm that lasts 12 s: by then its first files are older than the 10 s that nothing may be younger than.
pub const BURST: &str = "[{burst: {createsPerSecond: 50, for: 12s}}]";
/// A whole small storm in a second.
pub const FAST: &str = "{batchSize: 1000, batchInterval: 100ms}";
/// A storm of some thousand files in some minutes: time to interfere.
pub const SLOW: &str = "{batchSize: 20, batchInterval: 200ms}";

impl<'a> Scratch<'a> {
    /// Removes what is asked for by hand, fast.
    pub const fn by_hand(name: &'a str) -> Self {
        Self { name, mode: "Enforce", triggers: NEVER, sweep: FAST }
    }

    /// The policy for one container: scratch files of /tmp and downloads in /app/cache, as the demo's policy.
    pub fn of(self, container: &Container) -> String {
        self.text(&container.cgroup().path())
    }

    fn text(self, cgroup: &str) -> String {
        let Self { name, mode, triggers, sweep } = self;
        format!(
            "apiVersion: podsweep.io/v1alpha1\n\
             kind: SweepPolicy\n\
             metadata: {{name: {name}}}\n\
             spec:\n\
             \x20 mode: {mode}\n\
             \x20 select: {{cgroups: [\"{cgroup}\"]}}\n\
             \x20 triggers: {triggers}\n\
             \x20 junk:\n\
             \x20 - {{name: tmp, paths: [\"/tmp/**\"], exclude: [\"**/*.lock\", \"**/.keep\"], olderThan: 10s}}\n\
             \x20 - {{name: downloads, paths: [\"/app/cache/*.part\"], olderThan: 10s}}\n\
             \x20 never: [\"/app/data/**\"]\n\
             \x20 scan: {{cpu: 50%, readBytesPerSecond: 50Mi, readIOPS: 5000}}\n\
             \x20 sweep: {sweep}\n\
             \x20 rollout: {{observe: 2s}}\n"
        )
    }
}

/// A policy that enforces rules of a test's own, by hand.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Its name.
    pub name: &'a str,
    /// YAML of `spec.junk`.
    pub junk: &'a str,
    /// YAML of `spec.scan`.
    pub scan: &'a str,
    /// YAML of `spec.sweep`.
    pub sweep: &'a str,
}

/// What a scan may use where a test does not ask for less.
pub const SCAN: &str = "{cpu: 90%, readBytesPerSecond: 50Mi, readIOPS: 5000}";

impl Rules<'_> {
    /// The policy for one container.
    pub fn of(self, container: &Container) -> String {
        self.text(&container.cgroup().path())
    }

    fn text(self, cgroup: &str) -> String {
        let Self { name, junk, scan, sweep } = self;
        format!(
            "apiVersion: podsweep.io/v1alpha1\n\
             kind: SweepPolicy\n\
             metadata: {{name: {name}}}\n\
             spec:\n\
             \x20 mode: Enforce\n\
             \x20 select: {{cgroups: [\"{cgroup}\"]}}\n\
             \x20 junk: {junk}\n\
             \x20 scan: {scan}\n\
             \x20 sweep: {sweep}\n\
             \x20 rollout: {{observe: 1s}}\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use podsweep::policy::{parse, validate};

    #[test]
    fn podsweep_accepts_them() {
        let burst = Scratch { triggers: BURST, sweep: SLOW, ..Scratch::by_hand("burst") };
        for text in [
            burst.text("/podsweep-test-1-0"),
            Scratch::by_hand("hand").text("/x"),
            crate::demo::POLICY.into(),
            Rules {
                name: "own",
                junk: "[{name: a, paths: [/a/**], olderThan: 10s}]",
                scan: SCAN,
                sweep: FAST,
            }
            .text("/x"),
        ] {
            let policy = parse(&text, "policy.yaml".as_ref()).unwrap();
            assert_eq!(validate(&policy), [], "{text}");
        }
    }
}
