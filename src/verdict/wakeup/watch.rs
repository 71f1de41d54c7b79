//! For how long the same threads have been doomed, without one of them waking.

use super::graph::{Doom, DoomedThread, doom};
use super::sentence::assessment;
use crate::verdict::active_clock::ActiveClock;
use crate::verdict::assessment::Assessment;
use crate::verdict::rule::RuleId;
use crate::verdict::thresholds;
use crate::verdict::tree_view::TreeView;
use crate::wire::activity::Verdict;
use std::time::Duration;

/// What the last samples in a row showed.
#[derive(Clone, Debug, Default)]
pub(in crate::verdict) struct DoomWatch {
    threads: Vec<DoomedThread>,
    /// On the active clock.
    since: Duration,
    samples: u32,
}

impl DoomWatch {
    /// Takes a deep sample in which nothing moved. A proof, once the same threads have been doomed for as long as the rule asks
    /// and none of them was scheduled. A one-off diagnosis says before what it would be, as a suspicion.
    pub(in crate::verdict) fn observe(
        &mut self,
        view: &TreeView<'_>,
        clock: &ActiveClock,
    ) -> Option<Assessment> {
        let found = doom(view.sample).filter(|d| view.is_work_due() || !d.may_rest(view.sample));
        let Some(doom) = found else {
            self.interrupt();
            return None;
        };
        self.count(&doom, clock.elapsed());
        let lasted = clock.elapsed().saturating_sub(self.since);
        let needed = clock.scaled(RuleId::Doomed.rule().lasts());
        if self.samples >= thresholds::DOOMED_SAMPLES && lasted >= needed {
            return Some(assessment(view, &doom));
        }
        clock.is_one_off().then(|| {
            let mut likely = assessment(view, &doom);
            likely.verdict = Verdict::Stalled;
            likely.sentence += "; would be proof if it holds: use --watch";
            likely
        })
    }

    /// The machine was suspended or gave the agent too little, or something moved.
    pub(in crate::verdict) fn interrupt(&mut self) {
        self.samples = 0;
    }

    fn count(&mut self, doom: &Doom, elapsed: Duration) {
        if self.samples == 0 || self.threads != doom.threads {
            self.threads.clone_from(&doom.threads);
            self.since = elapsed;
            self.samples = 0;
        }
        self.samples += 1;
    }
}
