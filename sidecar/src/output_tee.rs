//! The agent's output on its way through: every byte passes unchanged, and what it reports is read beside it.
//!
//! A thread of its own copies; the loop is never held up. Reading is what gives way: of an agent that prints faster
//! than can be read, most passes unread, and what was not read is not waited for.

use crate::clock;
use crate::config::Reads;
use crate::wake::{self, Listener, Notifier, Request, Woken};
use heartbeat::base::moment::{Moment, millis};
use heartbeat::base::sliding::RateLimiter;
use heartbeat::contract::agent_streams::{EVENT_BYTES_MAX, Events};
use heartbeat::contract::framing::LineSplitter;
use heartbeat::contract::line::{Field, LINE_BYTES_MAX, Line, pair};
use heartbeat::wire::declared_state::DeclaredState;
use regex_lite::Regex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::sync::mpsc;

/// Copied at once.
const CHUNK: usize = 64 * 1024;
/// Room between the agent and us: it can write on while we wait for our own reader.
const PIPE_BYTES: usize = 1024 * 1024;
/// Bytes read of the output, per second and at once; the rest passes unread. A pattern costs more than an event.
const EVENT_BYTES_PER_SECOND: u64 = 1024 * 1024;
const PATTERN_BYTES_PER_SECOND: u64 = 256 * 1024;
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};
/// Lines that wait for the hub.
const WAITING_MAX: usize = 64;
/// Lines reported per second, as everywhere in the contract.
const LINES_PER_SECOND: usize = 50;
/// Lines that report only that work continues.
const STEPS_PER_SECOND: usize = 5;

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

/// Output that is copied. Dropped, copying ends with what is there.
#[derive(Debug)]
pub(crate) struct Tee {
    /// What the output reports.
    pub(crate) lines: mpsc::Receiver<OutputLine>,
    notifier: Notifier,
}

impl Tee {
    /// Starts to copy to `to`. What comes back is the agent's new output; each incarnation gets a copy of it.
    pub(crate) fn start(to: OwnedFd, reads: Reads) -> io::Result<(Self, OwnedFd)> {
        let (from, agents) = pipe_with(PipeFlags::CLOEXEC)?;
        let _ = fcntl_setpipe_size(&from, PIPE_BYTES); // a user's limit may forbid it: then it stays as it was
        let (notifier, listener) = wake::pair()?;
        let (send, lines) = mpsc::channel(WAITING_MAX);
        let copier = Copier {
            from,
            to,
            listener,
            reader: Reader::new(reads, send),
            splices: true,
        };
        std::thread::Builder::new()
            .name("output".to_owned())
            .stack_size(256 * 1024)
            .spawn(move || copier.run())?;
        Ok((Self { lines, notifier }, agents))
    }

    /// The agent has ended: its last output is still passed on and read, unless our own reader does not read.
    pub(crate) async fn caught_up(&self, within: Duration) {
        self.notifier.caught_up(within).await;
    }
}

struct Copier {
    from: OwnedFd,
    to: OwnedFd,
    listener: Listener,
    reader: Reader,
    splices: bool,
}

impl Copier {
    /// Until all writers have ended, the reader has ended, or the end is requested and nothing is left.
    fn run(mut self) {
        let mut chunk = vec![0; CHUNK];
        let mut asked = Vec::<Request>::new();
        let mut ends = false;
        loop {
            // The eventfd first: what was printed before it was written is then found.
            let mut fds = [
                PollFd::new(&self.listener, PollFlags::IN),
                PollFd::new(&self.from, PollFlags::IN),
            ];
            let sleeps = asked.is_empty() && !ends;
            let within = if sleeps {
                self.reader.owed_within()
            } else {
                Some(AT_ONCE)
            };
            match poll(&mut fds, within.as_ref()) {
                Ok(0) => self.reader.flush(),
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            let [eventfd, source] = &fds;
            let there = !source.revents().is_empty();
            if !eventfd.revents().is_empty() {
                match self.listener.woken() {
                    Woken::Otherwise => {}
                    Woken::ToCatchUp(who) => asked.push(who),
                    Woken::ToEnd => ends = true,
                }
            }
            if there && !self.pass(&mut chunk) || ends && !there {
                return self.reader.flush();
            }
            if !there && !asked.is_empty() {
                self.reader.flush();
                asked.clear();
            }
        }
    }

    /// Copies what is there; false when nothing more will come or our reader has ended.
    fn pass(&mut self, chunk: &mut [u8]) -> bool {
        if self.splices && self.reader.is_behind() {
            // Unread, from one pipe to the next, without a copy.
            match splice(
                &self.from,
                None,
                &self.to,
                None,
                PIPE_BYTES,
                SpliceFlags::MOVE,
            ) {
                Ok(0) => return false,
                Ok(_) => {
                    self.reader.skip();
                    return true;
                }
                Err(Errno::INTR) => return true,
                // Not every output takes it: a file that is appended to does not.
                Err(Errno::INVAL | Errno::AGAIN) => self.splices = false,
                Err(_) => return false,
            }
        }
        let read = match rustix::io::read(&self.from, &mut *chunk) {
            Ok(0) => return false,
            Ok(read) => read,
            Err(Errno::INTR) => return true,
            Err(_) => return false,
        };
        let Some(bytes) = chunk.get_mut(..read) else {
            return false;
        };
        if !write_all(&self.to, bytes) {
            return false;
        }
        self.reader.read(bytes);
        true
    }
}

/// False when our reader has ended. Others may have made our output non-blocking.
fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(to, PollFlags::OUT)], None);
            }
            Err(_) => return false,
        }
    }
    true
}

/// Reads what passes, as far as its allowance reaches.
struct Reader {
    kind: Kind,
    lines: LineSplitter,
    send: mpsc::Sender<OutputLine>,
    per_second: u64,
    /// Bytes that may be read now.
    allowance: u64,
    since: Moment,
    all: RateLimiter,
    steps: RateLimiter,
}

enum Kind {
    Events(Events),
    Pattern {
        pattern: Regex,
        last: String,
        unreported: Option<String>,
    },
}

impl Reader {
    fn new(reads: Reads, send: mpsc::Sender<OutputLine>) -> Self {
        let (kind, longest, per_second) = match reads {
            Reads::Events => {
                let kind = Kind::Events(Events::default());
                (kind, EVENT_BYTES_MAX, EVENT_BYTES_PER_SECOND)
            }
            Reads::Pattern(pattern) => {
                let (last, unreported) = (String::new(), None);
                let kind = Kind::Pattern {
                    pattern,
                    last,
                    unreported,
                };
                (kind, LINE_BYTES_MAX, PATTERN_BYTES_PER_SECOND)
            }
        };
        Self {
            kind,
            lines: LineSplitter::new(longest),
            send,
            per_second,
            allowance: per_second,
            since: clock::now(),
            all: RateLimiter::new(LINES_PER_SECOND),
            steps: RateLimiter::new(STEPS_PER_SECOND),
        }
    }

    /// Whether the allowance is used up.
    fn is_behind(&mut self) -> bool {
        let now = clock::now();
        let earned = millis(now.since(self.since)).saturating_mul(self.per_second) / 1000;
        if earned > 0 {
            self.allowance = self.allowance.saturating_add(earned).min(self.per_second);
            self.since = now;
        }
        self.allowance < CHUNK as u64
    }

    /// Output passed unread: the line it ends in is not whole.
    fn skip(&mut self) {
        self.lines.drop_line(true);
    }

    /// Reads what has been passed on already; the bytes are ours now.
    fn read(&mut self, bytes: &mut [u8]) {
        if self.is_behind() {
            return self.skip();
        }
        self.allowance = self.allowance.saturating_sub(bytes.len() as u64);
        if matches!(self.kind, Kind::Pattern { .. }) {
            // A progress bar is redrawn after a carriage return.
            for byte in bytes.iter_mut().filter(|byte| **byte == b'\r') {
                *byte = b'\n';
            }
        }
        let mut lines = std::mem::replace(&mut self.lines, LineSplitter::new(0));
        lines.feed(bytes, |line| {
            if let Ok(line) = line {
                self.line(line);
            }
        });
        self.lines = lines;
    }

    fn line(&mut self, line: &[u8]) {
        let report = match &mut self.kind {
            Kind::Events(events) => events.line(line),
            Kind::Pattern {
                pattern,
                last,
                unreported,
            } => {
                let matched = by_pattern(pattern, line).filter(|line| line != last);
                if let Some(matched) = &matched {
                    last.clone_from(matched);
                    *unreported = None;
                }
                matched
            }
        };
        if let Some(report) = report {
            self.report(report);
        }
    }

    fn report(&mut self, raw: String) {
        // A number beyond a hundred, a text too long: output is not the contract, so it is dropped silently.
        let Ok(line) = Line::parse(raw.as_bytes()) else {
            return;
        };
        let at = clock::now();
        let only_goes_on = line.tokens == 0 && line.task == Field::Kept;
        let frequent = match &self.kind {
            Kind::Events(_) => only_goes_on && line.state == Field::Set(DeclaredState::Working),
            Kind::Pattern { .. } => true,
        };
        let passes = (!frequent || self.steps.pass(at)) && self.all.pass(at);
        let sent = passes
            && self
                .send
                .try_send(OutputLine {
                    line,
                    raw: raw.clone(),
                    at,
                })
                .is_ok();
        match &mut self.kind {
            Kind::Pattern { unreported, .. } if !sent => *unreported = Some(raw),
            Kind::Pattern { .. } | Kind::Events(_) => {}
        }
    }

    /// Silence after which a value that came too soon is reported after all.
    fn owed_within(&self) -> Option<Timespec> {
        let owed = matches!(
            &self.kind,
            Kind::Pattern {
                unreported: Some(_),
                ..
            }
        );
        owed.then_some(Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        })
    }

    /// The last value counts, though it came too soon after the one before.
    fn flush(&mut self) {
        let unreported = match &mut self.kind {
            Kind::Events(_) => None,
            Kind::Pattern { unreported, .. } => unreported.take(),
        };
        if let Some((line, raw)) =
            unreported.and_then(|raw| Some((Line::parse(raw.as_bytes()).ok()?, raw)))
        {
            let _ = self.send.try_send(OutputLine {
                line,
                raw,
                at: clock::now(),
            }); // a hub that has ended needs no last line
        }
    }
}

fn by_pattern(pattern: &Regex, line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let groups = pattern.captures(text)?;
    let pairs = Reads::GROUPS
        .iter()
        .filter_map(|name| Some(pair(name, groups.name(name)?.as_str().trim())));
    let line = pairs.collect::<Vec<_>>().join(" ");
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    const WITHIN: Duration = Duration::from_secs(20);

    fn tee(reads: Reads) -> (Tee, File, File) {
        let (out, to) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (tee, agents) = Tee::start(to, reads).unwrap();
        (tee, File::from(agents), File::from(out))
    }

    async fn next(tee: &mut Tee) -> OutputLine {
        tokio::time::timeout(WITHIN, tee.lines.recv())
            .await
            .expect("nothing was read")
            .unwrap()
    }

    #[tokio::test]
    async fn every_byte_goes_on_unchanged_whatever_it_is() {
        let (_tee, mut agent, mut out) = tee(Reads::Events);
        let bytes: Vec<u8> = (0..8_000_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let sent = bytes.clone();
        let writer = std::thread::spawn(move || agent.write_all(&sent).unwrap());
        let mut got = Vec::new();
        out.read_to_end(&mut got).unwrap();
        writer.join().unwrap();
        assert!(got == bytes);
    }

    #[tokio::test]
    async fn events_are_told_beside_the_copy() {
        let (mut tee, mut agent, mut out) = tee(Reads::Events);
        let event = "{\"type\":\"system\",\"subtype\":\"init\"}\nplain text\n";
        agent.write_all(event.as_bytes()).unwrap();
        assert!(next(&mut tee).await.line.ready);
        let mut got = vec![0; event.len()];
        out.read_exact(&mut got).unwrap();
        assert_eq!(got, event.as_bytes());
    }

    #[tokio::test]
    async fn a_pattern_reads_ordinary_lines_and_progress_bars() {
        let (mut tee, mut agent, _out) =
            tee(Reads::pattern(r"(?P<task>\w+) *(?P<progress>\d+)%").unwrap());
        agent
            .write_all(b"warming up\nindex   7%\rindex   7%\rindex 150%\r")
            .unwrap();
        let line = next(&mut tee).await;
        assert_eq!(
            (line.raw.as_str(), line.line.progress),
            ("progress=7 task=index", Field::Set(7.0))
        );
        tokio::time::sleep(Duration::from_millis(1050)).await;
        agent.write_all(b"index 8%\n").unwrap();
        assert_eq!(
            next(&mut tee).await.line.progress,
            Field::Set(8.0),
            "150 % is no progress, 7 % no news"
        );
    }

    #[tokio::test]
    async fn the_last_of_many_values_is_not_lost() {
        let (mut tee, mut agent, _out) =
            tee(Reads::pattern("(?P<progress>[0-9]+) of 100").unwrap());
        for n in 0..=100 {
            writeln!(agent, "{n} of 100").unwrap();
        }
        drop(agent);
        let mut last = None;
        while let Some(line) = tokio::time::timeout(WITHIN, tee.lines.recv())
            .await
            .unwrap()
        {
            last = Some(line.line.progress);
        }
        assert_eq!(last, Some(Field::Set(100.0)));
    }

    #[test]
    fn a_pattern_that_tells_nothing_is_refused() {
        assert!(
            Reads::pattern("[0-9]+")
                .unwrap_err()
                .to_string()
                .contains("(?P<progress>")
        );
        assert!(
            Reads::pattern("(")
                .unwrap_err()
                .to_string()
                .contains("regular expression")
        );
    }

    #[tokio::test]
    async fn an_agent_whose_reader_is_gone_is_told_so() {
        let (_tee, mut agent, out) = tee(Reads::Events);
        drop(out);
        let start = std::time::Instant::now();
        while agent.write_all(&[b'x'; 4096]).is_ok() {
            assert!(
                start.elapsed() < WITHIN,
                "it continues to write without a reader"
            );
        }
    }

    #[tokio::test]
    async fn an_orphan_that_keeps_the_output_does_not_hold_up_the_end() {
        let (tee, mut agent, mut out) = tee(Reads::Events);
        agent.write_all(b"last words\n").unwrap();
        let start = std::time::Instant::now();
        tee.caught_up(WITHIN).await;
        drop(tee);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
        let mut got = Vec::new();
        out.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"last words\n");
        drop(agent);
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_holds_up_nobody_else() {
        let (tee, mut agent, _out) = tee(Reads::Events);
        agent.write_all(&[b'x'; 500_000]).unwrap();
        let start = std::time::Instant::now();
        tee.caught_up(Duration::from_millis(100)).await;
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }
}
