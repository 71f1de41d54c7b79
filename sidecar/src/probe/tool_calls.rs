//! Tool calls: which programs an agent starts. Most live for a few milliseconds, far less than the pause between two samples,
//! so its children are listed more often: for a fifth of the time, and all the time once one call follows another like it.
//!
//! One look costs what the threads of the agent cost: some 50 µs. It is taken only while the agent owes work, and not where
//! none of its children ends: the kernel adds the page faults of each that was waited for to its parent's.

use super::read::{Reader, numbers};
use heartbeat::base::moment::Moment;
use heartbeat::verdict::ToolCall;
use heartbeat::wire::beat::cut;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// One spell of looking, and how often one begins.
const SPELL: Duration = Duration::from_secs(1);
const SPELLS: Duration = Duration::from_secs(5);
/// After so many spells in which nothing was started and no child ended, the next one waits for a child that has ended.
const IDLE_SPELLS: u32 = 3;
/// The most threads whose children are listed.
const THREADS_MAX: usize = 64;
/// A child that is there in so many looks is not fleeting.
const SHORT_LOOKS: u32 = 2;
/// The most calls kept between two samples.
const CALLS_MAX: usize = 256;
const COMMAND_CHARS_MAX: usize = 160;

/// A child as it was last seen.
#[derive(Debug, Default)]
struct Seen {
    /// None: it was there before, and is no call.
    command: Option<String>,
    looks: u32,
}

/// What the children of some processes were started as.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    reader: Reader,
    /// Children that are known, with their command line and in how many looks they were there; none before the first look,
    /// which counts for nothing.
    known: Option<BTreeMap<u32, Seen>>,
    calls: Vec<ToolCall>,
    spell_began: Option<Moment>,
    /// Spells in a row in which nothing was started.
    idle_spells: u32,
    /// The page faults of the children that have ended.
    of_ended: u64,
    next: Option<Moment>,
}

impl ToolCalls {
    /// When the next look is due; none while nothing is watched.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.next
    }

    /// Which processes are watched from now on. `eager`: all the time.
    pub(crate) fn watch(&mut self, parents: &[u32], eager: bool, now: Moment) {
        let of_ended = parents.iter().map(|pid| self.faults_of_ended(*pid)).sum();
        if std::mem::replace(&mut self.of_ended, of_ended) != of_ended {
            self.idle_spells = 0;
        }
        if parents.is_empty() {
            (self.next, self.known) = (None, None);
        } else if eager || self.next.is_none() && self.idle_spells < IDLE_SPELLS {
            self.next = Some(self.next.map_or(now, |next| next.min(now + PAUSE)));
        }
    }

    /// Lists the children of these processes.
    pub(crate) fn look(&mut self, parents: &[u32], eager: bool, now: Moment) {
        let mut children = BTreeSet::new();
        for parent in parents {
            self.children(*parent, &mut children);
        }
        let known = self.known.take();
        let is_first = known.is_none();
        let mut known = known.unwrap_or_default();
        for (parent, child) in &children {
            if is_first {
                known.insert(*child, Seen::default());
            } else if let Some(seen) = known.get_mut(child) {
                seen.looks += 1;
                // It may have become the program that a shell was asked to run.
                if seen.looks == SHORT_LOOKS {
                    self.report(seen.command.take(), false);
                }
            } else if let Some(command) = self.started(*parent, *child) {
                self.idle_spells = 0;
                let seen = Seen {
                    command: Some(command),
                    looks: 1,
                };
                known.insert(*child, seen);
            }
        }
        let there = |pid: &u32| children.iter().any(|(_, child)| child == pid);
        let (there, ended): (BTreeMap<_, _>, BTreeMap<_, _>) =
            known.into_iter().partition(|(pid, _)| there(pid));
        for seen in ended.into_values() {
            self.report(seen.command, true);
        }
        self.known = Some(there);
        let began = *self.spell_began.get_or_insert(now);
        let over = !eager && now.since(began) >= SPELL;
        self.next = Some(if over { began + SPELLS } else { now + PAUSE });
        if over {
            self.idle_spells = self.idle_spells.saturating_add(1);
            self.next = self.next.filter(|_| self.idle_spells < IDLE_SPELLS);
            // What was started in between is not new when the next spell begins.
            let running = self.known.take().unwrap_or_default();
            for seen in running.into_values() {
                self.report(seen.command, false);
            }
            self.spell_began = None;
        }
    }

    fn report(&mut self, command: Option<String>, fleeting: bool) {
        if let Some(command) = command
            && self.calls.len() < CALLS_MAX
        {
            self.calls.push(ToolCall { command, fleeting });
        }
    }

    /// The calls since this was last asked, oldest first.
    pub(crate) fn take(&mut self) -> Vec<ToolCall> {
        std::mem::take(&mut self.calls)
    }

    /// Of the children that this process has waited for; 0 for one that is gone.
    fn faults_of_ended(&mut self, pid: u32) -> u64 {
        let Ok(text) = self.reader.text(&format!("/proc/{pid}/stat")) else {
            return 0;
        };
        // The name, in parentheses, may hold anything. `cminflt` is the ninth field behind it.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let faults = fields.split_whitespace().nth(8);
        faults.and_then(|faults| faults.parse().ok()).unwrap_or(0)
    }

    fn children(&mut self, parent: u32, found: &mut BTreeSet<(u32, u32)>) {
        let Ok((threads, _)) = numbers(&format!("/proc/{parent}/task"), THREADS_MAX) else {
            return;
        };
        for thread in threads {
            if let Ok(text) = self
                .reader
                .text(&format!("/proc/{parent}/task/{thread}/children"))
            {
                let pids = text.split_whitespace().filter_map(|pid| pid.parse().ok());
                found.extend(pids.map(|pid| (parent, pid)));
            }
        }
    }

    /// The command line of a child, once it runs a program of its own.
    fn started(&mut self, parent: u32, child: u32) -> Option<String> {
        let mut line = |pid: u32| {
            let text = self.reader.text(&format!("/proc/{pid}/cmdline")).ok()?;
            Some(text.trim_end_matches('\0').to_owned())
        };
        let (own, parents) = (line(child)?, line(parent)?);
        let words = own.replace(|c: char| c.is_control(), " ");
        (!own.is_empty() && own != parents).then(|| cut(words, COMMAND_CHARS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_program_that_is_started_between_two_looks_is_a_call() {
        let own = [std::process::id()];
        let mut calls = ToolCalls::default();
        let now = crate::clock::now();
        calls.watch(&own, false, now);
        calls.look(&own, false, now);
        let mut child = Command::new("sleep").arg("1234").spawn().unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        let call = ToolCall {
            command: "sleep 1234".to_owned(),
            fleeting: false,
        };
        while !seen.contains(&call) && std::time::Instant::now() < deadline {
            calls.look(&own, true, crate::clock::now());
            seen.extend(calls.take());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let times = seen.iter().filter(|seen| **seen == call).count();
        assert_eq!(times, 1, "{seen:?}");
    }
    /// Plays spells until none is due; how many there were.
    fn spells(calls: &mut ToolCalls, parents: &[u32], now: &mut Moment) -> usize {
        let mut spells = 0;
        for _ in 0..10 {
            *now = *now + SPELLS;
            calls.watch(parents, false, *now);
            let is_due = calls.deadline().is_some_and(|at| at <= *now);
            spells += usize::from(is_due);
            while calls.deadline().is_some_and(|at| at <= *now + SPELL) {
                calls.look(parents, false, calls.deadline().unwrap_or_default());
            }
        }
        spells
    }

    #[test]
    fn a_process_without_calls_is_left_alone_until_a_child_of_it_has_ended() {
        let script = "read line; sleep 0; read line";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script])
            .stdin(std::process::Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut lines = shell.stdin.take().unwrap();
        let parents = [shell.id()];
        let mut calls = ToolCalls::default();
        let mut now = crate::clock::now();
        assert_eq!(spells(&mut calls, &parents, &mut now), 3);
        assert_eq!(spells(&mut calls, &parents, &mut now), 0);
        std::io::Write::write_all(&mut lines, b"\n").unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while calls.faults_of_ended(shell.id()) == calls.of_ended {
            assert!(
                std::time::Instant::now() < deadline,
                "no child of the shell has ended"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(spells(&mut calls, &parents, &mut now) >= 3);
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
}
