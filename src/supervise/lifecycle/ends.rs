//! How an incarnation ended, and whether that is the answer to a signal that was forwarded to it.

use crate::base::moment::Moment;
use crate::supervise::lifecycle::TRY_AGAIN;
use crate::wire::beat::Exit;
use std::collections::BTreeMap;
use std::time::Duration;

/// Within this time of a signal an exit code of any kind is the answer to it.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Shells and programs report a death by signal n as exit code 128+n.
const SIGNAL_BASE: u8 = 128;
const KILL: u8 = 9;
/// Signals that no one sends to end a program: its own fault raises them (ILL TRAP ABRT BUS FPE SEGV SYS), or a limit that it
/// exceeded (XCPU XFSZ).
const FAULTS: [u8; 9] = [4, 5, 6, 7, 8, 11, 31, 24, 25];

/// The exit of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of its first process.
    pub exit: Exit,
    /// Nothing of its tree is left.
    pub alone: bool,
    /// The person at its terminal ended it.
    pub by_person: bool,
    /// It died because nothing reads its output any more, as in `agent | head -1`.
    pub unread: bool,
    /// It failed when the reader of its output had just gone: programs that ignore SIGPIPE exit with a code of their own, and
    /// the next one would fail at its first line too.
    pub cut_off: bool,
    /// It said before that it would end.
    pub announced: bool,
    /// Another program runs it, and it ended by the signal that asks it to stop: by that program's request.
    pub by_its_runner: bool,
    /// The kernel ended it for memory.
    pub out_of_memory: bool,
}

impl Ended {
    /// Whether it ended as it said that it would: one that crashed on the way did not.
    pub(super) fn is_as_announced(&self) -> bool {
        let crashed = self
            .exit
            .signal
            .is_some_and(|signal| FAULTS.contains(&signal));
        self.announced && !crashed && !self.out_of_memory
    }

    /// Whether it failed by itself, as far as that is known: KILL comes from a person or another program, and an end of which
    /// nothing is known accuses no agent.
    pub(super) fn is_own_failure(&self) -> bool {
        let killed = self.exit.signal == Some(KILL) && !self.out_of_memory;
        !killed && self.exit != Exit::UNKNOWN && !matches!(self.exit.code, Some(0 | TRY_AGAIN))
    }
}

/// Whether an exit is the answer to this signal: a death by it, or the code that stands for it.
pub fn is_by_signal(exit: Exit, signal: u8) -> bool {
    exit.signal == Some(signal) || exit.code == Some(SIGNAL_BASE.saturating_add(signal))
}

/// A signal that was forwarded, and that ends an agent which does not handle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Its number.
    pub number: u8,
    /// An agent that handles it goes on by convention: HUP without a terminal means "read your configuration again".
    pub reloads: bool,
}

/// The last one of each number.
#[derive(Clone, Debug, Default)]
pub(super) struct ForwardedSignals(BTreeMap<u8, (Forwarded, Moment)>);

impl ForwardedSignals {
    pub(super) fn add(&mut self, signal: Forwarded, now: Moment) {
        self.0.insert(signal.number, (signal, now));
    }

    /// Whether an exit is the answer to a signal that was forwarded within the grace. One that the agent handled and survived
    /// explains no crash later on: only a death by that signal, the code that stands for it, success, or any code at once.
    pub(super) fn answered_by(&self, exit: Exit, grace: Duration, now: Moment) -> bool {
        self.0.values().any(|(signal, at)| {
            let since = now.since(*at);
            let by_it = is_by_signal(exit, signal.number) || exit.code == Some(0);
            let at_once = !signal.reloads && exit.code.is_some() && since <= AT_ONCE;
            since <= grace && (by_it || at_once)
        })
    }
}
