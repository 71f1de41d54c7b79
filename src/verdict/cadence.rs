//! Cadence of connections and of output. Keep-alive messages arrive in equal small segments at a slow, steady pace; tokens do
//! not. The frames of a spinner are equal short writes at a quick, steady pace.

use crate::base::moment::Moment;
use crate::verdict::sample::Tcp;
use crate::verdict::thresholds;
use std::collections::VecDeque;
use std::time::Duration;

/// One connection over time.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionCadence {
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) segments: u64,
    /// When it was first sampled.
    pub(super) first: Option<Moment>,
    /// The most that was sent in one interval: its longest request.
    pub(super) longest_request: u64,
    /// For how long nothing was sent or received, as of the last sample.
    pub(super) silent: Duration,
    /// The last message was a request, of an agent that owes a turn.
    pub(super) is_unanswered: bool,
    deltas: VecDeque<ConnectionDelta>,
    /// The last intervals in which anything was transferred.
    exchanges: VecDeque<ConnectionDelta>,
}

/// What one connection transferred in one interval.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionDelta {
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) segments: u64,
    pub(super) elapsed: Duration,
}

impl ConnectionCadence {
    /// Takes one interval; `known`: it is not the first of this connection.
    pub(super) fn record(&mut self, tcp: &Tcp, delta: ConnectionDelta, known: bool) {
        self.received = tcp.received;
        self.acked = tcp.acked;
        self.segments = tcp.segments_in;
        self.silent = tcp.sent_ago.min(tcp.received_ago);
        self.longest_request = self.longest_request.max(delta.acked);
        if !known {
            return;
        }
        push(&mut self.deltas, delta);
        if delta.received == 0 && delta.acked == 0 {
            return;
        }
        // A question and its answer may fall on both sides of a sample.
        match self.exchanges.back_mut() {
            Some(last) if last.received == 0 && delta.acked == 0 => {
                last.received += delta.received;
            }
            Some(_) | None => push(&mut self.exchanges, delta),
        }
    }

    /// Whether this interval sends again what was asked last, after a silence of at least `patience`.
    pub(super) fn asks_again(&self, delta: &ConnectionDelta, patience: Duration) -> bool {
        self.is_unanswered
            && self.silent >= patience
            && delta.received <= thresholds::PING_BYTES
            && delta.acked <= self.longest_request + thresholds::SAME_REQUEST
            && delta.acked + thresholds::HEADERS_KNOWN >= self.longest_request
    }

    /// Whether all that arrives are keep-alive messages: equal small segments at a slow pace, in every interval.
    pub(super) fn is_keepalive(&self) -> bool {
        let sizes: Vec<u64> = self
            .deltas
            .iter()
            .filter(|s| s.segments > 0)
            .map(|s| s.received / s.segments)
            .collect();
        let elapsed: Duration = self.deltas.iter().map(|s| s.elapsed).sum();
        let segments: u64 = self.deltas.iter().map(|s| s.segments).sum();
        let (Some(small), Some(large)) = (sizes.iter().min(), sizes.iter().max()) else {
            return false;
        };
        // Who asks each time is answered, and not kept alive.
        let most = if self.deltas.iter().all(|s| s.acked == 0) {
            thresholds::HEARTBEAT_BYTES
        } else {
            thresholds::PING_BYTES
        };
        self.deltas.len() >= thresholds::CADENCE_SAMPLES
            && *large <= most
            && large - small <= 2
            && elapsed.as_secs_f64()
                >= thresholds::PING_INTERVAL_MIN.as_secs_f64() * segments as f64
    }

    /// Whether it says more than it hears: short messages, with shorter answers. So does telemetry.
    pub(super) fn only_reports(&self) -> bool {
        let reports = |s: &ConnectionDelta| {
            s.acked > s.received
                && s.acked <= thresholds::SMALL_EXCHANGE
                && s.received <= thresholds::POLL_BYTES
        };
        self.exchanges.len() >= thresholds::EXCHANGES && self.exchanges.iter().all(reports)
    }

    /// Whether the client asks the same small question again and again and gets the same small answer, or none: it polls a
    /// queue, or keeps an idle connection alive by messages of its own. A late sample sees several of them at once.
    pub(super) fn is_polled(&self) -> bool {
        let least = |of: fn(&ConnectionDelta) -> u64| {
            let sizes = self.exchanges.iter().map(of);
            sizes.filter(|size| *size > 0).min().unwrap_or(0)
        };
        let (question, answer) = (least(|s| s.acked), least(|s| s.received));
        let most = if answer == 0 {
            thresholds::PING_BYTES
        } else {
            thresholds::POLL_BYTES
        };
        let count = |of: fn(&ConnectionDelta) -> u64, size: u64| -> Option<u64> {
            self.exchanges.iter().map(|s| repeats(of(s), size)).sum()
        };
        let (asked, answered) = (count(|s| s.acked, question), count(|s| s.received, answer));
        // A sample may come between a question and its answer: only their sums are equal, but for one that is open.
        let pairs = |(asked, answered): (u64, u64)| answer == 0 || asked.abs_diff(answered) <= 1;
        self.exchanges.len() >= thresholds::EXCHANGES
            && question > 0
            && question.max(answer) <= most
            && asked.zip(answered).is_some_and(pairs)
    }
}

/// How many messages of about this size these bytes are; none when they are not. A counter in a message may grow by two
/// digits.
fn repeats(bytes: u64, size: u64) -> Option<u64> {
    if bytes == 0 {
        return Some(0);
    }
    let times = (bytes + size / 2).checked_div(size)?;
    let slack = match times {
        0 | 1 => 2,
        _ => (2 * times).min(size / 4),
    };
    (bytes.abs_diff(times * size) <= slack).then_some(times)
}

fn push(deltas: &mut VecDeque<ConnectionDelta>, delta: ConnectionDelta) {
    deltas.push_back(delta);
    if deltas.len() > thresholds::CADENCE_SAMPLES {
        deltas.pop_front();
    }
}

/// Output over time, in spans whose length does not depend on patience, so that the pace shows.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputCadence {
    spans: VecDeque<OutputSpan>,
    /// The last intervals in which anything was written: bytes, writes, and the time since the one before.
    lines: VecDeque<OutputSpan>,
    /// Since the last of them.
    quiet: Duration,
}

#[derive(Clone, Copy, Debug)]
struct OutputSpan {
    bytes: u64,
    writes: u64,
    elapsed: Duration,
}

impl OutputCadence {
    /// Takes one interval.
    pub(super) fn record(&mut self, bytes: u64, writes: u64, elapsed: Duration) {
        self.quiet += elapsed;
        if bytes > 0 {
            let elapsed = std::mem::take(&mut self.quiet);
            self.lines.push_back(OutputSpan {
                bytes,
                writes,
                elapsed,
            });
            if self.lines.len() > thresholds::CADENCE_SAMPLES {
                self.lines.pop_front();
            }
        }
        match self.spans.back_mut().filter(|last| !last.is_whole()) {
            Some(last) => {
                last.bytes += bytes;
                last.writes += writes;
                last.elapsed += elapsed;
            }
            None => self.spans.push_back(OutputSpan {
                bytes,
                writes,
                elapsed,
            }),
        }
        if self.spans.len() > thresholds::CADENCE_SAMPLES + 1 {
            self.spans.pop_front();
        }
    }

    /// For how long all output was writes of one length at a steady pace: a line that is repeated says nothing new. The 8-byte
    /// counters with which threads wake each other may stand between them.
    pub(super) fn equal_lines(&self) -> Option<Duration> {
        let exact = self.lines.iter().filter(|l| l.bytes % l.writes.max(1) == 0);
        let length = exact.map(|l| l.bytes / l.writes.max(1)).max()?;
        // A line that comes just before a sample and one just after it look three samples apart, and then one: two together show
        // the pace.
        let lines = self.lines.iter();
        let pairs = lines.clone().zip(lines.skip(1));
        let paces = pairs.map(|(one, other)| one.plus(other).pace());
        let even = self.lines.len() >= thresholds::CADENCE_SAMPLES
            && self.lines.iter().all(|l| l.is_of_lines(length))
            && spread(paces) <= thresholds::PACE_SPREAD;
        even.then(|| self.lines.iter().map(|l| l.elapsed).sum())
    }

    /// Frames of any length at this pace or a quicker one, a second, in every span: a screen that is redrawn all the time.
    pub(super) fn is_redrawn(&self, pace: f64) -> bool {
        let mut whole = self.spans.iter().filter(|w| w.is_whole());
        whole.clone().count() >= thresholds::CADENCE_SAMPLES && whole.all(|w| w.pace() >= pace)
    }

    /// For how long all output was the frames of a spinner: equal short writes, several a second, in every span.
    pub(super) fn spinner(&self) -> Option<Duration> {
        let whole: Vec<&OutputSpan> = self.spans.iter().filter(|w| w.is_whole()).collect();
        let sizes = whole.iter().map(|w| w.size());
        let paces = whole.iter().map(|w| w.pace());
        let small = self
            .spans
            .iter()
            .all(|w| w.size() <= thresholds::FRAME_BYTES);
        let even = whole.len() >= thresholds::CADENCE_SAMPLES
            && small
            && paces
                .clone()
                .all(|pace| pace >= thresholds::FRAMES_PER_SECOND)
            && spread(sizes) <= thresholds::FRAME_SPREAD
            && spread(paces) <= thresholds::PACE_SPREAD;
        even.then(|| self.spans.iter().map(|w| w.elapsed).sum())
    }
}

impl OutputSpan {
    fn is_whole(&self) -> bool {
        self.elapsed >= thresholds::FRAMES_WINDOW
    }

    /// Whether it is whole lines of this length, with 8-byte counters between them or not.
    fn is_of_lines(&self, length: u64) -> bool {
        let (whole, counter) = (length.saturating_mul(self.writes), 8);
        match (whole.checked_sub(self.bytes), length.checked_sub(counter)) {
            (Some(0), _) => true,
            (Some(less), Some(each)) if each > 0 => {
                less % each == 0 && less / each <= self.writes / 2
            }
            (Some(_) | None, Some(_) | None) => false,
        }
    }

    fn plus(&self, other: &Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            writes: self.writes + other.writes,
            elapsed: self.elapsed + other.elapsed,
        }
    }

    /// Mean bytes per write.
    fn size(&self) -> f64 {
        self.bytes as f64 / self.writes.max(1) as f64
    }

    /// Writes per second.
    fn pace(&self) -> f64 {
        self.writes as f64 / self.elapsed.as_secs_f64().max(0.001)
    }
}

/// A share of a core, as a mean over a time that does not depend on patience: bursts are short.
#[derive(Clone, Debug, Default)]
pub(super) struct MeanShare(VecDeque<(f64, Duration)>);

impl MeanShare {
    /// Takes one interval.
    pub(super) fn record(&mut self, share: f64, elapsed: Duration) {
        self.0.push_back((share, elapsed));
        while self.length() > thresholds::MEAN_SHARE_OVER * 2 {
            self.0.pop_front();
        }
    }

    /// Zero while it is not known for long enough.
    pub(super) fn mean(&self) -> f64 {
        let length = self.length();
        if length < thresholds::MEAN_SHARE_OVER {
            return 0.0;
        }
        let used: f64 = self
            .0
            .iter()
            .map(|(share, e)| share * e.as_secs_f64())
            .sum();
        used / length.as_secs_f64()
    }

    fn length(&self) -> Duration {
        self.0.iter().map(|(_, elapsed)| *elapsed).sum()
    }
}

/// The difference of the largest and the smallest, as a share of the largest.
fn spread(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let large = numbers.clone().fold(0.0, f64::max);
    let small = numbers.fold(f64::MAX, f64::min);
    if large == 0.0 {
        0.0
    } else {
        (large - small) / large
    }
}
