//! Which rungs an agent gets: the first policy that matches it.

use crate::fleet::ladder::rung::Rung;
pub use crate::wire::notification::Severity;

/// A pattern in which `*` stands for any text and `?` for one character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<char>);

impl Glob {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.chars().collect())
    }

    /// Whether the whole text fits.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut in_text) = (0, 0);
        // Where the last star stands, and up to where it has swallowed the text.
        let mut star: Option<(usize, usize)> = None;
        while in_text < text.len() {
            match self.0.get(at) {
                Some('*') => {
                    star = Some((at, in_text));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == text[in_text] => {
                    at += 1;
                    in_text += 1;
                }
                Some(_) | None => match &mut star {
                    Some((star_at, swallowed)) => {
                        *swallowed += 1;
                        (at, in_text) = (*star_at + 1, *swallowed);
                    }
                    None => return false,
                },
            }
        }
        self.0[at..].iter().all(|c| *c == '*')
    }
}

/// Which agents a policy is for; what is absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// The agent's id.
    pub id: Option<Glob>,
    /// Its type.
    pub kind: Option<Glob>,
    /// Its host.
    pub host: Option<Glob>,
}

impl Matcher {
    /// Whether the agent is meant.
    pub fn matches(&self, id: &str, kind: &str, host: &str) -> bool {
        let fits =
            |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        fits(&self.id, id) && fits(&self.kind, kind) && fits(&self.host, host)
    }
}

/// What is done for the agents it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The agents that it is for.
    pub matcher: Matcher,
    /// The rungs in order; people always come last, also when they are not named.
    pub ladder: Vec<Rung>,
    /// The command of [`Rung::Exec`], program first; empty: that rung never applies.
    pub exec: Vec<String>,
    /// The image of a replacement instead of the old container's.
    pub replace_image: Option<String>,
    /// Climb without being asked; otherwise the next rung is proposed and waits for a person.
    pub auto: bool,
    /// For those who are paged.
    pub severity: Severity,
    /// An agent under suspicion is restarted by its sidecar when that lasts.
    pub restarts_stalled: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            matcher: Matcher::default(),
            ladder: Rung::ALL.to_vec(),
            exec: Vec::new(),
            replace_image: None,
            auto: true,
            severity: Severity::default(),
            restarts_stalled: false,
        }
    }
}

/// The policies in order, with the default behind them.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    policies: Vec<Policy>,
    otherwise: Policy,
}

impl Policies {
    /// First match wins.
    pub fn new(policies: Vec<Policy>) -> Self {
        Self {
            policies,
            otherwise: Policy::default(),
        }
    }

    /// The place of an agent's policy in the order, from 0; `None` for the default.
    pub fn place(&self, id: &str, kind: &str, host: &str) -> Option<usize> {
        let fits = |policy: &Policy| policy.matcher.matches(id, kind, host);
        self.policies.iter().position(fits)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.policies.iter()
    }

    /// The policy of an agent.
    pub fn of(&self, id: &str, kind: &str, host: &str) -> &Policy {
        let place = self.place(id, kind, host);
        place.map_or(&self.otherwise, |place| &self.policies[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks_match_as_a_shell_would() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("writer-*", "writer-1", true),
            ("writer-*", "writer", false),
            ("*-1", "writer-1-1", true),
            ("w?iter", "writer", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-c-", false),
            ("ä?", "äö", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_policy_that_matches_wins() {
        let policy = |id: &str, auto| Policy {
            matcher: Matcher {
                id: Some(Glob::new(id)),
                ..Matcher::default()
            },
            auto,
            ..Policy::default()
        };
        let policies = Policies::new(vec![policy("a*", false), policy("ab", true)]);
        assert!(!policies.of("ab", "t", "h").auto);
        assert_eq!(policies.of("b", "t", "h"), &Policy::default());
    }

    proptest! {
        #[test]
        fn a_pattern_of_many_stars_ends_soon(text in "[ab]{0,200}") {
            // An exponential matcher would not come back.
            prop_assert_eq!(Glob::new("*a*a*a*a*a*a*a*a*a*c").matches(&text), false);
        }
    }
}
