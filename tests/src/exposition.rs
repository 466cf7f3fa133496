//! Prometheus' text format, read as strictly as its documentation has it: what podsweep says of a container must not
//! be able to say something of its own there.

use anyhow::{Context as _, Result, bail};

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub name: String,
    /// Labels, unescaped, in their order.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: f64,
}

/// All samples; an error for the first line that is neither one nor a comment as the format allows them.
pub fn parse(text: &str) -> Result<Vec<Sample>> {
    if !text.ends_with('\n') {
        bail!("the last line does not end");
    }
    let mut samples = Vec::new();
    for line in text.split_terminator('\n') {
        if line.chars().any(char::is_control) {
            bail!("a control character: {line:?}");
        }
        if let Some(comment) = line.strip_prefix('#') {
            comment_is_known(comment).with_context(|| format!("{line:?}"))?;
        } else {
            samples.push(sample(line).with_context(|| format!("not a sample: {line:?}"))?);
        }
    }
    Ok(samples)
}

fn comment_is_known(comment: &str) -> Result<()> {
    let mut words = comment.trim_start().splitn(3, ' ');
    let (kind, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let known = match kind {
        "HELP" => is_name(name),
        "TYPE" => {
            let types = ["counter", "gauge", "histogram", "summary", "untyped"];
            is_name(name) && words.next().is_some_and(|word| types.contains(&word))
        }
        _ => false,
    };
    if known { Ok(()) } else { bail!("neither HELP nor TYPE of a metric") }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.strip_prefix(' ')?;
    is_name(name).then_some(())?;
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut found = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((found, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        is_label(name).then_some(())?;
        let (value, after) = quoted(after)?;
        found.push((name.to_owned(), value));
        rest = after.strip_prefix(',').or_else(|| after.starts_with('}').then_some(after))?;
    }
}

/// A value up to its closing quote, and what follows it. A backslash stands before a backslash, a quote or an `n`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                escaped @ ('\\' | '"') => escaped,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

fn is_name(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

fn is_label(name: &str) -> bool {
    is_name(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_taken_apart_and_labels_unescaped() {
        let text =
            "# HELP a_total What.\n# TYPE a_total counter\na_total{x=\"1\\n\\\"\\\\\",y=\"}\"} 2.5\nb 1e3\n";
        let samples = parse(text).unwrap();
        let labels = vec![("x".into(), "1\n\"\\".into()), ("y".into(), "}".into())];
        assert_eq!(samples[0], Sample { name: "a_total".into(), labels, value: 2.5 });
        assert_eq!((samples[1].name.as_str(), samples[1].value), ("b", 1000.0));
    }

    #[test]
    fn what_a_hostile_name_might_leave_there_is_refused() {
        for text in [
            "a{x=\"1\n\"} 2\n",
            "a{x=\"\\x\"} 2\n",
            "a{x=\"1\" 2\n",
            "a b\n",
            "{} 1\n",
            "# x\n",
            "a 1",
            "a{x=\"\x1b\"} 1\n",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
