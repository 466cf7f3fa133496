//! kubectl, as a person would use it. In: a kubeconfig, words, a manifest. Out: what it printed, or its complaint.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::programs::Programs;

/// An answer later than this is a failure of the API server. Not for `exec` and `logs`, which have none.
const ANSWERED_WITHIN: &str = "--request-timeout=30s";

/// kubectl for one user of one API server.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

impl Kubectl {
    /// With this kubeconfig; what it has learned of the server is kept beside it.
    pub fn new(programs: &Programs, kubeconfig: &Path) -> Result<Self> {
        let cache = kubeconfig.with_extension("cache");
        Ok(Self { program: programs.path("kubectl")?, kubeconfig: kubeconfig.to_owned(), cache })
    }

    /// What it prints; an error with its complaint where it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        succeeded(words, &self.output(words)?)
    }

    /// The same with something on its standard input: a manifest for `apply -f -`, YAML or JSON.
    pub fn run_with(&self, words: &[&str], input: &str) -> Result<String> {
        let mut kubectl = self.command(words);
        kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut kubectl = kubectl.spawn().context("cannot start kubectl")?;
        // Dropped after it: kubectl reads until the end.
        kubectl.stdin.take().context("no standard input")?.write_all(input.as_bytes())?;
        succeeded(words, &kubectl.wait_with_output()?)
    }

    /// Creates or changes what the manifest has.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with(&["apply", "-f", "-"], manifest)
    }

    /// The same for an object that a test has made.
    pub fn apply_object(&self, object: &Value) -> Result<String> {
        self.apply(&object.to_string())
    }

    /// An object, or a list of objects: `&["pod", "web-0", "-n", "shop"]`.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let text = self.run(&[&["get", "-o", "json"], words].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl get {words:?}: {text}"))
    }

    /// However it ends.
    pub fn output(&self, words: &[&str]) -> Result<Output> {
        self.command(words).stdin(Stdio::null()).output().context("cannot start kubectl")
    }

    /// It, to be started by the caller.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut kubectl = Command::new(&self.program);
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(&self.cache);
        if !matches!(words.first(), Some(&("exec" | "logs"))) {
            kubectl.arg(ANSWERED_WITHIN);
        }
        kubectl.args(words);
        kubectl
    }
}

fn succeeded(words: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!("kubectl {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
