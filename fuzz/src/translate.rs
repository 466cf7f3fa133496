//! podsweep's globs in the words of the crate `glob`, which has neither braces nor escapes.
//!
//! In: a pattern that podsweep accepts. Out: patterns, of which one matches where the original does; `None` where the
//! other language cannot say it. Must never: be asked about a pattern that podsweep refuses.

use std::iter::Peekable;
use std::str::Chars;

/// Alternatives of one pattern: braces multiply.
const MAX_ALTERNATIVES: usize = 64;

/// One thing that a name is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(char),
    AnyNumber,
    One,
    Class(String),
}

type Alternative = Vec<Piece>;

/// The pattern without its leading slash, in the other language.
pub fn translate(pattern: &str) -> Option<Vec<String>> {
    let mut whole = vec![String::new()];
    for (index, component) in pattern.strip_prefix('/').unwrap_or(pattern).split('/').enumerate() {
        let parts: Vec<String> = if component == "**" {
            vec![component.to_owned()]
        } else {
            let names = alternatives(&mut component.chars().peekable(), false)?;
            // An empty name is no file's; at the end the other language would take it for a directory.
            names.iter().map(|name| render(name)).filter(|name| !name.is_empty()).collect()
        };
        let slash = if index == 0 { "" } else { "/" };
        whole = product(&whole, &parts, |start, part| format!("{start}{slash}{part}"))?;
    }
    Some(whole)
}

/// Up to the end, or within braces up to `,` or `}`, which is left for the caller.
fn alternatives(rest: &mut Peekable<Chars<'_>>, in_braces: bool) -> Option<Vec<Alternative>> {
    let mut so_far = vec![Alternative::new()];
    while let Some(&next) = rest.peek() {
        if in_braces && matches!(next, ',' | '}') {
            break;
        }
        rest.next();
        let more = match next {
            '*' => vec![vec![Piece::AnyNumber]],
            '?' => vec![vec![Piece::One]],
            '\\' => vec![vec![Piece::Plain(rest.next()?)]],
            '[' => vec![vec![class(rest)?]],
            '{' => braces(rest)?,
            plain => vec![vec![Piece::Plain(plain)]],
        };
        so_far = product(&so_far, &more, |start, end| [&start[..], &end[..]].concat())?;
    }
    Some(so_far)
}

fn braces(rest: &mut Peekable<Chars<'_>>) -> Option<Vec<Alternative>> {
    let mut all = Vec::new();
    loop {
        all.extend(alternatives(rest, true)?);
        if rest.next()? == '}' {
            return Some(all);
        }
    }
}

/// What stands between the brackets; the first character may be `]`.
fn class(rest: &mut Peekable<Chars<'_>>) -> Option<Piece> {
    let negated = rest.next_if(|next| matches!(next, '!' | '^')).is_some();
    let mut inside = String::from(rest.next()?);
    loop {
        match rest.next()? {
            ']' => break,
            other => inside.push(other),
        }
    }
    // `[a-c-e]` is a to e in one, and a to c, `-`, `e` in the other; POSIX leaves it undefined.
    if has_chained_ranges(&inside.chars().collect::<Vec<_>>()) {
        return None;
    }
    // There `!` alone negates, and a class that begins with it has no other place for it than behind something.
    if !negated && inside.starts_with('!') {
        return None;
    }
    Some(Piece::Class(if negated { format!("[!{inside}]") } else { format!("[{inside}]") }))
}

fn has_chained_ranges(inside: &[char]) -> bool {
    let mut at = 0;
    while at < inside.len() {
        let is_range = inside.get(at + 1) == Some(&'-') && at + 2 < inside.len();
        if is_range && inside.get(at + 3) == Some(&'-') && at + 4 < inside.len() {
            return true;
        }
        at += if is_range { 3 } else { 1 };
    }
    false
}

fn product<A, B>(starts: &[A], ends: &[B], join: impl Fn(&A, &B) -> A) -> Option<Vec<A>> {
    let fits = starts.len() * ends.len() <= MAX_ALTERNATIVES;
    fits.then(|| starts.iter().flat_map(|start| ends.iter().map(|end| join(start, end))).collect())
}

fn render(alternative: &[Piece]) -> String {
    let mut text = String::new();
    let mut previous = None;
    for piece in alternative {
        match piece {
            // Two of them, as `{a*,b}*` gives, are one; written side by side they would be `**`.
            Piece::AnyNumber if previous == Some(piece) => {}
            Piece::AnyNumber => text.push('*'),
            Piece::One => text.push('?'),
            Piece::Class(class) => text.push_str(class),
            Piece::Plain(special @ ('*' | '?' | '[' | ']')) => text.extend(['[', *special, ']']),
            Piece::Plain(plain) => text.push(*plain),
        }
        previous = Some(piece);
    }
    text
}
