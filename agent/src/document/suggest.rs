//! The known word that a wrong one was probably meant to be. Pure.

/// The nearest of the known words, if it is near enough to be a slip of the pen: two edits, or one word in another
/// case.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let wrong = word.to_lowercase();
    known
        .iter()
        .map(|candidate| (distance(&wrong, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters: insertions, deletions and substitutions that turn one into the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, to) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_slip_of_the_pen_and_nothing_far_off() {
        let known = ["olderThan", "minSize", "paths"];
        assert_eq!(nearest("olderthan", &known), Some("olderThan"));
        assert_eq!(nearest("odlerThan", &known), Some("olderThan"));
        assert_eq!(nearest("path", &known), Some("paths"));
        assert_eq!(nearest("colour", &known), None);
        assert_eq!(nearest("", &["in"]), None);
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
