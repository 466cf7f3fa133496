//! What should have gone and what should have stayed, worked out by hand from the text of policies/demo.yaml. Shares
//! nothing with podsweep's own matcher. Pure.

use std::collections::BTreeSet;

use crate::listing::{Listing, Seen};
use crate::workload::{IMAGE_FILES, Trickled, image_file};

/// The policy's `olderThan`, and the youngest that podsweep ever removes; microseconds.
const AGE: u64 = 10_000_000;

/// What only the workload knows.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Files that its processes hold.
    pub(super) held: BTreeSet<String>,
    /// Files that it touches every second.
    pub(super) touched: BTreeSet<String>,
    /// Files made after the listing.
    pub(super) trickled: Vec<Trickled>,
}

/// When the sweep's decision fell and when its last batch was over, microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) decided: u64,
    pub(super) ended: u64,
}

/// The verdict on one sweep.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Gone, and should not be.
    pub(super) wrongly_removed: Vec<String>,
    /// There, and should not be.
    pub(super) missed: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Goes,
    Stays,
    /// Old enough at the end of the sweep but not at its beginning: either is right.
    Either,
}

/// Compares what is there now with what was there before the sweep.
pub(super) fn judge(before: &Listing, after: &Listing, known: &Known, span: Span) -> Findings {
    let mut findings = Findings::default();
    let listed = before.iter().map(|(path, seen)| (path, fate(path, *seen, known, span)));
    let trickled = known.trickled.iter().flat_map(|some| {
        let fate = by_age(some.began, some.ended, span);
        some.paths.iter().filter(|path| !before.contains_key(*path)).map(move |path| (path, fate))
    });
    for (path, fate) in listed.chain(trickled) {
        match (fate, after.contains_key(path)) {
            (Fate::Stays, false) => findings.wrongly_removed.push(path.clone()),
            (Fate::Goes, true) => findings.missed.push(path.clone()),
            _ => {}
        }
    }
    findings
}

fn fate(path: &str, seen: Seen, known: &Known, span: Span) -> Fate {
    let is_kept = known.held.contains(path) || known.touched.contains(path) || is_of_the_image(path);
    if !is_named(path) || !seen.is_file || seen.links != 1 || is_kept {
        return Fate::Stays;
    }
    by_age(seen.stamp, seen.stamp, span)
}

fn by_age(earliest: u64, latest: u64, span: Span) -> Fate {
    if latest + AGE <= span.decided {
        Fate::Goes
    } else if earliest + AGE >= span.ended {
        Fate::Stays
    } else {
        Fate::Either
    }
}

/// The rules `scratch` and `downloads`, and `never`.
fn is_named(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let is_scratch = path.starts_with("/tmp/") && name.strip_suffix(".lock").is_none() && name != ".keep";
    let is_download = path.strip_prefix("/app/cache/").is_some_and(|rest| !rest.contains('/'))
        && name.strip_suffix(".part").is_some();
    (is_scratch || is_download) && !path.starts_with("/app/data/")
}

fn is_of_the_image(path: &str) -> bool {
    (0..IMAGE_FILES).any(|number| image_file(number) == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Span = Span { decided: 100_000_000, ended: 110_000_000 };
    const OLD: Seen = Seen { is_file: true, links: 1, stamp: 80_000_000 };

    fn listing(files: &[(&str, Seen)]) -> Listing {
        files.iter().map(|(path, seen)| ((*path).to_owned(), *seen)).collect()
    }

    fn judged(before: &[(&str, Seen)], after: &[(&str, Seen)]) -> Findings {
        judge(&listing(before), &listing(after), &Known::default(), SPAN)
    }

    #[test]
    fn junk_that_stays_is_missed() {
        assert_eq!(judged(&[("/tmp/a/b", OLD)], &[("/tmp/a/b", OLD)]).missed, ["/tmp/a/b"]);
        assert_eq!(judged(&[("/tmp/a/b", OLD)], &[]), Findings::default());
    }

    #[test]
    fn anything_else_that_goes_is_wrongly_removed() {
        let young = Seen { stamp: 101_000_000, ..OLD };
        let linked = Seen { links: 2, ..OLD };
        let symlink = Seen { is_file: false, ..OLD };
        for (path, seen) in [
            ("/tmp/young", young),
            ("/tmp/linked", linked),
            ("/tmp/symlink", symlink),
            ("/tmp/x.lock", OLD),
            ("/tmp/a/.keep", OLD),
            ("/tmp/from-image-0.txt", OLD),
            ("/app/cache/x.idx", OLD),
            ("/app/cache/below/x.part", OLD),
            ("/app/data/x.part", OLD),
            ("/srv/keep/x.tmp", OLD),
        ] {
            assert_eq!(judged(&[(path, seen)], &[]).wrongly_removed, [path]);
            assert_eq!(judged(&[(path, seen)], &[(path, seen)]), Findings::default());
        }
    }

    #[test]
    fn what_grows_old_during_the_sweep_may_go_or_stay() {
        let between = Seen { stamp: 95_000_000, ..OLD };
        assert_eq!(judged(&[("/tmp/x", between)], &[]), Findings::default());
        assert_eq!(judged(&[("/tmp/x", between)], &[("/tmp/x", between)]), Findings::default());
    }

    #[test]
    fn held_and_trickled_files_count_by_what_the_workload_says() {
        let known = Known {
            held: ["/tmp/held".to_owned()].into(),
            touched: BTreeSet::new(),
            trickled: vec![Trickled {
                began: 105_000_000,
                ended: 105_100_000,
                paths: vec!["/tmp/new".into()],
            }],
        };
        let findings = judge(&listing(&[("/tmp/held", OLD)]), &Listing::new(), &known, SPAN);
        assert_eq!(findings.wrongly_removed, ["/tmp/held", "/tmp/new"]);
    }
}
