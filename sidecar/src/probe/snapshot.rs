//! The evidence before an action: a deep sample as an evidence snapshot.

use super::Sampler;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::Judgement;
use heartbeat::verdict::sample::SampleDepth;
use heartbeat::verdict::snapshot;
use heartbeat::wire::evidence_snapshot::EvidenceSnapshot;

/// Takes a deep sample. `last_lines` are the agent's last status lines, oldest first. Reads /proc and the kernel's sockets and
/// never waits for the agent: it takes milliseconds.
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
