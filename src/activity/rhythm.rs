//! The pace of a connection: pings come in equal small pieces at a slow beat, tokens do not.

use super::limits;
use crate::evidence::Tcp;
use crate::moment::Moment;
use std::collections::VecDeque;
use std::time::Duration;

/// One connection over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) segments: u64,
    /// When it was first seen.
    pub(super) first: Option<Moment>,
    steps: VecDeque<Step>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) received: u64,
    pub(super) acked: u64,
    pub(super) segments: u64,
    pub(super) elapsed: Duration,
}

impl Line {
    /// One more look; `known`: it was seen before.
    pub(super) fn take(&mut self, tcp: &Tcp, step: Step, known: bool) {
        self.received = tcp.received;
        self.acked = tcp.acked;
        self.segments = tcp.segments_in;
        if known {
            self.steps.push_back(step);
            if self.steps.len() > limits::RHYTHM_LOOKS {
                self.steps.pop_front();
            }
        }
    }

    /// Small equal pieces at a slow beat, look after look.
    pub(super) fn is_rhythm(&self) -> bool {
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
        self.steps.len() >= limits::RHYTHM_LOOKS
            && *large <= limits::PING_BYTES
            && large - small <= 2
            && elapsed.as_secs_f64() >= limits::PING_EVERY_MIN.as_secs_f64() * segments as f64
    }

    /// Something was asked for every piece that came.
    pub(super) fn is_asked(&self) -> bool {
        self.steps
            .iter()
            .all(|s| (s.received == 0) == (s.acked == 0))
    }
}
