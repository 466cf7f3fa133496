//! docs/refusals.md: every no, its level and its word, what it means and what changes its mind. Made of the words
//! themselves, so that none can be missing.

use std::fmt::Write;

use super::Reason;
use crate::scan::Kept;

const HEAD: &str = "\
# Who may say no

Made from the program itself. To write it anew: `cargo xtask gen`.

Levels are asked in their order; the first no stands. Levels 2 and 3, what the Kubernetes API says of namespace and pod,
are asked only where the config has a `kubernetes` section. `podsweep explain PATH --container C` asks all of them about
one file and shows the chain; nothing is changed by asking.
";

const SWEEPS: &str = "
## A sweep does not begin

In `podsweep_refusals_total{level, reason}`, for each time that somebody was refused; in history as a sweep with the
outcome `Refused` and its `refusal`, once until the answer changes, the newest 200 of all; in the log; in
`GET /v1/containers` for each container; in the problem that `POST /v1/sweeps` answers with.

| level | word | means | what changes its mind |
|---|---|---|---|
";

const FILES: &str = "
## A file stays

In `podsweep_files_kept_total{reason}`, in a sweep's `kept` in history, and, for what the sweep took up, in the audit
journal, file by file. Only files that a rule's paths cover are counted. Rules and deny lists are asked before the
built-in checks that cost a system call; a file with several reasons to stay is counted under the first.

| level | word | means | what changes its mind |
|---|---|---|---|
";

const ENDS: &str = "
## A sweep ends before it is through

In `podsweep_sweeps_total{outcome, reason}` and in history. What it had not come to stays.

| word | means |
|---|---|
";

const ASIDE: &str = "
## Only `explain` says

A sweep does not come across these files, so nothing counts them.

| level | word | means |
|---|---|---|
";

/// Why a sweep that began ended early, as its record says it. `tests` compares them with the sweep stage's own.
const ENDED: [(&str, &str); 22] = [
    ("StopWhen", "`sweep.stopWhen`: enough is free"),
    ("MaxFiles", "`sweep.maxFiles` reached"),
    ("Timeout", "`sweep.timeout` reached"),
    ("EntryLimit", "`scan.maxEntries` reached"),
    ("ScanTimeout", "`scan.timeout` reached"),
    ("PermitExpired", "the time that its slot is for ran out"),
    ("Cancelled", "a person, or the end of the agent"),
    ("ContainerChanged", "the container ended, was restarted, or moved to another cgroup"),
    ("ViewDiffers", "the container's mounts are not those that were looked at"),
    ("SignalMissing", "a sign of harm (PSI, free space) cannot be read"),
    ("AuditUnavailable", "the journal cannot be written; nothing goes unjournalled"),
    ("SweepBreaker", "level 6: the kernel refused `breakers.sweep.errors` times in a row"),
    ("Replaced", "another file took a name in the moment of its removal"),
    ("ScanNotBelieved", "the scan worker named what it was not asked for; not tried again"),
    ("ScanFailed", "the scan worker died or broke the protocol"),
    ("ScanNotStarted", "the scan could not start"),
    ("LimitsMissing", "this host cannot give the scan a limit that the policy asks for"),
    ("DeleterFailed", "the process that removes could not be started, died or fell silent"),
    ("ExecFailed", "`executor: Exec`: `rm` could not be run in the container, or did not end in time"),
    ("TooManyStuck", "too many batches of earlier sweeps still hang"),
    ("Stuck", "a batch did not come to its end: a filesystem or a process that it looks at hangs"),
    ("Internal", "a defect of podsweep: please report it"),
];

/// Words that only `explain` uses.
const EXPLAINED: [(u8, &str, &str); 6] = [
    (0, "NotThere", "there is no such file (any more), or the container removed one of its image"),
    (0, "OfTheImage", "the image's alone: never written to, so not in the writable layer"),
    (0, "BehindSymlink", "a directory on its way is a symlink: rules reach nothing through one"),
    (0, "Directory", "goes only where a rule has `emptyDirectories`, when a sweep has emptied it"),
    (4, "NotNamed", "no rule's paths cover it on the storage that holds it"),
    (4, "DryRun", "everybody said yes, and the policy's mode only reports"),
];

/// The document.
pub fn reference() -> String {
    let mut text = format!("{HEAD}{SWEEPS}");
    // Writing to a String cannot fail.
    for reason in Reason::ALL {
        let (level, word) = (reason.level(), reason.as_str());
        let _ = writeln!(text, "| {level} | `{word}` | {} | {} |", reason.means(), reason.remedy());
    }
    text.push_str(FILES);
    for kept in Kept::ALL {
        let About { level, means, remedy } = about(kept);
        let _ = writeln!(text, "| {level} | `{kept:?}` | {means} | {remedy} |");
    }
    text.push_str(ENDS);
    for (word, means) in ENDED {
        let _ = writeln!(text, "| `{word}` | {means} |");
    }
    text.push_str(ASIDE);
    for (level, word, means) in EXPLAINED {
        let _ = writeln!(text, "| {level} | `{word}` | {means} |");
    }
    text
}

struct About {
    level: &'static str,
    means: &'static str,
    remedy: &'static str,
}

fn about(kept: Kept) -> About {
    let (level, means, remedy) = match kept {
        Kept::Excluded => ("4", "the rule's `exclude` takes the path out again", "the rule"),
        Kept::Never => {
            ("1, 4", "a `never` of the node's config, or of the policy, names the path", "that list")
        }
        Kept::Type => (
            "4",
            "not of a type that the rule names; at the removal, not of one that is ever removed",
            "the rule's `types`",
        ),
        Kept::TooYoung => (
            "0, 4",
            "younger than 10 s, or than the rule's `olderThan`; a time in the future is no age",
            "time",
        ),
        Kept::TooSmall => ("4", "smaller than `minSize`", "the rule"),
        Kept::Owner => ("4", "owned by none of `owners`", "the rule"),
        Kept::Newest => ("4", "one of the newest `keepNewest` of its directory", "newer files, or the rule"),
        Kept::HardLinked => ("0", "has more than one name", "the end of the other names"),
        Kept::LowerLayer => ("0", "a layer of the image has the path, too: a whiteout would stay", "nothing"),
        Kept::MountInside => (
            "0",
            "on another mount: what the kubelet or the runtime mounts, a volume of no kind that the rule names; counted once for a directory",
            "nothing",
        ),
        Kept::Open => ("0", "a process has it open, mapped or locked", "its being closed"),
        Kept::Changed => ("0", "no longer what was scanned", "the next sweep"),
        Kept::ViewDiffers => (
            "0",
            "the container's view does not show the file that was scanned",
            "nothing that podsweep can see",
        ),
        Kept::Refused => ("0", "the kernel refused; the errno is in the journal", "depends on the errno"),
        Kept::TooManyInDirectory => {
            ("0", "too many files in one directory to judge `keepNewest`", "fewer files, or no `keepNewest`")
        }
        Kept::NotPassable => (
            "0",
            "`executor: Exec` alone: its path is not UTF-8, or too long for one call, so it would not reach `rm` as it is",
            "`executor: Host`",
        ),
    };
    About { level, means, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_docs_is_the_programs_own() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/refusals.md");
        if std::env::var_os("PODSWEEP_BLESS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(written == reference(), "docs/refusals.md is out of date; run `cargo xtask gen`");
    }

    #[test]
    fn every_word_with_which_a_sweep_ends_is_in_it() {
        let source = include_str!("../sweep/end.rs");
        let words = source.split("fn reason(&self)").nth(1).and_then(|rest| rest.split("fn message").next());
        let words: Vec<_> = words.unwrap().split('"').skip(1).step_by(2).collect();
        assert!(words.len() > 15, "{words:?}");
        let text = reference();
        let missing: Vec<_> = words
            .iter()
            .filter(|word| **word != "Complete" && !text.contains(&format!("| `{word}` |")))
            .collect();
        assert!(missing.is_empty(), "not in docs/refusals.md: {missing:?}");
    }

    #[test]
    fn all_means_all() {
        // In the order of their declaration, so that one that is added and forgotten moves the last.
        assert!(Reason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
        assert!(Kept::ALL.iter().enumerate().all(|(place, kept)| *kept as usize == place));
        assert_eq!(Reason::of_word("CoolDown"), Some(Reason::CoolDown));
        assert_eq!(Reason::of_word("Complete"), None);
    }
}
