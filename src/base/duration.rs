//! Durations as text for people.

use std::time::Duration;

/// A duration as people say it: `0.8 s`, `35 s`, `4 m 12 s`, `3 h 5 m`, `2 d 4 h`.
pub fn format_duration(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0..10 if of.subsec_millis() >= 100 => format!("{:.1} s", of.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
