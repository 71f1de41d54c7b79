//! Which process waits for which in a tree: tools, commands, helpers; by their end, their output, a signal, a terminal.

use crate::base::moment::millis;
use crate::verdict::sample::{Channel, Kind, Process, Socket, TICKS_PER_SECOND, Target, Tcp, Wait};
use crate::verdict::tree_view::TreeView;

/// Milliseconds of one clock tick. Start times of processes and times of samples both count from boot.
const TICK_MS: u64 = 1000 / TICKS_PER_SECOND;

impl<'a> TreeView<'a> {
    /// The tool that was started last, if there is one.
    pub(super) fn tool(&self, asked: &[(&Socket, &Tcp)]) -> Option<&'a Process> {
        self.own()
            .filter(|process| self.is_tool(process, asked))
            .max_by_key(|process| process.started)
    }

    /// A tool: a process below the one that holds the connections, started after the last byte on any of them arrived. The
    /// model has answered, and the agent now waits for the tool.
    pub(super) fn is_tool(&self, process: &Process, asked: &[(&Socket, &Tcp)]) -> bool {
        let received_ago = asked.iter().map(|(_, tcp)| tcp.received_ago).min();
        let received = received_ago.and_then(|ago| {
            let at = self.sample.at.as_millis();
            at.checked_sub(millis(ago))
        });
        let mut parent = process.parent;
        while !asked.iter().any(|(socket, _)| socket.pid == parent) {
            match self.sample.process(parent) {
                Some(process) if process.pid != process.parent => parent = process.parent,
                Some(_) | None => return false,
            }
        }
        received.is_some_and(|received| process.started.saturating_mul(TICK_MS) > received)
    }

    /// Whether the root waits for this process, over as many processes as there are between them: for its end, or for what
    /// it writes. One that was started and forgotten is not awaited.
    pub(super) fn is_awaited_by_root(&self, process: &Process) -> bool {
        self.leads_to_root(process, |child| self.is_awaited(child))
    }

    /// The same, where a parent that is informed of the end of any child may wait for this one.
    pub(super) fn may_be_awaited_by_root(&self, process: &Process) -> bool {
        let may = |child: &Process| self.is_awaited(child) || self.may_be_awaited(child);
        self.leads_to_root(process, may)
    }

    fn leads_to_root(&self, process: &Process, awaited: impl Fn(&Process) -> bool) -> bool {
        let mut at = process;
        // A tree is no deeper than it has processes.
        for _ in &self.sample.processes {
            let root = self.sample.root;
            if at.pid == root {
                return true;
            }
            let parent = self.sample.process(at.parent);
            match (parent, self.reader_of(at)) {
                (Some(parent), _) if awaited(at) => at = parent,
                (_, Some(reader)) => at = reader,
                (Some(_) | None, None) => return false,
            }
        }
        false
    }

    /// A process of the tree, other than this one and its children, that waits for what this one writes.
    fn reader_of(&self, writer: &Process) -> Option<&'a Process> {
        self.living()
            .filter(|p| p.pid != writer.pid && p.parent != writer.pid)
            .find(|reader| {
                let waits = reader.waits();
                waits.flat_map(Wait::targets).any(|target| {
                    let written = self.is_written_by(target, writer.pid)
                        && !self.is_written_by(target, reader.pid);
                    !target.full && (written || self.plays_terminal(reader, target, writer))
                })
            })
    }

    /// Whether this descriptor is the master of the terminal that the other process runs on.
    fn plays_terminal(&self, player: &Process, target: &Target, other: &Process) -> bool {
        let Some(number) = other.terminal else {
            return false;
        };
        let of = Channel::Terminal(format!("/dev/pts/{number}"));
        let mut ends = self.sample.ends.iter();
        ends.any(|end| (end.pid, end.fd) == (player.pid, target.fd) && end.of == of)
    }

    /// Whether an ancestor inside the tree waits for this process to end.
    pub(super) fn is_awaited(&self, process: &Process) -> bool {
        self.sample.process(process.parent).is_some_and(|parent| {
            parent.waits().any(|wait| match wait {
                Wait::Child(pid) => *pid <= 0 || u32::try_from(*pid) == Ok(process.pid),
                Wait::Read(target) => self.is_written_by(target, process.pid),
                Wait::Running
                | Wait::Write(_)
                | Wait::Accept(_)
                | Wait::Connect(_)
                | Wait::Poll { .. }
                | Wait::Sleep(_)
                | Wait::Futex { .. }
                | Wait::Fork
                | Wait::Lock(_)
                | Wait::Signal(_)
                | Wait::Sync(_)
                | Wait::Call(_)
                | Wait::Unreadable(_) => false,
            })
        })
    }

    /// Whether the parent is informed of the end of a child, by a signal or a descriptor, and waits for nothing else that the
    /// child does. A child that the parent feeds serves it, and is not to end; one that prints elsewhere was put aside.
    fn may_be_awaited(&self, child: &Process) -> bool {
        const CHLD: u64 = 1 << 16;
        let Some(parent) = self.sample.process(child.parent) else {
            return false;
        };
        let handles = parent.caught.is_some_and(|set| set & CHLD != 0);
        let is_child = |t: &Target| matches!(&t.kind, Kind::Internal(name) if name == "pidfd");
        let mut waits = parent.waits();
        let informed = waits.any(|wait| match wait {
            Wait::Signal(_) => true,
            Wait::Poll { targets, .. } => handles || targets.iter().any(is_child),
            Wait::Running
            | Wait::Read(_)
            | Wait::Write(_)
            | Wait::Accept(_)
            | Wait::Connect(_)
            | Wait::Sleep(_)
            | Wait::Futex { .. }
            | Wait::Child(_)
            | Wait::Fork
            | Wait::Lock(_)
            | Wait::Sync(_)
            | Wait::Call(_)
            | Wait::Unreadable(_) => false,
        });
        informed && child.outlet == parent.outlet && !self.feeds(parent, child)
    }

    /// Whether one process holds the writing end of the other's standard input.
    fn feeds(&self, feeder: &Process, eater: &Process) -> bool {
        let mut ends = self.sample.ends.iter();
        let input = ends.find(|end| (end.pid, end.fd) == (eater.pid, 0) && end.reads);
        input.is_some_and(|input| match &input.of {
            Channel::Socket(inode) => {
                let mut sockets = self.sample.sockets.iter();
                sockets.any(|s| s.pid == feeder.pid && s.other() == Some(*inode))
            }
            of @ (Channel::Pipe(_) | Channel::Terminal(_)) => {
                let mut ends = self.sample.ends.iter();
                ends.any(|end| end.of == *of && end.pid == feeder.pid && end.writes)
            }
        })
    }

    /// Whether this process can write what the descriptor reads.
    fn is_written_by(&self, target: &Target, pid: u32) -> bool {
        let writers = self.others(target, |end| end.writes);
        writers.iter().any(|end| end.pid == pid)
    }

    /// Whether this process waits for the end or the output of a child.
    pub(super) fn awaits_child(&self, process: &Process) -> bool {
        let mut children = self.living().filter(|child| child.parent == process.pid);
        children.any(|child| self.is_awaited(child))
    }
}
