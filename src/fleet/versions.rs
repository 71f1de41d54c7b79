//! The versions of the fleet's sidecars, counted: an upgrade that stopped half way shows.

use crate::base::version::Version;
use imbl::OrdMap;

/// Versions that are listed.
const LISTED_MAX: usize = 20;

/// How many agents have a sidecar of each version. Agents that have stopped do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions(OrdMap<Option<Version>, usize>);

impl Versions {
    /// The newest versions with their agents, the newest first and 20 at most; at the end those whose version is not reported: of an older
    /// sidecar, or of a producer without one.
    pub fn listed(&self) -> impl Iterator<Item = (Option<Version>, usize)> {
        let newest = self.0.iter().rev().take(LISTED_MAX);
        newest.map(|(version, count)| (*version, *count))
    }

    /// Whether sidecars of several versions run.
    pub fn are_mixed(&self) -> bool {
        self.listed()
            .filter(|(version, _)| version.is_some())
            .count()
            > 1
    }

    /// An agent changed from one to the other; none where it does not count.
    pub(super) fn change(&mut self, from: Option<Option<Version>>, to: Option<Option<Version>>) {
        if from == to {
            return;
        }
        if let Some(from) = from {
            let left = self.0.get(&from).map_or(0, |count| count.saturating_sub(1));
            match left {
                0 => self.0.remove(&from),
                left => self.0.insert(from, left),
            };
        }
        if let Some(to) = to {
            *self.0.entry(to).or_insert(0) += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Option<Version> {
        text.parse().ok()
    }

    #[test]
    fn versions_are_mixed_while_two_of_them_run() {
        let (old, new) = (version("0.9.0"), version("0.10.0"));
        let mut versions = Versions::default();
        for of in [old, old, None] {
            versions.change(None, Some(of));
        }
        assert!(
            !versions.are_mixed(),
            "a producer without a sidecar is none"
        );
        versions.change(Some(old), Some(new));
        assert!(versions.are_mixed());
        let listed: Vec<_> = versions.listed().collect();
        assert_eq!(listed, [(new, 1), (old, 1), (None, 1)]);
        versions.change(Some(old), None);
        versions.change(Some(new), Some(new));
        let listed: Vec<_> = versions.listed().collect();
        assert_eq!(listed, [(new, 1), (None, 1)]);
    }
}
