//! The machine that all stories share: what a thread suffers that only sleeps is the machine's doing, and no fault of hb.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A part of the slack of an agent here, which is 100 ms: a beat goes through three processes.
const LATE: Duration = Duration::from_millis(25);
const PAUSE: Duration = Duration::from_millis(5);

/// When it was too busy the last time, in milliseconds since it is watched.
static BUSY_AT: AtomicU64 = AtomicU64::new(0);

/// Since when the machine is watched; from the first call on it is.
fn watched() -> Instant {
    static WATCHED: OnceLock<Instant> = OnceLock::new();
    *WATCHED.get_or_init(|| {
        let start = Instant::now();
        std::thread::spawn(move || {
            loop {
                let due = Instant::now() + PAUSE;
                std::thread::park_timeout(PAUSE);
                if Instant::now().saturating_duration_since(due) > LATE {
                    let at = start.elapsed().as_millis();
                    BUSY_AT.store(at.try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
                }
            }
        });
        start
    })
}

/// A time that is asked about later.
pub(crate) fn now() -> Instant {
    watched();
    Instant::now()
}

/// Whether the machine was too busy for the intervals of these stories since then.
pub(crate) fn was_busy_since(then: Instant) -> bool {
    let busy_at = BUSY_AT.load(Ordering::Relaxed);
    busy_at > 0 && watched() + Duration::from_millis(busy_at) >= then
}
