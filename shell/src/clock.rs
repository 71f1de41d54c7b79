//! The two clocks: one to decide by, one to display.

use heartbeat::base::moment::{Moment, millis};
use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `CLOCK_BOOTTIME` in milliseconds: advances while the machine is suspended, never jumps.
pub fn now() -> Moment {
    // It cannot fail on a kernel this program runs on; zero would only make durations short.
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from);
    Moment::from_millis(millis(since_boot))
}

/// The wall clock in Unix milliseconds: displayed, never compared.
pub fn wall_ms() -> u64 {
    millis(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    )
}
