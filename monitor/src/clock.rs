//! The two clocks: one to decide by, one to show.

use heartbeat::base::moment::{Moment, millis};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `CLOCK_BOOTTIME`: goes on while the machine sleeps, never jumps.
pub(crate) fn now() -> Moment {
    // It cannot fail on a kernel this program runs on; zero would only make durations short.
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Moment::from_millis(millis(since_boot))
}

/// Unix milliseconds, for people.
pub(crate) fn wall_ms() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
