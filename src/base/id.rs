//! The id of an agent, parsed once at the border.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest id, in bytes.
pub const ID_BYTES_MAX: usize = 128;

/// An agent's name: `[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}`. Cheap to clone: one allocation however many hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AgentId(Arc<str>);

/// Why a text is no agent id. The text is refused whole; nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("an agent id needs at least one character")]
    Empty,
    /// More than [`ID_BYTES_MAX`].
    #[error("an agent id has at most {ID_BYTES_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// A character outside the alphabet, and where.
    #[error(
        "an agent id starts with a letter or digit and goes on with letters, digits and . _ : @ -; {0:?} at position {1} does not fit"
    )]
    Character(char, usize),
}

impl AgentId {
    /// Checks and takes a text.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(IdError::TooLong(text.len()));
        }
        match text.chars().enumerate().find(|(at, c)| !fits(*at, *c)) {
            Some((at, c)) => Err(IdError::Character(c, at + 1)),
            None => Ok(Self(text.into())),
        }
    }

    /// The nearest id to any text: what does not fit becomes `-`, what is too long is cut.
    /// Used for defaults made from host and command names, never for what a user gave.
    pub fn nearest(text: &str) -> Self {
        let fitting: String = text
            .chars()
            .skip_while(|c| !fits(0, *c))
            .map(|c| if fits(1, c) { c } else { '-' })
            .take(ID_BYTES_MAX)
            .collect();
        Self(if fitting.is_empty() {
            "agent".into()
        } else {
            fitting.into()
        })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text is an id.
pub(crate) fn is_id(text: &str) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'@' | b'-');
    let starts = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    starts && text.len() <= ID_BYTES_MAX && text.as_bytes().iter().all(fits)
}

/// An id is looked up by its text.
impl std::borrow::Borrow<str> for AgentId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn fits(at: usize, c: char) -> bool {
    c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '.' | '_' | ':' | '@' | '-'))
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for AgentId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl<'de> Deserialize<'de> for AgentId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_allowed_shape_are_taken() {
        for id in ["a", "A1", "writer-1", "a.b_c:d@e-f", &"x".repeat(128)] {
            assert_eq!(AgentId::parse(id).map(|a| a.to_string()), Ok(id.to_owned()));
        }
    }

    #[test]
    fn an_id_that_could_escape_its_key_is_refused_with_the_place() {
        assert_eq!(AgentId::parse("a}b"), Err(IdError::Character('}', 2)));
        assert_eq!(AgentId::parse("-a"), Err(IdError::Character('-', 1)));
        assert_eq!(AgentId::parse("a\n"), Err(IdError::Character('\n', 2)));
        assert_eq!(AgentId::parse("ä"), Err(IdError::Character('ä', 1)));
        assert_eq!(AgentId::parse(""), Err(IdError::Empty));
        assert_eq!(AgentId::parse(&"x".repeat(129)), Err(IdError::TooLong(129)));
    }

    #[test]
    fn any_host_and_command_name_has_a_nearest_id() {
        assert_eq!(AgentId::nearest("_my host/π").as_str(), "my-host--");
        assert_eq!(AgentId::nearest("///").as_str(), "agent");
    }
}
