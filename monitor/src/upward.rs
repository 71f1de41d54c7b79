//! Notifies the service manager upwards: that hbmonitor is ready, how the fleet is, and that hbmonitor lives.
//!
//! A sign of life needs an answer of the hub and a runtime that carries this task: what hangs is not kept alive.

use hbshell::service_manager::ServiceManager;
use std::time::Duration;

/// The longest time between two status lines.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Until the hub has ended: `status` asks it, and is not answered by one that hangs.
pub(crate) async fn inform<S, F>(to: ServiceManager, status: S)
where
    S: Fn() -> F,
    F: Future<Output = Option<String>>,
{
    if !to.is_there() {
        return;
    }
    // Twice in the watchdog's time, as sd_watchdog_enabled(3) advises.
    let watchdog = to.watchdog().map(|time| time / 2);
    let every = watchdog.map_or(STATUS_EVERY, |half| half.min(STATUS_EVERY));
    let (mut is_ready, mut last) = (false, String::new());
    while let Some(line) = status().await {
        if !std::mem::replace(&mut is_ready, true) {
            to.ready();
        }
        if watchdog.is_some() {
            to.alive();
        }
        if line != last {
            to.status(&line);
            last = line;
        }
        tokio::time::sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const WATCHDOG: Duration = Duration::from_millis(20);

    fn manager() -> (ServiceManager, UnixDatagram, tempfile::TempDir) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let to = ServiceManager::at(path.to_str().unwrap(), Some(WATCHDOG));
        (to, socket, place)
    }

    fn received(socket: &UnixDatagram) -> Vec<String> {
        let mut room = [0; 512];
        let message = || {
            let length = socket.recv(&mut room).ok()?;
            Some(String::from_utf8_lossy(&room[..length]).into_owned())
        };
        std::iter::from_fn(message).collect()
    }

    #[tokio::test]
    async fn a_hub_that_answers_is_ready_shown_and_alive_until_it_ends() {
        let (to, socket, _place) = manager();
        let asked = AtomicUsize::new(0);
        let status = async || {
            let count = asked.fetch_add(1, Ordering::Relaxed);
            (count < 3).then(|| format!("agents: {}", count.min(1)))
        };
        inform(to, status).await;
        assert_eq!(
            received(&socket),
            [
                "READY=1",
                "WATCHDOG=1",
                "STATUS=agents: 0",
                "WATCHDOG=1",
                "STATUS=agents: 1",
                "WATCHDOG=1",
            ]
        );
    }

    #[tokio::test]
    async fn a_hub_that_hangs_is_not_kept_alive() {
        let (to, socket, _place) = manager();
        let asked = AtomicUsize::new(0);
        let status = async || {
            if asked.fetch_add(1, Ordering::Relaxed) > 0 {
                std::future::pending::<()>().await;
            }
            Some(String::new())
        };
        let ended = tokio::time::timeout(Duration::from_secs(2), inform(to, status)).await;
        assert!(ended.is_err(), "it waits for the hub");
        assert_eq!(received(&socket), ["READY=1", "WATCHDOG=1"]);
    }
}
