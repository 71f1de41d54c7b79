//! Numbers as other languages send them: parsed once, bounded, never NaN.
//!
//! JSON of JavaScript and Python carries integers as floats (`1764000000000.5`), so a count is taken from either
//! and cut to a whole number. Beyond 2^53 neither language counts exactly, so larger numbers are refused.

use serde::de::{self, Deserializer, Visitor};
use std::fmt;

/// The largest whole number that JSON readers in every language keep exactly: 2^53 - 1.
pub const COUNT_MAX: u64 = (1 << 53) - 1;

/// Reads a whole number from 0 to [`COUNT_MAX`].
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    from.deserialize_any(CountVisitor)
}

/// Reads a finite number from 0 to [`COUNT_MAX`].
pub(crate) fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    from.deserialize_any(AmountVisitor)
}

/// As [`amount`], or `null`.
pub(crate) fn amount_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    from.deserialize_any(OrNull)
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from 0 to {COUNT_MAX}")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<u64, E> {
        if n <= COUNT_MAX {
            Ok(n)
        } else {
            Err(E::invalid_value(de::Unexpected::Unsigned(n), &self))
        }
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<u64, E> {
        u64::try_from(n).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<u64, E> {
        AmountVisitor.visit_f64(n).map(|n| n as u64)
    }
}

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from 0 to {COUNT_MAX}")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<f64, E> {
        CountVisitor.visit_u64(n).map(|n| n as f64)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<f64, E> {
        CountVisitor.visit_i64(n).map(|n| n as f64)
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<f64, E> {
        if n.is_finite() && (0.0..=COUNT_MAX as f64).contains(&n) {
            Ok(n)
        } else {
            Err(E::invalid_value(de::Unexpected::Float(n), &self))
        }
    }
}

struct OrNull;

impl Visitor<'_> for OrNull {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "null or a number from 0 to {COUNT_MAX}")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<f64>, E> {
        Ok(None)
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Option<f64>, E> {
        AmountVisitor.visit_u64(n).map(Some)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Option<f64>, E> {
        AmountVisitor.visit_i64(n).map(Some)
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Option<f64>, E> {
        AmountVisitor.visit_f64(n).map(Some)
    }
}
