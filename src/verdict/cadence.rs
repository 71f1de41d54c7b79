//! The pace of connections and of output: pings come in equal small pieces at a slow beat and tokens do not; the frames
//! of a spinner come in equal small pieces at a quick one.

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
    /// When it was first seen.
    pub(super) first: Option<Moment>,
    steps: VecDeque<ConnectionDelta>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionDelta {
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) segments: u64,
    pub(super) elapsed: Duration,
}

impl ConnectionCadence {
    /// One more look; `known`: it was seen before.
    pub(super) fn record(&mut self, tcp: &Tcp, step: ConnectionDelta, known: bool) {
        self.received = tcp.received;
        self.acked = tcp.acked;
        self.segments = tcp.segments_in;
        if known {
            self.steps.push_back(step);
            if self.steps.len() > thresholds::CADENCE_SAMPLES {
                self.steps.pop_front();
            }
        }
    }

    /// Small equal pieces at a slow beat, look after look.
    pub(super) fn is_keepalive(&self) -> bool {
        let sizes: Vec<u64> = self
            .steps
            .iter()
            .filter(|s| s.segments > 0)
            .map(|s| s.received / s.segments)
            .collect();
        let elapsed: Duration = self.steps.iter().map(|s| s.elapsed).sum();
        let segments: u64 = self.steps.iter().map(|s| s.segments).sum();
        let (Some(small), Some(large)) = (sizes.iter().min(), sizes.iter().max()) else {
            return false;
        };
        self.steps.len() >= thresholds::CADENCE_SAMPLES
            && *large <= thresholds::PING_BYTES
            && large - small <= 2
            && elapsed.as_secs_f64()
                >= thresholds::PING_INTERVAL_MIN.as_secs_f64() * segments as f64
    }

    /// Something was asked for every piece that came.
    pub(super) fn is_asked(&self) -> bool {
        self.steps
            .iter()
            .all(|s| (s.received == 0) == (s.acked == 0))
    }
}

/// Output over time, in windows of a length that shows the pace whatever the patience.
#[derive(Clone, Debug, Default)]
pub(super) struct OutputCadence {
    windows: VecDeque<OutputSpan>,
}

#[derive(Clone, Copy, Debug)]
struct OutputSpan {
    bytes: u64,
    writes: u64,
    elapsed: Duration,
}

impl OutputCadence {
    /// One more look.
    pub(super) fn record(&mut self, bytes: u64, writes: u64, elapsed: Duration) {
        match self.windows.back_mut().filter(|last| !last.is_whole()) {
            Some(last) => {
                last.bytes += bytes;
                last.writes += writes;
                last.elapsed += elapsed;
            }
            None => self.windows.push_back(OutputSpan {
                bytes,
                writes,
                elapsed,
            }),
        }
        if self.windows.len() > thresholds::CADENCE_SAMPLES + 1 {
            self.windows.pop_front();
        }
    }

    /// Equal short writes, many a second, window after window: frames of a spinner, and for how long.
    pub(super) fn animation(&self) -> Option<Duration> {
        let whole: Vec<&OutputSpan> = self.windows.iter().filter(|w| w.is_whole()).collect();
        let sizes = whole.iter().map(|w| w.size());
        let paces = whole.iter().map(|w| w.pace());
        let small = self
            .windows
            .iter()
            .all(|w| w.size() <= thresholds::FRAME_BYTES);
        let even = whole.len() >= thresholds::CADENCE_SAMPLES
            && small
            && paces
                .clone()
                .all(|pace| pace >= thresholds::FRAMES_PER_SECOND)
            && spread(sizes) <= thresholds::FRAME_SPREAD
            && spread(paces) <= thresholds::PACE_SPREAD;
        even.then(|| self.windows.iter().map(|w| w.elapsed).sum())
    }
}

impl OutputSpan {
    fn is_whole(&self) -> bool {
        self.elapsed >= thresholds::FRAMES_WINDOW
    }

    /// Mean bytes of a write.
    fn size(&self) -> f64 {
        self.bytes as f64 / self.writes.max(1) as f64
    }

    /// Writes a second.
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
