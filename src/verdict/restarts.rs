//! Helpers that end and are started again at once, over and over: a crash loop beside an agent is no work of it.

use crate::base::moment::Moment;
use crate::verdict::sample::Process;
use crate::verdict::thresholds;
use std::collections::BTreeMap;
use std::time::Duration;

/// The most command lines that are remembered.
const KNOWN_MAX: usize = 256;

/// What was started again, by its parent and its command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Restarts(BTreeMap<(u32, String), Restart>);

#[derive(Clone, Debug)]
struct Restart {
    /// How often in a row it was started after it had ended.
    times: u32,
    /// When it was last seen to have been started.
    at: Moment,
    /// The process of that start.
    process: (u32, u64),
}

impl Restarts {
    /// Takes one sample: `fresh` are the processes that are new in it, `lives` tells whether an earlier one is still there.
    /// Starts further apart than `gap` are none in a row.
    pub(super) fn observe<'a>(
        &mut self,
        fresh: impl Iterator<Item = &'a Process>,
        lives: impl Fn(&(u32, u64)) -> bool,
        at: Moment,
        gap: Duration,
    ) {
        for process in fresh {
            let key = (process.parent, process.command.clone());
            let known = self.0.get(&key);
            if known.is_some_and(|r| r.process == (process.pid, process.started)) {
                continue; // the sample before was only deepened
            }
            let goes_on = known.filter(|r| at.since(r.at) <= gap && !lives(&r.process));
            let restart = Restart {
                times: goes_on.map_or(1, |r| r.times + 1),
                at,
                process: (process.pid, process.started),
            };
            self.0.insert(key, restart);
        }
        self.0.retain(|_, r| at.since(r.at) <= gap);
        while self.0.len() > KNOWN_MAX {
            self.0.pop_first();
        }
    }

    /// Whether this process is one of a row of ends and restarts.
    pub(super) fn includes(&self, process: &Process) -> bool {
        let key = (process.parent, process.command.clone());
        self.0
            .get(&key)
            .is_some_and(|r| r.times >= thresholds::RESTARTS)
    }

    /// Whether any helper is in such a row.
    pub(super) fn any(&self) -> bool {
        self.0.values().any(|r| r.times >= thresholds::RESTARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn helper(pid: u32) -> Process {
        Process {
            pid,
            parent: 1,
            command: "mcp-server".to_owned(),
            ..Process::default()
        }
    }

    fn starts(gaps: &[u64], lives: bool) -> bool {
        let mut restarts = Restarts::default();
        let (mut at, mut last) = (0, helper(0));
        for (pid, gap) in (1..).zip(gaps) {
            at += gap;
            last = helper(pid);
            let at = Moment::from_millis(at * 1000);
            restarts.observe([&last].into_iter(), |_| lives, at, Duration::from_secs(20));
        }
        restarts.includes(&last)
    }

    #[test]
    fn a_helper_that_ends_and_is_started_again_at_once_is_in_a_row() {
        assert!(starts(&[5, 5, 5], false));
        assert!(!starts(&[5, 5], false), "two starts are no row");
    }

    #[test]
    fn starts_far_apart_and_helpers_side_by_side_are_no_row() {
        assert!(!starts(&[60, 60, 60, 60], false));
        assert!(!starts(&[5, 5, 5, 5], true));
    }
}
