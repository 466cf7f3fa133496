//! The machine, as far as it explains a figure.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::command::output;

/// What a reader needs to judge whether two figures compare.
#[derive(Serialize)]
pub(super) struct Host {
    kernel: String,
    processor: String,
    processors: usize,
    /// Of the benchmark's folder, as `stat -f` names it.
    filesystem: String,
    /// Of the last minute, when the measurement began: figures of a busy machine say little.
    load: String,
}

impl Host {
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            kernel: first_word("/proc/sys/kernel/osrelease"),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            filesystem: output(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder)).unwrap_or_default(),
            load: first_word("/proc/loadavg"),
        }
    }

    pub(super) fn line(&self) -> String {
        let Self { kernel, processor, processors, filesystem, load } = self;
        format!("Linux {kernel}, {processors} x {processor}, {filesystem}, load {load}")
    }
}

fn first_word(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
