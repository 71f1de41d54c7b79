//! The evidence before an end: a close look, put on a card.

use super::Sampler;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::Judgement;
use heartbeat::verdict::sample::SampleDepth;
use heartbeat::verdict::snapshot;
use heartbeat::wire::evidence_snapshot::EvidenceSnapshot;

/// Looks once more and writes down what is there. `last_lines` are what the agent last wrote or reported, oldest first.
/// Reads files of /proc and asks the kernel, nothing that waits for the agent: milliseconds, not seconds.
pub(crate) fn snapshot(
    evidence: &mut Sampler,
    root: u32,
    orphans: &[u32],
    judgement: Option<&Judgement>,
    last_lines: Vec<String>,
    now: Moment,
) -> EvidenceSnapshot {
    let sample = evidence.sample(root, orphans, SampleDepth::Waits, now);
    snapshot::snapshot(&sample, judgement, last_lines)
}
