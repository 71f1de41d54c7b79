//! Numbers as other languages send them: parsed once, bounded, never NaN.
//!
//! JSON of JavaScript and Python carries integers as floats (`1764000000000.5`), so a count is taken from either
//! and cut to a whole number. Beyond 2^53 neither language counts exactly, so larger numbers are none.
//!
//! Where a number decides something (an epoch, a slot), a value that is none is an error. Where it is only shown (a figure,
//! a time), it costs itself: it is left out or 0, and what stands beside it counts.

use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// The largest whole number that JSON readers in every language keep exactly: 2^53 - 1.
pub const COUNT_MAX: u64 = (1 << 53) - 1;

/// Reads a whole number from 0 to [`COUNT_MAX`].
pub(crate) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    count_if_any(from)?.ok_or_else(|| {
        de::Error::custom(format_args!(
            "expected a whole number from 0 to {COUNT_MAX}"
        ))
    })
}

/// As [`count`]; 0 for everything else.
pub(crate) fn count_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    count_if_any(from).map(Option::unwrap_or_default)
}

/// As [`count`]; `None` for everything else.
pub(crate) fn count_if_any<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(match from.deserialize_any(AnyNumber)? {
        Some(Number::Whole(n)) => Some(n).filter(|n| *n <= COUNT_MAX),
        Some(Number::Float(n)) => Some(n).filter(is_counted).map(|n| n as u64),
        None => None,
    })
}

/// Reads a finite number from 0 to [`COUNT_MAX`]; 0 for everything else.
pub(crate) fn amount_or_zero<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    let amount = finite(from)?.filter(is_counted);
    Ok(amount.unwrap_or_default())
}

/// Reads a finite number; `None` for everything else.
pub(crate) fn finite<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    Ok(match from.deserialize_any(AnyNumber)? {
        Some(Number::Whole(n)) => Some(n as f64),
        Some(Number::Float(n)) => Some(n).filter(|n| n.is_finite()),
        None => None,
    })
}

fn is_counted(n: &f64) -> bool {
    (0.0..=COUNT_MAX as f64).contains(n)
}

/// A number of JSON; one below zero is a float.
enum Number {
    Whole(u64),
    Float(f64),
}

/// Takes every value; `None` for one that is no number.
struct AnyNumber;

impl<'de> Visitor<'de> for AnyNumber {
    type Value = Option<Number>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Some(Number::Whole(n)))
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Some(Number::Float(n as f64)))
    }

    fn visit_f64<E: de::Error>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Some(Number::Float(n)))
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        IgnoredAny.visit_map(map).map(|_| None)
    }
}
