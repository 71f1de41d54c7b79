//! Where all ways in meet: the limit, the parser, the counters, the hub's queue.

use super::StatusLine;
use crate::clock;
use heartbeat::base::sliding::RateLimiter;
use heartbeat::contract::line::{Line, LineError};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// Of one agent, over all its ways in.
pub(super) const LINES_PER_SECOND: usize = 50;

/// What came in since the contract was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Good lines, handed to the hub.
    pub(crate) taken: u64,
    /// Bad lines; each was answered where there is a way back, and changed nothing.
    pub(crate) refused: u64,
    /// Lines beyond the limit; dropped unread.
    pub(crate) excess: u64,
    /// Unknown keys.
    pub(crate) unknown: u64,
    /// Lines and connections of processes that are not the agent's.
    pub(crate) foreign: u64,
    /// Connections that were closed because there were too many.
    pub(crate) crowded_out: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} taken, {} refused, {} beyond the rate limit, {} unknown keys, {} from foreign processes, {} connections too many",
            self.taken, self.refused, self.excess, self.unknown, self.foreign, self.crowded_out
        )
    }
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is on its way to the hub, or is empty.
    Good,
    /// It changes nothing.
    Refused(LineError),
    /// It was dropped unread.
    Excess,
}

#[derive(Debug)]
pub(super) struct Intake {
    send: mpsc::Sender<StatusLine>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: RateLimiter,
    counts: Counts,
    warned: BTreeSet<&'static str>,
}

impl Intake {
    pub(super) fn new(send: mpsc::Sender<StatusLine>) -> Self {
        let state = State {
            rate: RateLimiter::new(LINES_PER_SECOND),
            counts: Counts::default(),
            warned: BTreeSet::new(),
        };
        Self {
            send,
            state: Mutex::new(state),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    /// Takes a line without its end. Never waits.
    pub(super) fn take(&self, line: &[u8], sender: Option<i32>) -> Taken {
        if line.trim_ascii().is_empty() {
            return Taken::Good;
        }
        let now = clock::now();
        let mut state = self.state();
        if !state.rate.pass(now) {
            return state.excess();
        }
        let parsed = match Line::parse(line) {
            Ok(parsed) => parsed,
            Err(error) => return state.refused(error),
        };
        if let Some(key) = &parsed.unknown_key {
            state.counts.unknown += u64::from(parsed.unknown);
            state.warn_once("unknown", || {
                format!("ignored the unknown key {key:?} in a status line (logged once)")
            });
        }
        let raw = String::from_utf8_lossy(line).trim_end().to_owned();
        let received = StatusLine {
            line: parsed,
            raw,
            at: now,
            sender,
        };
        match self.send.try_send(received) {
            Ok(()) => {
                state.counts.taken += 1;
                Taken::Good
            }
            Err(_) => state.excess(),
        }
    }

    /// Refuses what is no line to begin with.
    pub(super) fn refuse(&self, error: LineError) -> Taken {
        let mut state = self.state();
        if state.rate.pass(clock::now()) {
            state.refused(error)
        } else {
            state.excess()
        }
    }

    /// Counts a sender outside the agent's tree.
    pub(super) fn foreign_sender(&self, why: &str) {
        let mut state = self.state();
        state.counts.foreign += 1;
        state.warn_once("foreign", || why.to_owned());
    }

    /// Counts a connection that had to go.
    pub(super) fn crowded_out(&self, limit: usize) {
        let mut state = self.state();
        state.counts.crowded_out += 1;
        state.warn_once("crowded_out", || {
            format!("the agent holds more than {limit} connections; the longest idle one is closed for each new one")
        });
    }

    /// Logs a warning of this kind once in the life of the contract.
    pub(super) fn warn_once(&self, kind: &'static str, what: impl FnOnce() -> String) {
        self.state().warn_once(kind, what);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and a limit: nothing in them can be half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refused(&mut self, error: LineError) -> Taken {
        self.counts.refused += 1;
        self.warn_once(error.kind(), || {
            format!("refused a status line of the agent: {error} (further ones of this kind are only counted)")
        });
        Taken::Refused(error)
    }

    fn excess(&mut self) -> Taken {
        self.counts.excess += 1;
        self.warn_once("excess", || {
            format!("the agent sends more than {LINES_PER_SECOND} status lines a second; the excess is dropped and counted")
        });
        Taken::Excess
    }

    fn warn_once(&mut self, kind: &'static str, what: impl FnOnce() -> String) {
        if self.warned.insert(kind) {
            tracing::warn!("{}", what());
        }
    }
}
