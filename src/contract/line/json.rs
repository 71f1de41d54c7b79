//! Parses one JSON object into a line.

use crate::contract::line::LineError;
use crate::contract::line::key::Key;
use crate::contract::line::reading::Reading;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A JSON object whose known keys are set and whose unknown values, however deep, are skipped.
pub(super) struct Object<'a> {
    pub(super) reading: &'a mut Reading,
    pub(super) failed: &'a mut Option<LineError>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match Key::named(&name) {
                Some(key) => map.next_value_seed(Scalar {
                    reading: self.reading,
                    failed: self.failed,
                    key,
                })?,
                None => {
                    self.reading.ignore(&name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The value of a known key: whatever its JSON type, it is read as the text a shell would have written.
struct Scalar<'a> {
    reading: &'a mut Reading,
    failed: &'a mut Option<LineError>,
    key: Key,
}

impl Scalar<'_> {
    fn set<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        // `\u0000` is the one way for a NUL to come in behind the check of the bytes.
        let set = if value.contains('\0') {
            Err(self.key.error(value))
        } else {
            self.reading.set(self.key, value)
        };
        set.map_err(|error| self.fail(error))
    }

    fn fail<E: serde::de::Error>(self, error: LineError) -> E {
        *self.failed = Some(error);
        E::custom("refused")
    }
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key.wants())
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.set(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.set(&value.to_string())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.set(if value { "true" } else { "false" })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.set("")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        let error = self.key.error("a list");
        Err(self.fail(error))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        let error = self.key.error("an object");
        Err(self.fail(error))
    }
}
