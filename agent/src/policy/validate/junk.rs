//! Junk rules and the policy's deny list.

use std::collections::BTreeSet;

use super::super::junk::MINIMUM_AGE;
use super::super::{Action, FileType, JunkRule, Pattern, Spec};
use super::{few, name};
use crate::document::Problems;
use crate::units::Span;

/// Rules of one policy: each is asked about each file.
const MAX_RULES: usize = 64;
/// The files of one directory that the scanner can keep in order (its memory is bounded).
const MAX_KEEP_NEWEST: u32 = 10_000;
/// Ten years: longer is a slip of the pen.
const MAX_AGE: Span = Span::from_secs(3650 * 24 * 3600);

pub(super) fn check(spec: &Spec, problems: &mut Problems) {
    let count = spec.junk.len();
    if !(1..=MAX_RULES).contains(&count) {
        problems.add("spec.junk", format!("has {count} rules; write 1 to {MAX_RULES}"));
    }
    let mut names = BTreeSet::new();
    for (index, rule) in spec.junk.iter().enumerate() {
        let field = format!("spec.junk[{index}]");
        name(&format!("{field}.name"), &rule.name, problems);
        if !names.insert(&rule.name) {
            let message = format!("{:?} is also the name of an earlier rule; rename one", rule.name);
            problems.add(format!("{field}.name"), message);
        }
        globs(&field, rule, problems);
        conditions(&field, rule, problems);
        action(&field, rule, problems);
    }
    few("spec.never", spec.never.len(), problems);
    problems.each("spec.never", &spec.never, Pattern::anywhere);
}

fn globs(field: &str, rule: &JunkRule, problems: &mut Problems) {
    let paths = format!("{field}.paths");
    if rule.paths.is_empty() {
        problems.add(&*paths, "is empty and names nothing; write at least one glob, e.g. \"/tmp/**\"");
    }
    few(&paths, rule.paths.len(), problems);
    problems.each(&paths, &rule.paths, |text| {
        let pattern = Pattern::absolute(text).map_err(|error| error.to_string())?;
        if pattern.is_broad() && !rule.i_know_this_is_broad {
            return Err(BROAD.to_owned());
        }
        Ok(())
    });
    let exclude = format!("{field}.exclude");
    few(&exclude, rule.exclude.len(), problems);
    problems.each(&exclude, &rule.exclude, Pattern::anywhere);
}

const BROAD: &str = "could name nearly every file of a container; begin it with a directory, or say \
                     `iKnowThisIsBroad: true` in this rule";

fn conditions(field: &str, rule: &JunkRule, problems: &mut Problems) {
    if rule.volumes.is_empty() {
        problems.add(format!("{field}.volumes"), "is empty and names nothing; remove it for WritableLayer");
    }
    if rule.types.is_empty() {
        problems.add(format!("{field}.types"), "is empty and names nothing; remove it for File");
    }
    few(&format!("{field}.owners"), rule.owners.len(), problems);
    problems.within(
        format!("{field}.olderThan"),
        &rule.older_than,
        Span(MINIMUM_AGE)..=MAX_AGE,
        "a younger file may still be being written",
    );
    problems.within(
        format!("{field}.keepNewest"),
        &rule.keep_newest,
        0..=MAX_KEEP_NEWEST,
        "the scan keeps that many files of a directory in memory",
    );
}

fn action(field: &str, rule: &JunkRule, problems: &mut Problems) {
    if rule.action != Action::Truncate {
        return;
    }
    if rule.types.iter().any(|file_type| *file_type != FileType::File) {
        problems
            .add(format!("{field}.types"), "only a File can be truncated; remove the others, or use Delete");
    }
    if rule.empty_directories {
        let message = "Truncate empties no directory; remove it, or use action: Delete";
        problems.add(format!("{field}.emptyDirectories"), message);
    }
}
