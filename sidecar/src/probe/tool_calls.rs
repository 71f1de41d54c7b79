//! Tool calls: which programs an agent starts. Most live for a few milliseconds, far less than the pause between two samples,
//! so its children are listed more often: for a fifth of the time, and all the time once one call follows another like it.
//!
//! A child that ends between two looks is not seen; that one has ended shows in what the kernel adds to its parent, so the pace
//! is known. A call of a shell that becomes its last program is seen whole only before it does; what it became is marked.
//!
//! One look costs what the threads of the agent cost: some 50 µs. It is taken only while the agent owes work, and not where
//! none of its children ends: the kernel adds the page faults of each that was waited for to its parent's.

use super::read::{Reader, numbers};
use heartbeat::base::moment::Moment;
use heartbeat::verdict::{ToolCall, is_shell};
use heartbeat::wire::beat::cut;
use std::collections::BTreeSet;
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Where calls may be alike, or too short for that: a shell becomes the last program of its command within milliseconds.
const PAUSE_CLOSELY: Duration = Duration::from_millis(10);
/// One spell of looking, and how often one begins.
const SPELL: Duration = Duration::from_secs(1);
const SPELLS: Duration = Duration::from_secs(5);
/// After so many spells in which nothing was started and no child ended, the next one waits for a child that has ended.
const IDLE_SPELLS: u32 = 3;
/// The most threads whose children are listed.
const THREADS_MAX: usize = 64;
/// The most calls kept between two samples.
const CALLS_MAX: usize = 256;
const COMMAND_CHARS_MAX: usize = 160;

/// What the children of some processes were started as.
#[derive(Debug, Default)]
pub(crate) struct ToolCalls {
    reader: Reader,
    /// Children that are known; none before the first look, which counts for nothing.
    known: Option<BTreeSet<u32>>,
    calls: Vec<ToolCall>,
    spell: Spell,
    /// Spells in a row in which nothing was started.
    idle_spells: u32,
    /// The page faults of the children that had ended at the last sample.
    of_ended: u64,
    next: Option<Moment>,
}

/// One spell of looking.
#[derive(Debug, Default)]
struct Spell {
    began: Option<Moment>,
    /// All children of the spell before were too short to be seen.
    closely: bool,
    started: bool,
    /// The page faults of the children that had ended at the last look; none before the first.
    of_ended: Option<u64>,
    /// So many looks since the last call found that a child had ended which none had seen.
    unseen: u32,
}

impl ToolCalls {
    /// When the next look is due; none while nothing is watched.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.next
    }

    /// Which processes are watched from now on. `eager`: all the time.
    pub(crate) fn watch(&mut self, parents: &[u32], eager: bool, now: Moment) {
        let of_ended = self.faults_of_ended(parents);
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
        let began = *self.spell.began.get_or_insert(now);
        let mut children = BTreeSet::new();
        for parent in parents {
            self.children(*parent, &mut children);
        }
        let is_first = self.known.is_none();
        let mut known = self.known.take().unwrap_or_default();
        let there = |pid: &u32| children.iter().any(|(_, child)| child == pid);
        let before = known.len();
        known.retain(there);
        let has_ended = known.len() < before;
        for (parent, child) in &children {
            if is_first {
                known.insert(*child);
            } else if !known.contains(child)
                && let Some(call) = self.started(*parent, *child)
            {
                known.insert(*child);
                self.report(call);
            }
        }
        self.known = Some(known);
        self.count_unseen(parents, has_ended);
        let closely = eager || self.spell.closely;
        self.next = Some(now + if closely { PAUSE_CLOSELY } else { PAUSE });
        if !eager && now.since(began) >= SPELL {
            self.end_spell(began);
        }
    }

    /// Whether a child that no look has seen ended since the last one.
    fn count_unseen(&mut self, parents: &[u32], has_ended: bool) {
        let of_ended = self.faults_of_ended(parents);
        let before = self.spell.of_ended.replace(of_ended);
        let more = before.is_some_and(|before| before != of_ended);
        self.spell.unseen += u32::from(more && !has_ended);
    }

    /// What is started until the next spell begins is not new then.
    fn end_spell(&mut self, began: Moment) {
        self.idle_spells = self.idle_spells.saturating_add(1);
        self.next = (self.idle_spells < IDLE_SPELLS).then(|| began + SPELLS);
        self.known = None;
        self.spell = Spell {
            closely: !self.spell.started && self.spell.unseen > 0,
            ..Spell::default()
        };
    }

    fn report(&mut self, call: ToolCall) {
        self.idle_spells = 0;
        self.spell.started = true;
        self.spell.unseen = 0;
        if self.calls.len() < CALLS_MAX {
            self.calls.push(call);
        }
    }

    /// The calls since this was last asked, oldest first.
    pub(crate) fn take(&mut self) -> Vec<ToolCall> {
        std::mem::take(&mut self.calls)
    }

    /// Of the children that these processes have waited for; 0 for one that is gone.
    fn faults_of_ended(&mut self, parents: &[u32]) -> u64 {
        parents.iter().map(|pid| self.faults_of(*pid)).sum()
    }

    fn faults_of(&mut self, pid: u32) -> u64 {
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

    /// A child, once it runs a program of its own.
    fn started(&mut self, parent: u32, child: u32) -> Option<ToolCall> {
        let mut text = |pid: u32, what: &str| {
            let text = self.reader.text(&format!("/proc/{pid}/{what}")).ok()?;
            Some(text.trim_end_matches('\0').to_owned())
        };
        let (own, parents) = (text(child, "cmdline")?, text(parent, "cmdline")?);
        if own.is_empty() || own == parents {
            return None;
        }
        // Read last: a shell may become another program at any time. What a shell starts is named in any case.
        let mut named = |pid: u32| last_command(&text(pid, "environ")?);
        let by_shell = parents.split('\0').next().is_some_and(is_shell);
        let is_tail = !by_shell && named(child).is_some_and(|name| named(parent) != Some(name));
        let words = own.replace(|c: char| c.is_control(), " ");
        Some(ToolCall {
            command: cut(words, COMMAND_CHARS_MAX),
            is_tail,
            unseen: self.spell.unseen,
        })
    }
}

/// What a shell names in `_` for each program that it starts; others pass it on as it is.
fn last_command(environment: &str) -> Option<String> {
    let mut variables = environment.split('\0');
    variables.find_map(|variable| variable.strip_prefix("_=").map(str::to_owned))
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
        let is_it = |call: &ToolCall| call.command == "sleep 1234" && !call.is_tail;
        while !seen.iter().any(is_it) && std::time::Instant::now() < deadline {
            calls.look(&own, true, crate::clock::now());
            seen.extend(calls.take());
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let times = seen.iter().filter(|call| is_it(call)).count();
        assert_eq!(times, 1, "{seen:?}");
    }

    /// Looks until something is there to see.
    fn look_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(std::time::Instant::now() < deadline, "nothing was seen");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_a_shell_has_become_is_marked_and_what_was_started_itself_is_not() {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", "read line; sleep 4321"])
            .stdin(std::process::Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut calls = ToolCalls::default();
        let own = std::process::id();
        let mut started = || calls.started(own, shell.id());
        let whole = look_until(&mut started);
        std::io::Write::write_all(&mut shell.stdin.as_ref().unwrap(), b"\n").unwrap();
        let became = look_until(|| started().filter(|call| call.command == "sleep 4321"));
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert!(!whole.is_tail && became.is_tail, "{whole:?} {became:?}");
    }

    #[test]
    fn children_that_end_between_two_looks_are_counted() {
        let script = "while read line; do /bin/true; echo; done";
        let mut shell = Command::new("sh");
        let pipe = std::process::Stdio::piped;
        shell.args(["-c", script]).stdin(pipe()).stdout(pipe());
        let mut shell = shell.spawn().unwrap();
        let parents = [shell.id()];
        let mut lines = shell.stdin.take().unwrap();
        let mut ends = shell.stdout.take().unwrap();
        let mut calls = ToolCalls::default();
        let now = crate::clock::now();
        calls.look(&parents, true, now);
        for _ in 0..3 {
            std::io::Write::write_all(&mut lines, b"\n").unwrap();
            std::io::Read::read_exact(&mut ends, &mut [0]).unwrap();
            calls.look(&parents, true, now);
        }
        drop(lines);
        shell.wait().unwrap();
        assert_eq!((calls.spell.unseen, calls.take()), (3, Vec::new()));
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
        while calls.faults_of_ended(&parents) == calls.of_ended {
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
