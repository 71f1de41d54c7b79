//! Ctrl-Z: the agent is suspended at its terminal, and hbsidecar with it, after the report is stored.

use super::Hub;
use super::agent::Stopped;
use crate::clock;
use crate::process::terminal::share;
use heartbeat::supervise::suspension::Suspension;
use heartbeat::wire::beat::Status;

impl Hub {
    /// The agent was stopped by this signal.
    pub(super) fn agent_stopped(&mut self, signal: i32) {
        match self.agent.stopped_by(signal) {
            Stopped::Ignored => {}
            Stopped::Suspend(signal) => {
                self.observe();
                self.agent.suspension = Some(Suspension::new(
                    signal,
                    self.publisher.next_sequence(),
                    self.publisher.is_connected(),
                    clock::now(),
                ));
                self.beat_as(Status::Stopped, false);
                self.suspend_when_stored();
            }
        }
    }

    /// Stops this process once the suspension is stored, or after 300 ms.
    pub(super) fn suspend_when_stored(&mut self) {
        let stored = self.publisher.stored_sequence();
        let Some(suspension) = &mut self.agent.suspension else {
            return;
        };
        let Some(stop) = suspension.handle(stored, clock::now()) else {
            return;
        };
        if let Some(signal) = stop.signal {
            share(signal); // ours stays blocked, and the CONT that follows discards it
        }
        // A refused stop has no remedy: then the agent is stopped and we are not.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGSTOP);
    }

    /// hbsidecar was resumed. The caller forwards the signal itself.
    pub(super) fn resume(&mut self) {
        self.agent.resumed();
        if self.agent.suspension.take().is_some() {
            self.beat();
        }
    }
}
