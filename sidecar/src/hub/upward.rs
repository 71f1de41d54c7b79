//! Notifies the service manager upwards: a `Type=notify` unit around hbsidecar learns when the agent is ready, what it does,
//! that it ends, and that hbsidecar lives. The agent speaks to a socket of its own; the one of its unit is hbsidecar's.

use super::Hub;
use crate::clock;
use hbshell::service_manager::ServiceManager;
use heartbeat::base::moment::Moment;
use heartbeat::wire::beat::cut;
use std::time::Duration;

/// The longest status, in characters.
const STATUS_CHARS_MAX: usize = 200;

/// What the service manager was notified of, and what it is due.
pub(super) struct Upward {
    to: ServiceManager,
    /// Half of its watchdog's time, and when the next sign of life is due.
    watchdog: Option<(Duration, Moment)>,
    ready: bool,
    stopping: bool,
    status: String,
}

impl Upward {
    /// To the service manager that this process's environment names.
    pub(super) fn find(now: Moment) -> Self {
        let to = ServiceManager::find();
        Self {
            watchdog: to.watchdog().map(|time| (time / 2, now)),
            to,
            ready: false,
            stopping: false,
            status: String::new(),
        }
    }

    /// When the next sign of life is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.watchdog.map(|(_, at)| at)
    }

    fn status(&mut self, status: String) {
        if self.status != status {
            self.to.status(&status);
            self.status = status;
        }
    }
}

impl Hub {
    /// Notifies the service manager of what has changed.
    pub(super) fn notify_upwards(&mut self) {
        if !self.above.to.is_there() {
            return;
        }
        let now = clock::now();
        if let Some((every, at)) = &mut self.above.watchdog
            && *at <= now
        {
            *at = now + *every;
            self.above.to.alive();
        }
        let pid = self.pid();
        let ends = self.agent.life.is_stop_requested() || self.outcome.is_some();
        if ends && !self.above.stopping {
            self.above.stopping = true;
            self.above.to.stopping();
        }
        let report = &self.watch.report;
        // One that watches agents of others has started when it watches: its agent may come days later.
        let runs = match pid {
            Some(_) => !self.watch.is_starting(),
            None => !self.config.work.starts_agents(),
        };
        if runs && !self.above.ready {
            self.above.ready = true;
            self.above.to.ready();
        }
        let own = report.status_text().or(report.task());
        let status = match (own, pid) {
            (Some(own), _) => cut(own.to_owned(), STATUS_CHARS_MAX),
            (None, Some(pid)) => format!("the agent {} runs as process {pid}", self.config.id),
            (None, None) => format!("no process of the agent {}", self.config.id),
        };
        self.above.status(status);
    }
}
