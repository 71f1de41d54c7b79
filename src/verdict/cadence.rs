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
    deltas: VecDeque<ConnectionDelta>,
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
        if known {
            self.deltas.push_back(delta);
            if self.deltas.len() > thresholds::CADENCE_SAMPLES {
                self.deltas.pop_front();
            }
        }
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
        self.deltas.len() >= thresholds::CADENCE_SAMPLES
            && *large <= thresholds::PING_BYTES
            && large - small <= 2
            && elapsed.as_secs_f64()
                >= thresholds::PING_INTERVAL_MIN.as_secs_f64() * segments as f64
    }

    /// Whether something was sent in every interval in which something was received: the agent polls.
    pub(super) fn is_polled(&self) -> bool {
        self.deltas
            .iter()
            .all(|s| (s.received == 0) == (s.acked == 0))
    }
}

/// Output over time, in spans whose length does not depend on patience, so that the pace shows.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputCadence {
    spans: VecDeque<OutputSpan>,
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

    /// Mean bytes per write.
    fn size(&self) -> f64 {
        self.bytes as f64 / self.writes.max(1) as f64
    }

    /// Writes per second.
    fn pace(&self) -> f64 {
        self.writes as f64 / self.elapsed.as_secs_f64().max(0.001)
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
