//! Guards: names, lengths, and queries that could never be asked.

use super::super::Guard;
use crate::document::Problems;

/// Guards of one policy: each is a query every ten seconds while one of its sweeps runs or is about to.
const MAX_GUARDS: usize = 8;
/// Characters of a query: it is a part of a URL.
const MAX_QUERY: usize = 2048;
/// Brackets of PromQL.
const BRACKETS: [(char, char); 3] = [('(', ')'), ('[', ']'), ('{', '}')];

pub(super) fn check(guards: &[Guard], problems: &mut Problems) {
    if guards.len() > MAX_GUARDS {
        let message = format!(
            "has {} guards, each a query every ten seconds; at most {MAX_GUARDS}: join some with `and`",
            guards.len()
        );
        problems.add("spec.rollout.guards", message);
    }
    for (index, guard) in guards.iter().enumerate() {
        let field = format!("spec.rollout.guards[{index}]");
        super::name(&format!("{field}.name"), &guard.name, problems);
        if guards[..index].iter().any(|other| other.name == guard.name) {
            problems.add(format!("{field}.name"), format!("{:?} is given twice; rename one", guard.name));
        }
        if let Err(why) = query(&guard.query) {
            problems.add(format!("{field}.query"), why);
        }
    }
}

/// No parser of PromQL: what is caught is what a slip of the pen leaves behind.
fn query(text: &str) -> Result<(), String> {
    let length = text.chars().count();
    if text.trim().is_empty() {
        return Err("is empty; write a query whose values are 0 where no sweep may run".into());
    }
    if length > MAX_QUERY {
        return Err(format!("has {length} characters, at most {MAX_QUERY}; make it a recording rule"));
    }
    if text.chars().any(|character| character.is_control() && !matches!(character, '\n' | '\t')) {
        return Err("holds a control character; remove it".into());
    }
    balanced(text)
}

/// Whether quotes and brackets end as they began. Comments run from `#` to the end of the line.
fn balanced(text: &str) -> Result<(), String> {
    let mut open = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' | '\'' | '`' => skip_quoted(character, &mut characters)?,
            '#' => {
                characters.by_ref().find(|character| *character == '\n');
            }
            _ => {}
        }
        if let Some((_, end)) = BRACKETS.iter().find(|(begin, _)| *begin == character) {
            open.push(*end);
        } else if BRACKETS.iter().any(|(_, end)| *end == character) && open.pop() != Some(character) {
            return Err(format!("has a {character:?} that nothing opens; check its brackets"));
        }
    }
    open.pop().map_or(Ok(()), |end| Err(format!("lacks a {end:?}; check its brackets")))
}

fn skip_quoted(quote: char, characters: &mut std::str::Chars<'_>) -> Result<(), String> {
    while let Some(character) = characters.next() {
        if character == '\\' && quote != '`' {
            characters.next();
        } else if character == quote {
            return Ok(());
        }
    }
    Err(format!("lacks a closing {quote}; check its quotes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(guards: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Problems::default();
        let guards: Vec<_> = guards
            .iter()
            .map(|(name, query)| Guard { name: (*name).into(), query: (*query).into() })
            .collect();
        check(&guards, &mut problems);
        let problems = problems.into_vec();
        problems.iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn a_query_as_people_write_it_is_taken() {
        for query in [
            "min(up{job=\"cart\"}) == bool 1",
            "sum(rate(errors_total[5m])) < bool 5 # not more\n",
            "label_replace(up, \"a\", '$1', \"b\", `(.*`)",
            "count(up{path=~\"/a\\\"(\"}) > bool 0",
        ] {
            assert_eq!(problems(&[("latency", query)]), Vec::<String>::new(), "{query}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_named_with_its_field() {
        for (query, complaint) in [
            ("", "is empty"),
            ("  \n", "is empty"),
            ("sum(rate(x[5m])", "lacks a ')'"),
            ("sum(up))", "has a ')' that nothing opens"),
            ("up{job=\"cart}", "lacks a closing \""),
            ("sum(x]", "has a ']' that nothing opens"),
            ("up\u{0}", "control character"),
        ] {
            let found = problems(&[("latency", query)]);
            assert_eq!(found.len(), 1, "{query:?}: {found:?}");
            assert!(found[0].starts_with("spec.rollout.guards[0].query: "), "{found:?}");
            assert!(found[0].contains(complaint), "{query:?}: {found:?}");
        }
        let long = "x".repeat(MAX_QUERY + 1);
        assert!(problems(&[("latency", &long)])[0].contains("2049 characters"));
    }

    #[test]
    fn names_are_labels_and_unique_and_few() {
        assert!(problems(&[("Latency", "up")])[0].starts_with("spec.rollout.guards[0].name: "));
        assert!(problems(&[("a", "up"), ("a", "down")])[0].starts_with("spec.rollout.guards[1].name: "));
        let names: Vec<_> = (0..=MAX_GUARDS).map(|number| format!("g{number}")).collect();
        let guards: Vec<_> = names.iter().map(|name| (name.as_str(), "up")).collect();
        assert!(problems(&guards)[0].contains("has 9 guards"));
    }
}
