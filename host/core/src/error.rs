//! What every error of ours can tell a user: a stable code, a hint, whether trying again may help.

use crate::Code;

/// An error with a stable [`Code`].
///
/// Messages are lowercase, name the offending value and carry no final period; the fix is the hint.
pub trait Coded: std::error::Error {
    /// The stable code; its class decides the exit code and the HTTP status.
    fn code(&self) -> Code;

    /// What the user can do about it, as a full sentence without a final period.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Whether the same call may succeed later without anyone changing anything.
    fn retryable(&self) -> bool {
        self.code().retryable()
    }

    /// Where in a table its cause lies, as far as that is known.
    fn place(&self) -> Place {
        Place::default()
    }
}

/// A place in a table, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The row, from 0.
    pub row: Option<u64>,
    /// The column's name.
    pub column: Option<String>,
}

impl Place {
    /// Such as "row 3, column `x`"; nothing if nothing is known.
    pub fn words(&self) -> Option<String> {
        match (self.row, &self.column) {
            (None, None) => None,
            (Some(row), None) => Some(format!("row {row}")),
            (None, Some(column)) => Some(format!("column `{column}`")),
            (Some(row), Some(column)) => Some(format!("row {row}, column `{column}`")),
        }
    }
}

/// The candidate nearest to `word`, if one is near enough to be a likely slip of the hand.
///
/// Distance is Damerau-Levenshtein; near enough is a third of the word's length, at least one edit.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A hint for an unknown word: the closest candidate, else the whole list.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    match closest(word, candidates.clone()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None => {
            let list: Vec<&str> = candidates.into_iter().collect();
            if list.is_empty() { "there is none to choose from".into() } else { format!("known: {}", list.join(", ")) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_nonsense_gets_the_list() {
        let names = ["accuracy", "recall", "precision"];
        assert_eq!(did_you_mean("acuracy", names), "did you mean `accuracy`?");
        assert_eq!(did_you_mean("Recall", names), "did you mean `recall`?");
        assert_eq!(did_you_mean("zebra", names), "known: accuracy, recall, precision");
        assert_eq!(did_you_mean("x", []), "there is none to choose from");
    }
}
