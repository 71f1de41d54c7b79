//! sd_notify upwards: a `Type=notify` unit around hbsidecar learns when the agent is ready, what it does, that it ends, and
//! that hbsidecar lives. The agent speaks to a socket of its own; the one of its unit is hbsidecar's.

use super::Hub;
use crate::clock;
use heartbeat::base::moment::Moment;
use heartbeat::wire::beat::cut;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The longest status, in characters.
const STATUS_CHARS_MAX: usize = 200;

/// The service manager above, if it wants to be notified.
pub(super) struct ServiceManager {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Half of its watchdog's time, and when the next sign of life is due.
    watchdog: Option<(Duration, Moment)>,
    ready: bool,
    stopping: bool,
    status: String,
}

impl ServiceManager {
    /// As this process's environment names it.
    pub(super) fn find(now: Moment) -> Self {
        let to = std::env::var("NOTIFY_SOCKET").ok().and_then(|socket| {
            let address = match socket.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name),
                None => SocketAddr::from_pathname(&socket),
            };
            let from = UnixDatagram::unbound().ok()?;
            from.set_nonblocking(true).ok()?;
            Some((from, address.ok()?))
        });
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| ours && to.is_some() && *time > 0);
        let watchdog = watchdog.map(|time| (Duration::from_micros(time) / 2, now));
        Self {
            to,
            watchdog,
            ready: false,
            stopping: false,
            status: String::new(),
        }
    }

    /// When the next sign of life is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        self.watchdog.map(|(_, at)| at)
    }

    fn send(&self, message: &str) {
        if let Some((from, address)) = &self.to {
            let _ = from.send_to_addr(message.as_bytes(), address); // it does not read: nothing depends on it
        }
    }

    fn status(&mut self, status: String) {
        if self.status != status {
            self.send(&format!("STATUS={status}"));
            self.status = status;
        }
    }
}

impl Hub {
    /// Notifies the service manager of what has changed.
    pub(super) fn notify_upwards(&mut self) {
        if self.above.to.is_none() {
            return;
        }
        let now = clock::now();
        if let Some((every, at)) = &mut self.above.watchdog
            && *at <= now
        {
            *at = now + *every;
            self.above.send("WATCHDOG=1");
        }
        let pid = self.pid();
        if self.agent.life.is_stop_requested() && !self.above.stopping {
            self.above.stopping = true;
            self.above.send("STOPPING=1");
        }
        let report = &self.watch.report;
        if pid.is_some() && !self.above.ready && !super::sampling::is_starting(report) {
            self.above.ready = true;
            self.above.send("READY=1");
        }
        let own = report.status_text().or(report.task());
        let status = match (own, pid) {
            (Some(own), _) => cut(own.replace('\n', " "), STATUS_CHARS_MAX),
            (None, Some(pid)) => format!("the agent {} runs as process {pid}", self.config.id),
            (None, None) => format!("no process of the agent {}", self.config.id),
        };
        self.above.status(status);
    }
}
