//! The evidence before an end: a close look, put on a card.

use super::Evidence;
use heartbeat::base::moment::Moment;
use heartbeat::verdict::Judgement;
use heartbeat::verdict::sample::Depth;
use heartbeat::verdict::snapshot::snapshot;
use heartbeat::wire::evidence_snapshot::Card;

/// Looks once more and writes down what is there. `last_lines` are what the agent last wrote or reported, oldest first.
/// Reads files of /proc and asks the kernel, nothing that waits for the agent: milliseconds, not seconds.
pub(crate) fn card(
    evidence: &mut Evidence,
    root: u32,
    orphans: &[u32],
    judgement: Option<&Judgement>,
    last_lines: Vec<String>,
    now: Moment,
) -> Card {
    let sample = evidence.sample(root, orphans, Depth::Waits, now);
    snapshot(&sample, judgement, last_lines)
}
