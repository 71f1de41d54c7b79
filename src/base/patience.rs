//! Patience: the factor on every waiting time. Parsed once, so that no other code needs to check its range.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The smallest factor: a limit of 10 min becomes 0.6 s.
pub const PATIENCE_MIN: f64 = 0.001;
/// The largest factor: a limit of 10 min becomes a week.
pub const PATIENCE_MAX: f64 = 1000.0;

/// A finite factor from [`PATIENCE_MIN`] to [`PATIENCE_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Patience(f64);

/// Why a text is no [`Patience`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from {PATIENCE_MIN} to {PATIENCE_MAX}")]
pub struct PatienceError;

impl Patience {
    /// Waiting times as they stand in the code.
    pub const ONE: Self = Self(1.0);

    /// The factor.
    ///
    /// # Errors
    /// When it is not finite or out of range.
    pub fn new(factor: f64) -> Result<Self, PatienceError> {
        if (PATIENCE_MIN..=PATIENCE_MAX).contains(&factor) {
            Ok(Self(factor))
        } else {
            Err(PatienceError)
        }
    }

    /// A waiting time with this patience.
    pub fn scale(self, time: Duration) -> Duration {
        time.mul_f64(self.0)
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Patience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<f64> for Patience {
    type Error = PatienceError;

    fn try_from(factor: f64) -> Result<Self, PatienceError> {
        Self::new(factor)
    }
}

impl FromStr for Patience {
    type Err = PatienceError;

    fn from_str(text: &str) -> Result<Self, PatienceError> {
        text.parse().map_err(|_| PatienceError).and_then(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_numbers_of_the_range_are_a_patience() {
        for text in ["0.001", "1", "3.5", "1000"] {
            assert!(text.parse::<Patience>().is_ok(), "{text}");
        }
        for text in [
            "", "x", "-1", "0", "0.0009", "1000.1", "nan", "NaN", "inf", "-inf", "1e999",
        ] {
            assert_eq!(text.parse::<Patience>(), Err(PatienceError), "{text}");
        }
        assert_eq!(
            PatienceError.to_string(),
            "must be a number from 0.001 to 1000"
        );
    }
}
