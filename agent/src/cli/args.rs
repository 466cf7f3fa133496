//! Arguments. The help texts here are the command line's documentation: docs/cli.md is rendered from them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::output::Format;
use super::settings::DEFAULT_CONFIG;
use crate::coordinator::PROMETHEUS_WITH_QUERY;
use crate::http_client::{HttpUrl, UrlError};
use crate::inventory::Target;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed, or somebody said no: the first line on stderr says who and what would help
  2    wrong arguments, or a file that is not what it should be
  141  the reader of stdout left early, as `head` does

Environment:
  PODSWEEP_CONFIG  default of --config
  PODSWEEP_SOCKET  default of --socket
  PODSWEEP_LOG     log filter, such as info or podsweep::scan=debug";

/// Keeps containers from filling the node's disk: sees file storms, removes junk gently.
#[derive(Debug, Parser)]
#[command(name = "podsweep", version, max_term_width = 100, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the node agent until SIGTERM
    #[command(after_help = "\
Examples:
  podsweep agent
  podsweep agent --config ./podsweep.yaml
  PODSWEEP_LOG=debug podsweep agent")]
    Agent(AgentArgs),
    /// Grant slots, run waves and keep breakers for a whole Kubernetes cluster
    ///
    /// Several may run; one leads, and another follows within the lease's duration. Everything that it knows is on the
    /// API server: `kubectl get sweeps -A` shows what runs, what waits and why.
    #[command(after_help = "\
Examples:
  podsweep coordinator --config /etc/podsweep/coordinator.yaml
  podsweep coordinator                                   # in a pod, with all defaults
  podsweep coordinator --prometheus-url http://prometheus.monitoring:9090")]
    Coordinator(CoordinatorArgs),
    /// Show what a policy would remove, and why; reads only
    #[command(after_help = "\
Examples:
  podsweep scan shop/cart-7d9f/app --policy scratch.yaml
  podsweep scan pid:4711 --policy scratch.yaml -o json
  podsweep scan dir:/var/tmp/try --policy scratch.yaml   # a plain directory, to try a policy
  podsweep scan dir:/var/tmp/try --print -0 | sort -z    # files older than 10 s, to compare with find")]
    Scan(ScanArgs),
    /// Sweep one container now, all guards in force
    ///
    /// Asks the node's agent where one runs, so that its breakers, cool-downs and slots hold; else sweeps by itself.
    /// A policy in mode DryRun removes nothing unless --mode says otherwise.
    #[command(after_help = "\
Examples:
  podsweep sweep shop/cart-7d9f/app --policy scratch.yaml
  podsweep sweep 4f5c1e0a9b7d --policy scratch.yaml --mode Enforce
  podsweep sweep dir:/var/tmp/try --policy scratch.yaml -o json
Exit code 1 also where the container was harmed, or where that is unknown.")]
    Sweep(SweepArgs),
    /// Say why a file would, or would not, be removed: everybody asked, and the one who decides
    ///
    /// Asks in the order in which a sweep asks, up to the first no: what is built in (level 0), a pause and the node's
    /// config (1), the policies (4), entry limits (5), breakers (6), hours and slots (7). Changes nothing. The node's
    /// agent is asked where one runs; else its records are read, and what cannot be known without it is said to be so.
    #[command(after_help = "\
Examples:
  podsweep explain /tmp/a.part --container shop/cart-7d9f/app
  podsweep explain /tmp/a.part --container pid:4711 --policy scratch.yaml")]
    Explain(ExplainArgs),
    /// Check policy files, and the agent's configuration, without running anything
    #[command(after_help = "\
Examples:
  podsweep check /etc/podsweep/policies
  podsweep check a.yaml b.yaml --config podsweep.yaml
Prints FILE:LINE:COLUMN: FIELD: what is wrong; what to write instead. Exit code 2 if anything is wrong.")]
    Check(CheckArgs),
    /// Show what this kernel and this node can do, and what is missing
    #[command(after_help = "\
Examples:
  podsweep doctor
  podsweep doctor -o json
  podsweep doctor --capabilities        # what each process keeps of root's rights, and why
Exit code 1 only if the agent cannot run here; a limited node is still 0.")]
    Doctor(DoctorArgs),
    /// List the sweeps on record, newest first, or show one of them
    #[command(after_help = "\
Examples:
  podsweep history
  podsweep history --container shop/cart-7d9f/app --limit 5
  podsweep history 01JD6Q3M8Z6T4V8WZJ9Q2C5R7N
  podsweep history 01JD6Q3M8Z6T4V8WZJ9Q2C5R7N --files | grep /tmp/
  podsweep history --limit 100 -o json")]
    History(HistoryArgs),
    /// Show the agent at a glance, and the containers that create the most files
    #[command(after_help = "\
Examples:
  podsweep status
  podsweep status --containers 50
  podsweep status -o json")]
    Status(StatusArgs),
    /// Start no new sweeps until `resume`; running ones stop after their batch
    #[command(after_help = "\
Example:
  podsweep pause \"disk replacement until 14:00, Ada\"")]
    Pause(PauseArgs),
    /// Let sweeps start again
    #[command(after_help = "\
Example:
  podsweep resume")]
    Resume(ResumeArgs),
    /// List the breakers, or close one
    #[command(after_help = "\
Examples:
  podsweep breakers
  podsweep breakers reset global
  podsweep breakers reset workload/docker.io/library/cart:2
  kubectl -n podsweep-system exec deploy/podsweep-coordinator -- podsweep breakers   # a whole cluster's")]
    Breakers(BreakersArgs),
    /// The scan's own process; started by podsweep itself
    #[command(hide = true)]
    ScanWorker,
    /// The process of a sweep that removes; started by podsweep itself
    #[command(hide = true)]
    Deleter,
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub(super) struct ConfigArg {
    /// The agent's configuration; a missing file at the default place means all defaults
    #[arg(long, value_name = "FILE", env = "PODSWEEP_CONFIG", hide_env_values = true)]
    #[arg(default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,
}

/// Where the agent listens.
#[derive(Debug, Args)]
pub(super) struct SocketArg {
    /// The agent's control socket
    #[arg(long, value_name = "SOCKET", env = "PODSWEEP_SOCKET", hide_env_values = true, global = true)]
    #[arg(default_value = "/run/podsweep/podsweep.sock")]
    pub(super) socket: PathBuf,
}

/// How to print data.
#[derive(Debug, Args)]
pub(super) struct OutputArg {
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT", global = true)]
    pub(super) output: Format,
}

#[derive(Debug, Args)]
pub(super) struct AgentArgs {
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

#[derive(Debug, Args)]
pub(super) struct CoordinatorArgs {
    /// The coordinator's configuration; left out: all defaults
    #[arg(long, value_name = "FILE", env = "PODSWEEP_COORDINATOR_CONFIG", hide_env_values = true)]
    pub(super) config: Option<PathBuf>,
    /// The Prometheus that policies' guards are asked of, in place of prometheusUrl in the configuration
    #[arg(long, value_name = "URL", env = "PODSWEEP_PROMETHEUS_URL", hide_env_values = true)]
    #[arg(value_parser = prometheus_url)]
    pub(super) prometheus_url: Option<HttpUrl>,
}

fn prometheus_url(text: &str) -> Result<HttpUrl, String> {
    let url: HttpUrl = text.parse().map_err(|error: UrlError| error.to_string())?;
    if url.has_query() { Err(PROMETHEUS_WITH_QUERY.to_owned()) } else { Ok(url) }
}

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    /// Container id (or a unique prefix of 6), namespace/pod[/container], pid:N, a cgroup path, or dir:PATH
    pub(super) target: Target,
    /// The policy file; may be left out for dir:PATH, which then means every regular file older than 10 s
    #[arg(short, long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    /// Print the path of every candidate, one a line, and nothing else on stdout; only for dir:PATH
    #[arg(long)]
    pub(super) print: bool,
    /// With --print: end each path with NUL instead of a newline
    #[arg(short = '0', long, requires = "print")]
    pub(super) null: bool,
    /// How many candidates to show in the table
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) show: usize,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    /// Container id (or a unique prefix of 6), namespace/pod[/container], pid:N, a cgroup path, or dir:PATH
    pub(super) target: Target,
    /// The policy file
    #[arg(short, long, value_name = "FILE")]
    pub(super) policy: PathBuf,
    /// Instead of the policy's own mode
    #[arg(long, value_enum)]
    pub(super) mode: Option<ModeArg>,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) socket: SocketArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// Modes that make sense for a sweep by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeArg {
    /// Scan, and report what would go
    #[value(name = "DryRun")]
    DryRun,
    /// Remove
    #[value(name = "Enforce")]
    Enforce,
}

impl From<ModeArg> for crate::policy::Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::DryRun => Self::DryRun,
            ModeArg::Enforce => Self::Enforce,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// The file, as the container sees it
    pub(super) path: PathBuf,
    /// The container, as `scan` takes it; a plain directory is none
    #[arg(short, long, value_name = "TARGET")]
    pub(super) container: Target,
    /// Ask this policy file instead of those in force
    #[arg(short, long, value_name = "FILE")]
    pub(super) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) socket: SocketArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Policy files, or folders of them
    #[arg(required_unless_present = "config", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Check this agent configuration, too
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Instead: what each of podsweep's processes keeps of root's rights, and why
    #[arg(long)]
    pub(super) capabilities: bool,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// Show this sweep in full
    pub(super) id: Option<String>,
    /// Show the files of this sweep from the audit journal, one a line: what became of it, rule, bytes, path
    ///
    /// Reads the journal in the state folder; needs no agent. With -o json each line is an object with all that the
    /// journal has of the file.
    #[arg(long, requires = "id")]
    pub(super) files: bool,
    /// Only of this container: its id, a unique prefix, or its name as shown
    #[arg(short, long, conflicts_with = "id")]
    pub(super) container: Option<String>,
    /// How many
    #[arg(short, long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) limit: u32,
    /// Only sweeps older than this one: the last id of a page, to get the next
    #[arg(long, value_name = "ID", conflicts_with = "id")]
    pub(super) before: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    #[command(flatten)]
    pub(super) socket: SocketArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// How many containers to show in the table
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) containers: usize,
    #[command(flatten)]
    pub(super) socket: SocketArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    /// Why, and until when: for whoever finds the agent paused
    pub(super) reason: String,
    #[command(flatten)]
    pub(super) socket: SocketArg,
}

#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    pub(super) socket: SocketArg,
}

#[derive(Debug, Args)]
pub(super) struct BreakersArgs {
    #[command(subcommand)]
    pub(super) action: Option<BreakersAction>,
    #[command(flatten)]
    pub(super) socket: SocketArg,
    #[command(flatten)]
    pub(super) output: OutputArg,
}

/// What to do with breakers, other than to list them.
#[derive(Debug, Subcommand)]
pub(super) enum BreakersAction {
    /// Close one
    Reset {
        /// As `podsweep breakers` lists it: global, or workload/KEY
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_command_has_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let example = format!("podsweep {}", command.get_name());
            assert!(help.contains(&example), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn every_example_parses() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines().filter_map(|line| line.strip_prefix("  podsweep ")) {
                let line = line.split(" | ").next().and_then(|line| line.split(" #").next()).unwrap();
                // Only `pause` quotes, and its reason is the last argument.
                let (plain, quoted) = line.split_once(" \"").unwrap_or((line, ""));
                let quoted = Some(quoted.trim_end_matches('"')).filter(|text| !text.is_empty());
                let words = ["podsweep"].into_iter().chain(plain.split_whitespace()).chain(quoted);
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}
