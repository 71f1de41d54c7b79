//! Values of the command line and of the environment, and how a bad one is reported.

use crate::log_writer::complain;
use clap::Parser;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use heartbeat::wire::beat::{INTERVAL_MAX, INTERVAL_MIN};
use std::ffi::OsStr;
use std::time::Duration;

/// Exit code for a bad command line.
pub const USAGE: u8 = 2;
/// The longest duration that a flag accepts.
const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses the command line and the environment. A variable that is empty counts as not set, as Compose's `${X:-}` makes it;
/// so does one that `inherits` does not accept.
///
/// # Errors
/// A bad command line, or the help that was requested: see [`refuse`].
pub fn parse<A: Parser>(inherits: impl Fn(&str) -> bool) -> Result<A, clap::Error> {
    let counts = |name: &OsStr| {
        std::env::var_os(name).is_some_and(|value| !value.is_empty())
            && name.to_str().is_some_and(&inherits)
    };
    let command = A::command().mut_args(|arg| {
        if arg.get_env().is_some_and(|name| !counts(name)) {
            arg.env(Resettable::Reset)
        } else {
            arg
        }
    });
    A::from_arg_matches(&command.try_get_matches()?)
}

/// Reports a bad command line in one line on standard error, or prints the help or version that was requested.
/// Returns the exit code: 0 or [`USAGE`].
pub fn refuse(program: &str, error: &clap::Error) -> u8 {
    refuse_with(program, error, None)
}

/// The same, with advice of the program's own.
pub fn refuse_with(program: &str, error: &clap::Error, advice: Option<&str>) -> u8 {
    if !error.use_stderr() {
        let _ = error.print(); // standard output is closed: the help has no reader
        return 0;
    }
    let text = error.to_string();
    let said = text
        .lines()
        .map(|line| line.trim().trim_start_matches("error: "))
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        // What follows `--` is no value of ours.
        .filter(|line| !line.is_empty() && !line.starts_with("tip: to pass "));
    let mut line = String::new();
    for part in said {
        // clap names what is missing on the next line, and what is possible in brackets.
        let joint = match (line.as_str(), part.starts_with('[')) {
            ("", _) => "",
            (line, false) if !line.ends_with(':') => "; ",
            _ => " ",
        };
        line = format!("{line}{joint}{part}");
    }
    if let Some(flag) = flag_before_negative(error) {
        line = format!("{line}; a value of {flag} is never negative");
    }
    if let Some(variable) = variable_at_fault(error) {
        line = format!("{line} (from the variable {variable})");
    }
    if let Some(advice) = advice {
        line = format!("{line}; {advice}");
    }
    complain(program, &format!("{line}; see {program} --help"));
    USAGE
}

/// The environment variable that the refused value came from, if it is not on the command line.
fn variable_at_fault(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = arg.split([' ', '=']).next()?;
    let name = flag.strip_prefix("--")?.to_ascii_uppercase();
    let variable = format!("HB_{}", name.replace('-', "_"));
    let given = std::env::args().any(|arg| arg == flag || arg.starts_with(&format!("{flag}=")));
    let set = std::env::var_os(&variable).is_some_and(|value| !value.is_empty());
    (set && !given).then_some(variable)
}

/// The flag whose value looks like a flag itself: `--grace -1s`.
fn flag_before_negative(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let is_unknown = error.kind() == ErrorKind::UnknownArgument;
    let digits = word.strip_prefix('-').filter(|_| is_unknown)?;
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let given: Vec<String> = std::env::args().collect();
    let at = given
        .iter()
        .position(|arg| arg.starts_with(word.as_str()))?;
    let flag = given.get(at.checked_sub(1)?)?;
    flag.starts_with("--").then(|| flag.clone())
}

/// What to say of variables that are no settings of `A` and look like one, as `HB_INTERVALL` does: with a few letters of
/// difference to one. Variables of other programs begin with `HB_` too. `more`: settings that are read beside the command
/// line.
pub fn misspelled<A: Parser>(more: &[&str]) -> Vec<String> {
    let given = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let given: Vec<String> = given.filter(|name| name.starts_with("HB_")).collect();
    // Most starts have none: the settings need not be listed for them.
    if given.is_empty() {
        return Vec::new();
    }
    let command = A::command();
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    let known: Vec<String> = variables
        .filter_map(OsStr::to_str)
        .chain(more.iter().copied())
        .map(str::to_owned)
        .collect();
    let mut notes: Vec<String> = given
        .iter()
        .filter_map(|name| misspelling(name, &known))
        .collect();
    notes.sort();
    notes
}

fn misspelling(name: &str, known: &[String]) -> Option<String> {
    let letters = name.strip_prefix("HB_")?.len();
    if known.iter().any(|k| k == name) {
        return None;
    }
    let most = if letters > 5 { 2 } else { 1 };
    let meant = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(k, name), k))
        .filter(|(distance, _)| *distance <= most)
        .min()?
        .1;
    Some(format!(
        "the variable {name} is not a setting and is not used; did you mean {meant}?"
    ))
}

/// The word that was refused because it is neither a flag nor known.
pub fn unknown_word(error: &clap::Error) -> Option<String> {
    let kind = if error.kind() == ErrorKind::UnknownArgument {
        ContextKind::InvalidArg
    } else if error.kind() == ErrorKind::InvalidSubcommand {
        ContextKind::InvalidSubcommand
    } else {
        return None;
    };
    let Some(ContextValue::String(word)) = error.get(kind) else {
        return None;
    };
    (!word.starts_with('-')).then(|| word.clone())
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
    fn a_variable_that_looks_like_a_setting_is_named() {
        let known = ["HB_INTERVAL", "HB_PID", "HB_RESTART"].map(str::to_owned);
        let meant = |name| misspelling(name, &known);
        assert!(meant("HB_INTERVALL").unwrap().contains("mean HB_INTERVAL?"));
        assert!(meant("HB_RESTRAT").unwrap().contains("mean HB_RESTART?"));
        for other in ["HB_PID", "HB_PORT", "HB_OPTIONS", "RESTART", "HB_"] {
            assert_eq!(meant(other), None, "{other}");
        }
    }

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
