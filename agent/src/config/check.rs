//! What is wrong with a configuration whose fields all have the right type. Pure.

use std::path::{Component, Path};

use super::{Config, Lists, kubernetes};
use crate::admission::Window;
use crate::document::{Problem, Problems};
use crate::policy::{NameGlob, Pattern};
use crate::report::JournalLimits;
use crate::units::{Bytes, Span};

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Problems::default();
    paths(config, &mut problems);
    endpoint(config, &mut problems);
    lists("allow", &config.allow, &mut problems);
    lists("deny", &config.deny, &mut problems);
    problems.each("never", &config.never, Pattern::anywhere);
    problems.each("allowedHours", &config.allowed_hours, hours);
    rates(config, &mut problems);
    storage(config, &mut problems);
    pressure(config, &mut problems);
    scan_cgroup(&config.scan_cgroup, &mut problems);
    kubernetes::check(config, &mut problems);
    cloud_events(config, &mut problems);
    problems.into_vec()
}

fn paths(config: &Config, problems: &mut Problems) {
    let named = [("policies", &config.policies), ("state", &config.state), ("socket", &config.socket)];
    let token = config.token_file.iter().map(|path| ("tokenFile", path));
    for (field, path) in named.into_iter().chain(token) {
        if !path.is_absolute() {
            problems.add(field, format!("{} is not absolute; begin it with /", path.display()));
        }
    }
    for (index, path) in config.host_paths.iter().enumerate() {
        if !is_clean_directory(path) {
            let shown = path.display();
            let message =
                format!("{shown} is not a directory below /; write an absolute path without . and ..");
            problems.add(format!("hostPaths[{index}]"), message);
        }
    }
}

fn is_clean_directory(path: &Path) -> bool {
    let mut components = path.components();
    components.next() == Some(Component::RootDir)
        && components.clone().next().is_some()
        && components.all(|component| matches!(component, Component::Normal(_)))
}

fn endpoint(config: &Config, problems: &mut Problems) {
    let Some(listen) = config.listen else { return };
    if !listen.ip().is_loopback() {
        let message = format!("{listen} can be reached from other machines; use 127.0.0.1:{}", listen.port());
        problems.add("listen", message);
    }
    if config.token_file.is_none() {
        problems.add("listen", "any local user could reach it without a token; set tokenFile as well");
    }
}

fn lists(field: &str, lists: &Lists, problems: &mut Problems) {
    problems.each(&format!("{field}.namespaces"), &lists.namespaces, NameGlob::new);
    problems.each(&format!("{field}.images"), &lists.images, NameGlob::new);
    problems.each(&format!("{field}.cgroups"), &lists.cgroups, Pattern::absolute);
}

fn hours(text: &str) -> Result<(), &'static str> {
    let is_window = text.parse::<Window>().is_ok();
    is_window.then_some(()).ok_or("is not a window of the day; write it like 22:00-06:00")
}

fn rates(config: &Config, problems: &mut Problems) {
    problems.within(
        "interval",
        &config.interval,
        Span::from_millis(50)..=Span::from_millis(500),
        "shorter costs CPU for nothing, longer sees bursts late",
    );
    problems.within(
        "rescan",
        &config.rescan,
        Span::from_secs(1)..=Span::from_secs(HOUR),
        "it walks the whole cgroup tree, and is the safety net for events that were missed",
    );
    problems.within("slots", &config.slots, 1..=64, "each slot is a scan and a sweep at the same time");
    problems.within(
        "sweepsPerMinute",
        &config.sweeps_per_minute,
        1..=600,
        "to stop all sweeps use `sweeps: Disabled`",
    );
    problems.within(
        "coolDown",
        &config.cool_down,
        Span::from_secs(0)..=Span::from_secs(DAY),
        "a container that waits longer fills its disk meanwhile",
    );
}

fn storage(config: &Config, problems: &mut Problems) {
    problems.within(
        "history.maxSweeps",
        &config.history.max_sweeps,
        100..=1_000_000,
        "one sweep is about 4 KiB",
    );
    problems.within(
        "history.maxAge",
        &config.history.max_age,
        Span::from_secs(HOUR)..=Span::from_secs(3650 * DAY),
        "history explains what happened to a file",
    );
    problems.within(
        "journal.maxBytes",
        &config.journal.max_bytes,
        Bytes(1 << 20)..=Bytes(1 << 30),
        "one removed file is about 300 bytes",
    );
    problems.within(
        "journal.files",
        &config.journal.files,
        JournalLimits::MIN_FILES..=JournalLimits::MAX_FILES,
        "one is written, one is in reserve, the others are kept",
    );
    problems.within(
        "breakers.global.open",
        &config.breakers.global.open,
        1..=1000,
        "0 would never let a sweep run",
    );
    problems.within(
        "breakers.global.window",
        &config.breakers.global.window,
        Span::from_secs(10)..=Span::from_secs(DAY),
        "harm in several places is one event only if it is close in time",
    );
}

fn pressure(config: &Config, problems: &mut Problems) {
    let limits = &config.node_pressure;
    for (field, value) in [("cpu", limits.cpu), ("io", limits.io), ("memory", limits.memory)] {
        problems.within(format!("nodePressure.{field}"), &value, 1.0..=100.0, "it is a percentage of time");
    }
}

fn scan_cgroup(name: &str, problems: &mut Problems) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    // 200: NAME_MAX is 255, and scans append their own id to names below it.
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain) {
        problems.add(
            "scanCgroup",
            format!("{name:?} is no cgroup name; write one name like podsweep.slice, without /"),
        );
    }
}

fn cloud_events(config: &Config, problems: &mut Problems) {
    let Some(settings) = &config.cloud_events else { return };
    problems.within(
        "cloudEvents.timeout",
        &settings.timeout,
        Span::from_millis(100)..=Span::from_secs(60),
        "shorter fails a collector that is a little slow, longer keeps events waiting behind one that hangs",
    );
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Config, Switch};
    use super::*;
    use crate::report::cloud_events;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("c.yaml")).unwrap_err().to_string()
    }

    #[test]
    fn the_default_and_an_empty_file_are_fine() {
        assert_eq!(problems(&Config::default()), []);
        assert_eq!(Config::parse("# nothing set\n\n", Path::new("c.yaml")).unwrap(), Config::default());
    }

    #[test]
    fn what_is_shown_reads_back() {
        let config = Config {
            sweeps: Switch::Disabled,
            listen: Some("127.0.0.1:9100".parse().unwrap()),
            token_file: Some("/etc/podsweep/token".into()),
            allowed_hours: vec!["22:00-06:00".into()],
            cloud_events: Some(cloud_events::Settings {
                url: "https://c.example/events".parse().unwrap(),
                timeout: Span::from_secs(2),
            }),
            ..Config::default()
        };
        let text = serde_saphyr::to_string(&config).unwrap();
        assert_eq!(Config::parse(&text, Path::new("c.yaml")).unwrap(), config);
    }

    #[test]
    fn strangers_are_kept_out() {
        assert_eq!(
            error("tokenFile: /t\nlisten: 0.0.0.0:9100\n"),
            "c.yaml:2:9: listen: 0.0.0.0:9100 can be reached from other machines; use 127.0.0.1:9100"
        );
        assert!(error("listen: 127.0.0.1:9100").contains("set tokenFile"));
        assert!(Config::parse("{listen: '[::1]:9100', tokenFile: /t}", Path::new("c.yaml")).is_ok());
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_place() {
        let text =
            "interval: 10s\nallow:\n  images: ['[a']\nallowedHours: ['25:00-06:00']\nscanCgroup: a/b\n";
        let shown = error(text);
        let places: Vec<&str> = shown.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
        assert_eq!(places, ["allow.images[0]", "allowedHours[0]", "interval", "scanCgroup"], "{shown}");
        assert!(shown.contains("c.yaml:3:12:"), "{shown}");
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_errors() {
        assert_eq!(error("slot: 2\n"), "c.yaml:1:1: slot: unknown field \"slot\"; did you mean slots?");
        assert!(error("slots: many\n").starts_with("c.yaml:1:8: slots: "), "{}", error("slots: many\n"));
        assert!(error("a: 1\n---\nb: 2\n").contains(": "));
    }

    #[test]
    fn a_collector_is_one_that_can_be_asked_without_a_secret() {
        let url = |url: &str| error(&format!("cloudEvents:\n  url: {url}\n"));
        assert!(url("ftp://c.example").contains("c.yaml:2:"), "{}", url("ftp://c.example"));
        assert!(url("http://me:secret@c.example").contains("password"));
        let slow = error("cloudEvents: {url: http://c.example, timeout: 2m}");
        assert!(slow.contains("cloudEvents.timeout"), "{slow}");
        let text = "cloudEvents: {url: http://c.example/}";
        let settings = Config::parse(text, Path::new("c.yaml")).unwrap().cloud_events.unwrap();
        assert_eq!(settings.timeout, Span::from_secs(5));
    }

    #[test]
    fn host_paths_are_directories_below_the_root() {
        for bad in ["/", "data", "/data/../etc"] {
            assert!(error(&format!("hostPaths: ['{bad}']")).contains("hostPaths[0]"), "{bad}");
        }
    }
}
