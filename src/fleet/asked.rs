//! What a filter asks for: words with commas between them, of which one is enough, as in `failed,missing`.

use crate::fleet::run::State;
use crate::fleet::word::{code, verdict};
use crate::wire::beat::Verdict;
use crate::wire::word;

/// The states that a filter can name.
pub const STATES: [State; 4] = [
    State::Healthy,
    State::Missing,
    State::Failed,
    State::Stopped,
];

/// A word that its field does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected one of {known}, got {got:?}")]
pub struct NoSuchWord {
    field: &'static str,
    known: String,
    got: String,
}

/// Texts that people chose, as types and hosts: one is enough. A comma may also be part of such a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyOf(pub String);

/// States and verdicts that a person names in one list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateWords {
    /// The states.
    pub states: Vec<State>,
    /// What is no state.
    pub verdicts: Vec<Verdict>,
}

/// The words between the commas; an empty one counts only when there is no other.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    let is_empty = text.split(',').all(|word| word.trim().is_empty());
    let words = text.split(',').map(str::trim);
    let named = words.filter(|word| !word.is_empty());
    is_empty.then_some("").into_iter().chain(named)
}

/// The state of this name.
pub fn state(text: &str) -> Option<State> {
    let code = code(text);
    STATES.into_iter().find(|state| word(state) == code)
}

/// The states that are named.
///
/// # Errors
/// One is no state.
pub fn states(text: &str) -> Result<Vec<State>, NoSuchWord> {
    each(text, "state", state, all_states)
}

/// The verdicts that are named, by their codes or shown words.
///
/// # Errors
/// One is no verdict.
pub fn verdicts(text: &str) -> Result<Vec<Verdict>, NoSuchWord> {
    each(text, "activity", verdict, all_verdicts)
}

impl StateWords {
    /// Takes a list; a word may be that of a state or of a verdict.
    ///
    /// # Errors
    /// One is neither.
    pub fn parse(text: &str) -> Result<Self, NoSuchWord> {
        let mut read = Self::default();
        for word in words(text) {
            match (state(word), verdict(word)) {
                (Some(state), _) => read.states.push(state),
                (None, Some(verdict)) => read.verdicts.push(verdict),
                (None, None) => {
                    return Err(NoSuchWord {
                        field: "state",
                        known: format!("{}; or a verdict: {}", all_states(), all_verdicts()),
                        got: word.to_owned(),
                    });
                }
            }
        }
        Ok(read)
    }
}

fn all_states() -> String {
    STATES.map(|state| word(&state)).join(", ")
}

fn all_verdicts() -> String {
    Verdict::ALL.map(|verdict| word(&verdict)).join(", ")
}

fn each<T>(
    text: &str,
    field: &'static str,
    read: impl Fn(&str) -> Option<T>,
    known: fn() -> String,
) -> Result<Vec<T>, NoSuchWord> {
    let read = |word: &str| {
        read(word).ok_or_else(|| NoSuchWord {
            field,
            known: known(),
            got: word.to_owned(),
        })
    };
    words(text).map(read).collect()
}

impl AnyOf {
    /// Whether the text is one of them.
    pub fn fits(&self, text: &str) -> bool {
        self.0 == text || words(&self.0).any(|word| word == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_words_is_enough() {
        assert_eq!(
            states("failed, Missing"),
            Ok(vec![State::Failed, State::Missing])
        );
        assert_eq!(
            verdicts("stalled,waiting-for-you,"),
            Ok(vec![Verdict::Stalled, Verdict::WaitingInput])
        );
        let types = AnyOf("writer,a,b".to_owned());
        let fits = ["writer", "a", "a,b", "writer,a,b", ""].map(|text| types.fits(text));
        assert_eq!(fits, [true, true, false, true, false]);
    }

    #[test]
    fn a_wrong_word_is_answered_with_those_of_its_field() {
        for text in ["failed,bogus", "bogus", "stalled", "", ","] {
            let why = states(text).unwrap_err().to_string();
            assert!(
                why.starts_with("state: expected one of healthy, missing, failed, stopped, got"),
                "{why}"
            );
        }
        let why = StateWords::parse("failed,bogus").unwrap_err().to_string();
        assert!(why.contains("stopped; or a verdict: starting"), "{why}");
        let why = verdicts("failed").unwrap_err().to_string();
        assert!(
            why.starts_with("activity: expected one of starting"),
            "{why}"
        );
    }
}
