//! Restarts that cost, and what follows when none is left: the crash loop of an agent that fails or hangs, also of one that
//! another program goes on starting.

use super::{Effect, Lifecycle, NOW, Phase, Restart, Stage, Then};
use crate::base::moment::Moment;
use std::time::Duration;

/// An incarnation that lasts for so long is in no crash loop, or for the window where that is shorter (design of the ladder:
/// the same exit three times with less uptime).
const LASTS: Duration = Duration::from_secs(30);

impl Lifecycle {
    /// Whether the ends of the last incarnations are a crash loop, or no restart is left for a hang.
    pub fn is_crash_loop(&self) -> bool {
        self.crash_loop
    }

    /// Whether the present incarnation has still to last until the crash loop before it is over.
    pub fn has_to_last(&self) -> bool {
        self.is_running() && self.lasts_at.is_some()
    }

    /// Whether another program starts it.
    pub(super) fn is_followed(&self) -> bool {
        self.policy.restart == Restart::Follow
    }

    /// When the incarnation that starts now has lasted, if a crash loop came before it.
    pub(super) fn lasts_at(&self, now: Moment) -> Option<Moment> {
        self.crash_loop
            .then_some(now + LASTS.min(self.policy.window))
    }

    /// A failure costs a restart of the window.
    pub(super) fn failed(&mut self, now: Moment, random: f64) -> Then {
        let then = self.budget.charge(&self.policy, now, random);
        self.crash_loop = then == Then::CrashLoop;
        then
    }

    /// Another program starts the next one, at a time of its own, whatever the budget says. The crash loop is reported once.
    pub(super) fn followed_failed(
        &mut self,
        was_crash_loop: bool,
        now: Moment,
        random: f64,
    ) -> Then {
        if self.policy.restarts_max == 0 {
            return NOW;
        }
        match self.failed(now, random) {
            Then::CrashLoop if !was_crash_loop => Then::CrashLoop,
            Then::CrashLoop | Then::Start { .. } | Then::End => NOW,
        }
    }

    /// The restart costs like any other. With none left the agent stays as it is, and the monitor must act.
    pub(super) fn restart_charged(&mut self, now: Moment, random: f64) -> Vec<Effect> {
        if self.phase != Phase::Running || self.policy.restart == Restart::Never {
            return Vec::new();
        }
        match self.budget.charge(&self.policy, now, random) {
            Then::Start { delay } => {
                self.requested = true;
                // Another program restarts it, at a time of its own.
                let then = if self.is_followed() {
                    NOW
                } else {
                    Then::Start { delay }
                };
                self.enter_stopping(Stage::Stopping, self.policy.grace, then, now);
                vec![Effect::TakeEvidence, Effect::RequestStop]
            }
            Then::CrashLoop | Then::End if std::mem::replace(&mut self.crash_loop, true) => {
                Vec::new()
            }
            Then::CrashLoop | Then::End => vec![Effect::ReportCrashLoop],
        }
    }
}
