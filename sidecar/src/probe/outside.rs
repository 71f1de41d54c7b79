//! Processes outside the tree that hold the other end of a pipe or terminal. The kernel has no such list, so the descriptors of
//! every process must be read. The search is repeated seldom; in between, known holders are only confirmed.

use super::descriptors::{DESCRIPTORS_MAX, NAMED, end, kind, named_pipe};
use super::process::{io, stat_line};
use super::read::{Reader, link, numbers};
use heartbeat::base::moment::Moment;
use heartbeat::verdict::sample::{Channel, End, Outsider, Why};
use std::collections::BTreeSet;
use std::time::Duration;

/// The most processes of the machine that are searched.
const PROCESSES_MAX: usize = 8192;
/// Between two searches for ends that were not found.
const SEARCH_AGAIN: Duration = Duration::from_secs(20);
const PAGERS: [&str; 4] = ["less", "more", "most", "bat"];

/// Remembers who held what.
#[derive(Debug, Default)]
pub(super) struct Outside {
    searched: Option<(Moment, BTreeSet<Channel>)>,
    found: Vec<End>,
    /// The descriptors of some process are unreadable, so an unknown holder cannot be excluded.
    denied: Option<Why>,
}

impl Outside {
    /// Ends of these channels that processes outside the tree hold, and why that may not be all.
    pub(super) fn ends(
        &mut self,
        reader: &mut Reader,
        wanted: &BTreeSet<Channel>,
        tree: &BTreeSet<u32>,
        now: Moment,
    ) -> (Vec<End>, Option<Why>) {
        if wanted.is_empty() {
            return (Vec::new(), None);
        }
        self.found.retain(|found| still(reader, found));
        let fresh = self.searched.as_ref().is_some_and(|(at, channels)| {
            wanted.is_subset(channels) && now.since(*at) < SEARCH_AGAIN
        });
        if !fresh {
            self.search(reader, wanted, tree);
            self.searched = Some((now, wanted.clone()));
        }
        let known = |end: &&End| wanted.contains(&end.of) && !tree.contains(&end.pid);
        (
            self.found.iter().filter(known).cloned().collect(),
            self.denied,
        )
    }

    fn search(&mut self, reader: &mut Reader, wanted: &BTreeSet<Channel>, tree: &BTreeSet<u32>) {
        self.found.clear();
        self.denied = None;
        let Ok((pids, cut)) = numbers("/proc", PROCESSES_MAX) else {
            self.denied = Some(Why::Denied);
            return;
        };
        if cut {
            self.denied = Some(Why::TooMany);
        }
        for pid in pids.into_iter().filter(|pid| !tree.contains(pid)) {
            match numbers(&format!("/proc/{pid}/fd"), DESCRIPTORS_MAX) {
                Ok((fds, _)) => self.search_one(reader, wanted, pid, &fds),
                Err(Why::Gone) => {}
                Err(why) => self.denied = Some(why),
            }
        }
    }

    fn search_one(
        &mut self,
        reader: &mut Reader,
        wanted: &BTreeSet<Channel>,
        pid: u32,
        fds: &[u32],
    ) {
        let named = wanted
            .iter()
            .any(|c| matches!(c, Channel::Pipe(inode) if inode & NAMED != 0));
        for fd in fds.iter().filter_map(|fd| i32::try_from(*fd).ok()) {
            let Ok(target) = link(&format!("/proc/{pid}/fd/{fd}")) else {
                continue;
            };
            // Most descriptors are none of these, and their name alone shows it.
            let nameless = ["pipe:", "socket:"].iter().any(|p| target.starts_with(p));
            if !nameless && !target.ends_with("ptmx") && !named {
                continue;
            }
            let kind = named_pipe(pid, fd, kind(target));
            if let Some(end) = end(reader, pid, fd, &kind)
                && wanted.contains(&end.of)
            {
                self.found.push(end);
            }
        }
    }
}

fn still(reader: &mut Reader, known: &End) -> bool {
    let target = link(&format!("/proc/{}/fd/{}", known.pid, known.fd));
    target.is_ok_and(|target| {
        let kind = named_pipe(known.pid, known.fd, kind(target));
        end(reader, known.pid, known.fd, &kind).as_ref() == Some(known)
    })
}

/// Bytes it wrote; of another user's process they cannot be read.
fn written(reader: &mut Reader, pid: u32) -> u64 {
    let text = reader.text(&format!("/proc/{pid}/io"));
    let io = text.ok().and_then(|text| io(&text));
    io.map_or(0, |io| io.written)
}

/// A process outside the tree, as far as it may be seen.
pub(super) fn outsider(reader: &mut Reader, pid: u32) -> Option<Outsider> {
    let stat = reader.text(&format!("/proc/{pid}/stat")).ok()?;
    let process = stat_line(pid, &stat)?;
    Some(Outsider {
        pid,
        parent: process.parent,
        started: process.started,
        reads_terminal: PAGERS.contains(&process.name.as_str()),
        state: process.state,
        cpu_ticks: process.cpu_ticks,
        written: written(reader, pid),
        // For a one-off diagnosis the agent's sidecar is another process.
        own: pid == std::process::id() || process.name == "hbsidecar",
        name: process.name,
    })
}
