//! The agent's output on its way through: every byte passes unchanged, and what it reports is read beside it.
//!
//! ```text
//! agent ─► pipe, or a terminal of ours ─► copier (a process of its own) ─► where the output goes
//!                                            └─► tap ─► reader (a thread of hbsidecar) ─► hub
//! ```
//!
//! Reading is what gives way: of an agent that prints faster than can be read, most passes unread, and what was not read is
//! not waited for. The copier outlives hbsidecar, hbsidecar's thread replaces a copier that was killed.

mod copier;
mod reader;
mod source;

use crate::clock;
use crate::config::Reads;
use crate::wake::{self, Listener, Notifier, Request, Woken};
use copier::{CAUGHT_UP, ENDED, PACKET_BYTES, TEXT, TEXT_AFTER_GAP};
use heartbeat::base::moment::{Moment, millis};
use heartbeat::contract::line::Line;
use nix::unistd::tcgetpgrp;
use reader::{Reader, Text};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use source::Ours;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

pub(crate) use source::Outputs;

/// Lines that wait for the hub.
const WAITING_MAX: usize = 64;
/// How often the size and the modes of a terminal are compared while nothing is printed.
const SCREEN_EVERY: Duration = Duration::from_millis(250);

/// A line of output that reports something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OutputLine {
    /// As the agent could have reported it itself.
    pub(crate) line: Line,
    /// The line, for evidence.
    pub(crate) raw: String,
    /// When it was read.
    pub(crate) at: Moment,
}

/// Output that is read. Dropped, reading ends; copying does not.
#[derive(Debug)]
pub(crate) struct Tee {
    /// What the output reports.
    pub(crate) lines: mpsc::Receiver<OutputLine>,
    /// The agent's terminal has another size now, and the agent has seen the old one.
    pub(crate) resized: mpsc::Receiver<()>,
    /// The agent's process group, for its terminal; 0: none.
    pub(crate) group: Arc<AtomicI32>,
    /// A copier was killed, and hbsidecar copies itself.
    pub(crate) copies_itself: Arc<AtomicBool>,
    notifier: Notifier,
}

/// The agent's side of its outputs; each incarnation gets a copy.
#[derive(Debug)]
pub(crate) struct AgentsEnds(Vec<(OwnedFd, Vec<RawFd>)>);

impl AgentsEnds {
    /// Descriptors of ours, and those of the agent that they become.
    pub(crate) fn pairs(&self) -> Vec<(RawFd, RawFd)> {
        use std::os::fd::AsRawFd;
        let ends = self.0.iter();
        ends.flat_map(|(end, outputs)| outputs.iter().map(|output| (end.as_raw_fd(), *output)))
            .collect()
    }
}

impl Tee {
    /// Starts to read.
    pub(crate) fn start(outputs: Outputs, reads: Reads) -> io::Result<(Self, AgentsEnds)> {
        let (notifier, listener) = wake::pair()?;
        let (send, lines) = mpsc::channel(WAITING_MAX);
        let (tell, resized) = mpsc::channel(1);
        let (group, copies_itself) = (Arc::default(), Arc::default());
        let (mut ends, mut taps) = (Vec::new(), Vec::new());
        for source in outputs.sources {
            ends.push((source.agents, source.outputs));
            taps.push(Tap {
                text: Text::of(&reads),
                ours: Some(source.ours),
                owes: false,
            });
        }
        let listening = Listening {
            listener,
            taps,
            reader: Reader::new(reads, send),
            resized: tell,
            group: Arc::clone(&group),
            copies_itself: Arc::clone(&copies_itself),
            asked: Vec::new(),
        };
        std::thread::Builder::new()
            .name("output".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || listening.run())?;
        let tee = Self {
            lines,
            resized,
            group,
            copies_itself,
            notifier,
        };
        Ok((tee, AgentsEnds(ends)))
    }

    /// The agent has ended: waits until its last output has passed and is read, unless its reader does not read.
    pub(crate) async fn caught_up(&self, within: Duration) {
        self.notifier.caught_up(within).await;
    }
}

/// The reading thread.
struct Listening {
    listener: Listener,
    taps: Vec<Tap>,
    reader: Reader,
    resized: mpsc::Sender<()>,
    group: Arc<AtomicI32>,
    copies_itself: Arc<AtomicBool>,
    /// Who waits until what is there has passed.
    asked: Vec<Request>,
}

/// What the copier shows of one output.
struct Tap {
    text: Text,
    /// Until the output has ended.
    ours: Option<Ours>,
    /// The copier has been asked whether all has passed.
    owes: bool,
}

impl Listening {
    /// Until every output has ended, or the end is requested.
    fn run(mut self) {
        let mut packet = vec![0; PACKET_BYTES + 1];
        while self.taps.iter().any(|tap| tap.ours.is_some()) {
            let now = clock::now();
            self.reader.tick(now);
            for tap in &mut self.taps {
                self.reader.pause(&mut tap.text, now);
            }
            self.follow_terminal();
            // A caller that waits does not wait for the allowance.
            let again = self
                .reader
                .reads_again(PACKET_BYTES)
                .filter(|_| self.asked.is_empty());
            let Ok((woken, ready)) = self.wait(again) else {
                break;
            };
            if woken {
                match self.listener.woken() {
                    Woken::Otherwise => {}
                    Woken::ToCatchUp(who) => self.ask(who),
                    Woken::ToEnd => break,
                }
            }
            for at in ready {
                self.receive(at, &mut packet);
            }
            self.answer();
        }
        self.reader
            .flush(self.taps.iter_mut().map(|tap| &mut tap.text));
    }

    /// Whether the notifier has called, and which taps have something. `again`: when taps are read again.
    fn wait(&self, again: Option<Moment>) -> Result<(bool, Vec<usize>), Errno> {
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        let mut which = Vec::new();
        for (at, tap) in self.taps.iter().enumerate() {
            if let (Some(ours), None) = (&tap.ours, again) {
                fds.push(PollFd::new(&ours.tap, PollFlags::IN));
                which.push(at);
            }
        }
        let has_terminal = self
            .taps
            .iter()
            .filter_map(|tap| tap.ours.as_ref())
            .any(Ours::is_terminal);
        let screen = has_terminal.then(|| clock::now() + SCREEN_EVERY);
        let texts = self.taps.iter().filter_map(|tap| tap.text.deadline());
        let due = texts
            .chain(self.reader.deadline())
            .chain(again)
            .chain(screen)
            .min();
        let wait = due.map(|due| timespec(due.since(clock::now())));
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok((false, Vec::new())),
            Err(error) => return Err(error),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let woken = ready.next() == Some(true);
        let ready = which.into_iter().zip(ready).filter(|(_, ready)| *ready);
        Ok((woken, ready.map(|(at, _)| at).collect()))
    }

    fn ask(&mut self, who: Request) {
        for tap in &mut self.taps {
            if let Some(ours) = &tap.ours {
                // A copier that was killed is replaced, and has then passed on what was there.
                tap.owes = send(&ours.tap, b"?", SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok();
            }
        }
        self.asked.push(who);
    }

    fn answer(&mut self) {
        if !self.asked.is_empty() && self.taps.iter().all(|tap| !tap.owes) {
            self.reader
                .flush(self.taps.iter_mut().map(|tap| &mut tap.text));
            self.asked.clear();
        }
    }

    /// One packet of the copier.
    fn receive(&mut self, at: usize, packet: &mut [u8]) {
        let Some(tap) = self.taps.get_mut(at) else {
            return;
        };
        let Some(ours) = &mut tap.ours else { return };
        let length = match recv(&ours.tap, &mut *packet, RecvFlags::DONTWAIT) {
            Ok((_, length)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => 0,
        };
        match packet.get(..length).and_then(<[u8]>::split_first) {
            Some((&TEXT, text)) => self.reader.read(&mut tap.text, text, false),
            Some((&TEXT_AFTER_GAP, text)) => self.reader.read(&mut tap.text, text, true),
            Some((&CAUGHT_UP, _)) => tap.owes = false,
            Some((&ENDED, _)) => {
                tap.ours = None;
                tap.owes = false;
            }
            Some(_) => {}
            None => {
                tap.owes = false;
                self.copies_itself.store(true, Ordering::Relaxed);
                if let Err(error) = replace_copier(ours) {
                    tracing::error!("cannot copy the agent's output any more: {error}");
                    tap.ours = None;
                }
            }
        }
    }

    /// The agent's terminal is ours: what changes of the real one reaches it, and what it sets reaches the real one.
    fn follow_terminal(&mut self) {
        let keyboard = rustix::stdio::stdin();
        let group = self.group.load(Ordering::Relaxed);
        let in_front = || tcgetpgrp(keyboard).is_ok_and(|front| front.as_raw() == group);
        for ours in self
            .taps
            .iter_mut()
            .filter_map(|tap| tap.ours.as_mut())
            .filter(|ours| ours.is_terminal())
        {
            if ours.follow_size() {
                let _ = self.resized.try_send(()); // one that waits is enough
            }
            if group != 0 && in_front() {
                ours.follow_modes(keyboard.as_fd());
            }
        }
    }
}

/// The copier was killed: its work goes on in a thread of ours.
fn replace_copier(ours: &mut Ours) -> io::Result<()> {
    let channel = ours.replace_copier()?;
    tracing::warn!(
        "the process that copies the agent's output was killed; hbsidecar copies it itself"
    );
    std::thread::Builder::new()
        .name("copier".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || channel.run())?;
    Ok(())
}

fn timespec(wait: Duration) -> Timespec {
    // A poll that ends early would spin.
    let wait = Duration::from_millis(millis(wait).saturating_add(1));
    Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(wait.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests;
