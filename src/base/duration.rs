//! Durations as text for people.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// From here on seconds are left out.
const SECONDS_UNTIL: u64 = 10 * MINUTE;

/// A duration as it is shown: `0.8 s`, `35 s`, `6 min 12 s`, `11 min`, `2 h 5 min`, `3 d 4 h`. Cut, never rounded up, so
/// that no time is shown before it has passed.
pub fn format_duration(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0..10 if of.subsec_millis() >= 100 => {
            format!("{seconds}.{} s", of.subsec_millis() / 100)
        }
        0..MINUTE => format!("{seconds} s"),
        MINUTE..SECONDS_UNTIL => two(seconds / MINUTE, "min", seconds % MINUTE, "s"),
        SECONDS_UNTIL..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "min"),
        DAY.. => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
    }
}

/// A duration in one unit, for narrow columns: `9 s`, `11 min`, `2 h`, `3 d`. Cut, never rounded up.
pub fn format_short(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds} s"),
        MINUTE..HOUR => format!("{} min", seconds / MINUTE),
        HOUR..DAY => format!("{} h", seconds / HOUR),
        DAY.. => format!("{} d", seconds / DAY),
    }
}

/// Both units; the smaller one only when it is not zero.
fn two(large: u64, unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_at_most_two_units() {
        for (millis, text) in [
            (0, "0 s"),
            (50, "0 s"),
            (850, "0.8 s"),
            (9_999, "9.9 s"),
            (35_900, "35 s"),
            (97_000, "1 min 37 s"),
            (120_000, "2 min"),
            (372_000, "6 min 12 s"),
            (660_000, "11 min"),
            (7_500_000, "2 h 5 min"),
            (7_200_000, "2 h"),
            (273_600_000, "3 d 4 h"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn a_short_duration_has_one_unit() {
        let short = [900, 59_000, 372_000, 7_500_000, 273_600_000];
        let short = short.map(|millis| format_short(Duration::from_millis(millis)));
        assert_eq!(short, ["0 s", "59 s", "6 min", "2 h", "3 d"]);
    }
}
