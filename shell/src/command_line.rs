//! Values of the command line and of the environment, and how a bad one is reported.

use crate::log_writer::complain;
use heartbeat::wire::beat::{INTERVAL_MAX, INTERVAL_MIN};
use std::time::Duration;

/// Exit code for a bad command line.
pub const USAGE: u8 = 2;
/// The longest duration that a flag accepts.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reports a bad command line in one line on standard error, or prints the help or version that was requested.
/// Returns the exit code: 0 or [`USAGE`].
pub fn refuse(program: &str, error: &clap::Error) -> u8 {
    if !error.use_stderr() {
        let _ = error.print(); // standard output is closed: the help has no reader
        return 0;
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    let mut line = lines
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    // clap names what is missing on the next line.
    if line.ends_with(':') {
        line = format!("{line} {}", lines.next().unwrap_or_default());
    }
    complain(program, &format!("{line}; see {program} --help"));
    USAGE
}

/// The first of these environment variables that is set and not empty.
pub fn first_set(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// A duration with its unit, as in `30s`, `500ms` or `5m`; at most one year.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; write it as in 30s, 500ms or 5m"))?;
    if duration <= DURATION_MAX {
        Ok(duration)
    } else {
        Err("must be at most a year".to_owned())
    }
}

/// A time between beats: [`INTERVAL_MIN`] to [`INTERVAL_MAX`].
pub fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        Ok(interval)
    } else {
        Err("must be from 100ms to 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_end() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert!(duration("soon").unwrap_err().contains("30s"));
        assert!(duration("400d").unwrap_err().contains("year"));
    }

    #[test]
    fn intervals_are_100_ms_to_1_h() {
        assert_eq!(interval("1h"), Ok(INTERVAL_MAX));
        for text in ["99ms", "61m", "0s"] {
            assert!(interval(text).unwrap_err().contains("100ms to 1h"));
        }
    }
}
