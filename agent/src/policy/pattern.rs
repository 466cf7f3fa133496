//! One glob over absolute paths. Pure.
//!
//! In: a pattern such as `/app/cache/*.part`, paths as bytes. Out: whether the pattern names the path, or could name
//! something below it. Must never: let anything but `**` cross a `/`.
//!
//! A pattern is matched component by component. One glob over the whole path would not do: globset's `[!x]` and
//! `[+-9]` match a `/` (its `literal_separator` covers `*` and `?` only), so `/tmp[!x]data` would name `/tmp/data`.
//!
//! ```text
//! /app/**/cache/*.part   ->   Literal(app)  AnyDepth  Literal(cache)  Glob(*.part)
//!                             0             1         2               3            4 = the whole pattern
//! ```
//!
//! A set of positions walks along the path's components; bit i says "the first i components are used up".

use std::path::PathBuf;

use globset::{Candidate, GlobBuilder, GlobMatcher};

/// Components of a pattern: one bit each in a `u64`, and one for the end.
const MAX_COMPONENTS: usize = 63;
/// Bytes of a pattern: `PATH_MAX` of the kernel; nothing longer can name a path that a program could open.
const MAX_LENGTH: usize = 4096;

/// A pattern that cannot be used. `Display` says why and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty.
    #[error("an empty pattern names nothing; remove it")]
    Empty,
    /// Does not begin at the root.
    #[error("is not an absolute path; begin it with /")]
    Relative,
    /// `//`, a trailing `/`, `.` or `..`.
    #[error("has an empty, `.` or `..` component; write the path as the kernel would, without them")]
    Unclean,
    /// `a**`.
    #[error("has `**` beside other characters in one component; `**` must stand alone between slashes")]
    DoubleStar,
    /// A NUL byte.
    #[error("contains a NUL; no path does")]
    Nul,
    /// A class such as `[é]`, which could match only one of its bytes.
    #[error("has a character outside ASCII in [...]; write the alternatives as {{a,b}}")]
    ClassNotAscii,
    /// Too long, or too many components.
    #[error("is longer than {MAX_LENGTH} bytes or {MAX_COMPONENTS} components; shorten it")]
    TooLong,
    /// Glob syntax.
    #[error("component {component:?}: {problem}; `/` may not stand in [...] or {{...}}, and \\ escapes")]
    Syntax {
        /// The component.
        component: String,
        /// What the glob parser says.
        problem: String,
    },
}

/// One glob, ready to match.
#[derive(Debug, Clone)]
pub struct Pattern {
    components: Vec<Component>,
}

#[derive(Debug, Clone)]
enum Component {
    /// `**`: any number of components; as the last one, at least one.
    AnyDepth,
    /// No wildcard: exactly this name.
    Literal(Vec<u8>),
    /// Wildcards, within one name.
    Glob(GlobMatcher),
}

impl Pattern {
    /// A pattern that begins at the root.
    pub fn absolute(text: &str) -> Result<Self, PatternError> {
        let below_root = text.strip_prefix('/').ok_or(if text.is_empty() {
            PatternError::Empty
        } else {
            PatternError::Relative
        })?;
        Self::compile(below_root)
    }

    /// A pattern that begins at the root or, as `**/name`, anywhere. For what protects, not for what names junk.
    pub fn anywhere(text: &str) -> Result<Self, PatternError> {
        if text.starts_with("**/") { Self::compile(text) } else { Self::absolute(text) }
    }

    fn compile(below_root: &str) -> Result<Self, PatternError> {
        if below_root.len() > MAX_LENGTH {
            return Err(PatternError::TooLong);
        }
        if below_root.contains('\0') {
            return Err(PatternError::Nul);
        }
        if below_root.is_empty() {
            return Ok(Self { components: Vec::new() });
        }
        let mut components: Vec<Component> = Vec::new();
        for text in below_root.split('/') {
            let component = Component::compile(text)?;
            // `**/**` names what `**` names.
            let repeated =
                matches!((components.last(), &component), (Some(Component::AnyDepth), Component::AnyDepth));
            if !repeated {
                components.push(component);
            }
        }
        if components.len() > MAX_COMPONENTS {
            return Err(PatternError::TooLong);
        }
        Ok(Self { components })
    }

    /// Names nearly everything: `/`, or a first component that is a glob.
    pub fn is_broad(&self) -> bool {
        !matches!(self.components.first(), Some(Component::Literal(_)))
    }

    /// Whether the pattern names this absolute path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.positions_after(path) & self.whole() != 0
    }

    /// Whether the pattern could name a path below this absolute directory. Never wrongly false.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        self.positions_after(directory) & !self.whole() != 0
    }

    /// The directory that the pattern cannot leave: its leading components without a wildcard, the last component
    /// of the pattern itself not counted.
    pub fn literal_prefix(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let directories = self.components.len().saturating_sub(1);
        let literals = self.components.iter().take(directories).map_while(|component| match component {
            Component::Literal(name) => Some(std::ffi::OsStr::from_bytes(name)),
            _ => None,
        });
        std::iter::once(std::ffi::OsStr::new("/")).chain(literals).collect()
    }

    /// The bit of the position behind the last component.
    fn whole(&self) -> u64 {
        1 << self.components.len()
    }

    fn positions_after(&self, path: &[u8]) -> u64 {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
        let mut positions = self.skip_any_depth(1);
        for name in names {
            if positions == 0 {
                break;
            }
            positions = self.advance(positions, name);
        }
        positions
    }

    /// Positions after one more component of the path.
    fn advance(&self, positions: u64, name: &[u8]) -> u64 {
        let mut next = 0;
        for (index, component) in self.components.iter().enumerate() {
            if positions & (1 << index) == 0 {
                continue;
            }
            match component {
                Component::AnyDepth if index + 1 == self.components.len() => next |= 0b11 << index,
                Component::AnyDepth => next |= 1 << index,
                component if component.matches(name) => next |= 1 << (index + 1),
                _ => {}
            }
        }
        self.skip_any_depth(next)
    }

    /// A `**` in the middle may also stand for no component at all.
    fn skip_any_depth(&self, positions: u64) -> u64 {
        let mut all = positions;
        for (index, component) in self.components.iter().enumerate() {
            let in_the_middle = index + 1 < self.components.len();
            if in_the_middle && matches!(component, Component::AnyDepth) && all & (1 << index) != 0 {
                all |= 1 << (index + 1);
            }
        }
        all
    }
}

impl Component {
    fn compile(text: &str) -> Result<Self, PatternError> {
        match text {
            "" | "." | ".." => return Err(PatternError::Unclean),
            "**" => return Ok(Self::AnyDepth),
            _ if text.contains("**") => return Err(PatternError::DoubleStar),
            _ => {}
        }
        let syntax = |problem: String| PatternError::Syntax { component: text.to_owned(), problem };
        if !text.contains(['*', '?', '[', ']', '{', '}', '\\']) {
            return Ok(Self::Literal(text.as_bytes().to_vec()));
        }
        if !text.is_ascii() && text.contains('[') {
            return Err(PatternError::ClassNotAscii);
        }
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .backslash_escape(true)
            // `x{,.bak}` names x as well, as in a shell: a deny list that left it out would protect less than it says.
            .empty_alternates(true)
            .build()
            .map_err(|error| syntax(error.kind().to_string()))?;
        Ok(Self::Glob(glob.compile_matcher()))
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::AnyDepth => true,
            Self::Literal(literal) => literal == name,
            Self::Glob(glob) => glob.is_match_candidate(&Candidate::from_bytes(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn names(pattern: &str, path: &[u8]) -> bool {
        Pattern::anywhere(pattern).unwrap().matches(path)
    }

    #[test]
    fn double_star_at_the_end_names_what_is_below_and_not_the_directory() {
        assert!(!names("/tmp/**", b"/tmp"));
        assert!(names("/tmp/**", b"/tmp/a"));
        assert!(names("/tmp/**", b"/tmp/a/b"));
        assert!(!names("/tmp/**", b"/tmpfs/a"));
    }

    #[test]
    fn double_star_in_the_middle_may_be_nothing() {
        assert!(names("/a/**/b", b"/a/b"));
        assert!(names("/a/**/b", b"/a/x/y/b"));
        assert!(!names("/a/**/b", b"/a/x/y/b/c"));
        assert!(names("**/*.lock", b"/x.lock"));
        assert!(names("**/*.lock", b"/a/b/x.lock"));
    }

    #[test]
    fn nothing_but_double_star_crosses_a_slash() {
        assert!(!names("/tmp/*", b"/tmp/a/b"));
        assert!(!names("/tmp[!x]data", b"/tmp/data"));
        assert!(!names("/tmp[+-9]data", b"/tmp/data"));
        assert!(!names("/tmp?data", b"/tmp/data"));
    }

    #[test]
    fn names_are_bytes_and_case_matters() {
        assert!(names("/tmp/*", b"/tmp/\xff\xfe\n"));
        assert!(names("/tmp/?", b"/tmp/\xff"));
        assert!(!names("/tmp/a", b"/tmp/A"));
        assert!(names("/tmp/*.", b"/tmp/x."));
        assert!(names("/tmp/*", b"/tmp/.hidden"));
        assert!(names("/tmp/\\*", b"/tmp/*"));
        assert!(!names("/tmp/\\*", b"/tmp/x"));
        assert!(names("/{tmp,var}/x", b"/var/x"));
    }

    #[test]
    fn an_empty_alternative_is_one() {
        assert!(names("/tmp/x{,.bak}", b"/tmp/x") && names("/tmp/x{,.bak}", b"/tmp/x.bak"));
        assert!(!names("/tmp/x{,.bak}", b"/tmp/x.") && !names("/tmp/{,a}", b"/tmp"));
    }

    #[test]
    fn unusable_patterns_are_refused() {
        for (pattern, error) in [
            ("", PatternError::Empty),
            ("tmp/x", PatternError::Relative),
            ("/tmp/", PatternError::Unclean),
            ("/tmp//x", PatternError::Unclean),
            ("/tmp/../etc", PatternError::Unclean),
            ("/tmp/a**", PatternError::DoubleStar),
            ("/tmp/\0", PatternError::Nul),
            ("/tmp/[é]", PatternError::ClassNotAscii),
        ] {
            assert_eq!(Pattern::anywhere(pattern).unwrap_err(), error, "{pattern:?}");
        }
        for pattern in ["/tmp/{a/b}", "/tmp/[/]", "/tmp/a\\/b", "/tmp/{a", "/tmp/[a"] {
            assert!(matches!(Pattern::anywhere(pattern), Err(PatternError::Syntax { .. })), "{pattern:?}");
        }
        assert_eq!(Pattern::absolute("**/x").unwrap_err(), PatternError::Relative);
        assert_eq!(Pattern::absolute(&"/a".repeat(64)).unwrap_err(), PatternError::TooLong);
        assert!(Pattern::absolute(&"/a".repeat(63)).is_ok());
    }

    #[test]
    fn broad_is_what_begins_with_a_glob() {
        for pattern in ["/", "/**", "/*", "/{tmp,var}/x", "/t*/x"] {
            assert!(Pattern::absolute(pattern).unwrap().is_broad(), "{pattern}");
        }
        assert!(!Pattern::absolute("/tmp/**").unwrap().is_broad());
    }

    #[test]
    fn the_prefix_ends_at_the_first_wildcard_and_before_the_last_name() {
        for (pattern, prefix) in [
            ("/app/cache/*.part", "/app/cache"),
            ("/tmp/**", "/tmp"),
            ("/var/log/a.log", "/var/log"),
            ("/*", "/"),
        ] {
            assert_eq!(Pattern::absolute(pattern).unwrap().literal_prefix(), Path::new(prefix), "{pattern}");
        }
    }

    /// An independent matcher: plain recursion over text, `*` and `?` only.
    fn naive(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", [])), _) => !path.is_empty(),
            (Some((&"**", rest)), None) => naive(rest, path),
            (Some((&"**", rest)), Some((_, tail))) => naive(rest, path) || naive(pattern, tail),
            (Some((first, rest)), Some((name, tail))) => {
                naive_name(first.as_bytes(), name.as_bytes()) && naive(rest, tail)
            }
            _ => false,
        }
    }

    fn naive_name(glob: &[u8], name: &[u8]) -> bool {
        match (glob.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                naive_name(rest, name) || name.split_first().is_some_and(|(_, tail)| naive_name(glob, tail))
            }
            (Some((b'?', rest)), Some((_, tail))) => naive_name(rest, tail),
            (Some((g, rest)), Some((n, tail))) => g == n && naive_name(rest, tail),
            _ => false,
        }
    }

    fn components(text: &str) -> Vec<&str> {
        text.split('/').filter(|component| !component.is_empty()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        #[test]
        fn agrees_with_an_independent_matcher(
            pattern in r"(/(\*\*|[ab*?]{1,3})){1,5}".prop_filter("`**` stands alone", |p| {
                components(p).iter().all(|c| *c == "**" || !c.contains("**"))
            }),
            path in "(/[ab]{1,3}){1,6}",
        ) {
            let compiled = Pattern::absolute(&pattern).unwrap();
            prop_assert_eq!(
                compiled.matches(path.as_bytes()),
                naive(&components(&pattern), &components(&path)),
                "{} {}", pattern, path
            );
        }

        #[test]
        fn every_directory_above_a_match_may_match_below(
            pattern in r"(/(\*\*|[ab*?]{1,2})){1,5}".prop_filter("`**` stands alone", |p| {
                components(p).iter().all(|c| *c == "**" || !c.contains("**"))
            }),
            path in "(/[ab]{1,2}){1,6}",
        ) {
            let compiled = Pattern::absolute(&pattern).unwrap();
            if !compiled.matches(path.as_bytes()) {
                return Ok(());
            }
            prop_assert!(compiled.may_match_below(b"/"));
            for (slash, _) in path.match_indices('/').skip(1) {
                prop_assert!(compiled.may_match_below(&path.as_bytes()[..slash]), "{} {}", pattern, &path[..slash]);
            }
        }
    }
}
