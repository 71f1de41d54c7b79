//! The copier: a process of its own between the agent and its output. It moves bytes and nothing else, so it survives
//! hbsidecar, and the agent with it: the end of hbsidecar closes no pipe that the agent writes into.
//!
//! Each output has a thread of its own, since one without a reader must not hold up the other. What passes is also offered
//! to hbsidecar, which may be slow, stopped or dead: what it does not take passes unread.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::pipe::{SpliceFlags, splice};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Copied at once.
const CHUNK: usize = 64 * 1024;
/// Moved at once without being read.
const SPLICED: usize = 1024 * 1024;
/// The most bytes of output in one packet.
pub(super) const PACKET_BYTES: usize = 16 * 1024;

/// The first byte of a packet: output, output behind a gap, all that was there has passed, this output has ended.
pub(super) const TEXT: u8 = b't';
pub(super) const TEXT_AFTER_GAP: u8 = b'g';
pub(super) const CAUGHT_UP: u8 = b'c';
pub(super) const ENDED: u8 = b'e';

const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// One output: where it comes from, where it goes, and who may read it.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(super) from: OwnedFd,
    pub(super) to: OwnedFd,
    pub(super) tap: OwnedFd,
}

/// All outputs of the agent that are read.
#[derive(Debug)]
pub(crate) struct Copier {
    pub(super) channels: Vec<Channel>,
}

impl Copier {
    /// The descriptors that it needs.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let channels = self.channels.iter();
        channels
            .flat_map(|channel| [&channel.from, &channel.to, &channel.tap])
            .map(AsRawFd::as_raw_fd)
            .collect()
    }

    /// Copies until every output has ended.
    pub(crate) fn run(self) {
        let threads: Vec<_> = self
            .channels
            .into_iter()
            .map(|channel| {
                std::thread::Builder::new()
                    .name("output".to_owned())
                    .stack_size(256 * 1024)
                    // Without a thread the channel is dropped: hbsidecar sees that and copies itself.
                    .spawn(move || channel.run())
            })
            .collect();
        for thread in threads.into_iter().flatten() {
            let _ = thread.join(); // a thread has no result
        }
    }
}

impl Channel {
    /// Copies until all writers have ended or the reader has.
    pub(super) fn run(self) {
        let Self { from, to, tap } = self;
        let mut pass = Pass {
            from: &from,
            to: &to,
            tap: Some(&tap),
            gap: false,
            question: Question::None,
            splices: true,
        };
        let mut chunk = vec![0; CHUNK];
        while pass.next(&mut chunk) {}
        let reader = pass.tap.is_some();
        // A reader of the output waits for the last writer, and the agent for its reader: both see the end before hbsidecar.
        drop((from, to));
        if reader {
            let _ = send(&tap, &[ENDED], SendFlags::NOSIGNAL); // hbsidecar has ended
        }
    }
}

struct Pass<'a> {
    from: &'a OwnedFd,
    to: &'a OwnedFd,
    /// Until hbsidecar has ended.
    tap: Option<&'a OwnedFd>,
    /// The last output was not taken.
    gap: bool,
    question: Question,
    splices: bool,
}

/// hbsidecar waits until what is there has passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    /// Answered as soon as nothing is there.
    Asked,
    /// Nothing is there; answered as soon as there is room.
    Owed,
}

impl Pass<'_> {
    /// One step; false when nothing more will come or pass.
    fn next(&mut self, chunk: &mut [u8]) -> bool {
        let mut fds = vec![PollFd::new(self.from, PollFlags::IN)];
        if let Some(tap) = self.tap {
            let room = match self.question {
                Question::None | Question::Asked => PollFlags::empty(),
                Question::Owed => PollFlags::OUT,
            };
            fds.push(PollFd::new(tap, PollFlags::IN | room));
        }
        let look = (self.question == Question::Asked).then_some(&AT_ONCE);
        match poll(&mut fds, look) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return false,
        }
        let there = fds.first().is_some_and(|from| !from.revents().is_empty());
        let tap = fds.get(1).map_or(PollFlags::empty(), PollFd::revents);
        if tap.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.listen();
        } else if !there && self.question != Question::None {
            self.answer();
        }
        !there || self.pass(chunk)
    }

    fn listen(&mut self) {
        let Some(tap) = self.tap else { return };
        match recv(tap, &mut [0; 8], RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.tap = None,
            Ok(_) => self.question = Question::Asked,
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.tap = None,
        }
    }

    fn answer(&mut self) {
        let Some(tap) = self.tap else { return };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.question = match send(tap, &[CAUGHT_UP], flags) {
            Err(Errno::AGAIN) => Question::Owed,
            // Where it has ended, that is found next.
            Ok(_) | Err(_) => Question::None,
        };
    }

    fn pass(&mut self, chunk: &mut [u8]) -> bool {
        if self.splices && !self.is_read() {
            match splice(self.from, None, self.to, None, SPLICED, SpliceFlags::MOVE) {
                Ok(0) => return false,
                Ok(_) => {
                    self.gap = true;
                    return true;
                }
                Err(Errno::INTR) => return true,
                // Not every output takes it: a file that is appended to does not, nor does a terminal give it.
                Err(Errno::INVAL | Errno::AGAIN) => self.splices = false,
                // A plain write shows whether the reader has ended, or the disk is full for a while.
                Err(_) => {}
            }
        }
        let bytes = match rustix::io::read(self.from, &mut *chunk) {
            Ok(0) => return false,
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => return true,
            // Of a terminal: no process has it open any more.
            Err(_) => return false,
        };
        if !write_all(self.to, bytes) {
            return false;
        }
        self.offer(bytes);
        true
    }

    /// Whether there is room for what passes next.
    fn is_read(&self) -> bool {
        let Some(tap) = self.tap else { return false };
        !self.gap || poll(&mut [PollFd::new(tap, PollFlags::OUT)], Some(&AT_ONCE)) == Ok(1)
    }

    fn offer(&mut self, bytes: &[u8]) {
        let Some(tap) = self.tap else { return };
        let mut packet = Vec::with_capacity(PACKET_BYTES + 1);
        for part in bytes.chunks(PACKET_BYTES) {
            packet.clear();
            packet.push(if self.gap { TEXT_AFTER_GAP } else { TEXT });
            packet.extend_from_slice(part);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            self.gap = send(tap, &packet, flags).is_err();
            if self.gap {
                return;
            }
        }
    }
}

fn is_file(to: &OwnedFd) -> bool {
    let found = rustix::fs::fstat(to);
    found.is_ok_and(|found| {
        rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::RegularFile
    })
}

/// False when the reader has ended. Others may have made the output non-blocking.
fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(to, PollFlags::OUT)], None);
            }
            // Without the copier the agent would see the error and might go on: a full disk may have room later.
            Err(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return true,
            Err(_) if is_file(to) => return true,
            Err(_) => return false,
        }
    }
    true
}
