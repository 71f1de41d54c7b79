//! sd_notify to the service manager that started this program: systemd, or whatever sets `NOTIFY_SOCKET`.

use nix::time::{ClockId, clock_gettime};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// Its variables: children are not of its concern, and must not be given them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The service manager above, if there is one that wants to be notified. Messages are sent at once or dropped: nothing
/// depends on its reading them.
#[derive(Clone, Debug)]
pub struct ServiceManager {
    to: Option<Arc<(UnixDatagram, SocketAddr)>>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As this process's environment names it.
    pub fn find() -> Self {
        let Ok(socket) = std::env::var("NOTIFY_SOCKET") else {
            return Self::none();
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|time| ours && *time > 0);
        Self::at(&socket, watchdog.map(Duration::from_micros))
    }

    /// One that listens there: a path, or a name behind `@`. None when that is no address of a socket.
    pub fn at(socket: &str, watchdog: Option<Duration>) -> Self {
        let address = match socket.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(socket),
        };
        let from = UnixDatagram::unbound().and_then(|from| {
            from.set_nonblocking(true)?;
            Ok(from)
        });
        match (from, address) {
            (Ok(from), Ok(address)) => Self {
                to: Some(Arc::new((from, address))),
                watchdog,
            },
            (Err(_), _) | (_, Err(_)) => Self::none(),
        }
    }

    fn none() -> Self {
        Self {
            to: None,
            watchdog: None,
        }
    }

    /// Whether one is there.
    pub fn is_there(&self) -> bool {
        self.to.is_some()
    }

    /// The time after which its watchdog ends a program that gave no sign of life; `None` without a watchdog.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start, or a reload, is over.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The configuration is read again, until [`Self::ready`]. The time shows which request this answers.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// A sign of life for its watchdog.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// One line for people.
    pub fn status(&self, line: &str) {
        self.send(&format!("STATUS={}", line.replace('\n', " ")));
    }

    fn send(&self, message: &str) {
        if let Some(to) = &self.to {
            let (from, address) = &**to;
            let _ = from.send_to_addr(message.as_bytes(), address); // it does not read: nothing depends on it
        }
    }
}
