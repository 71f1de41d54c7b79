//! The version of a program: three numbers.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// `MAJOR.MINOR.PATCH`. What follows them (`-rc1`) is not kept, so that one takes eight bytes of each agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version([u16; 3]);

/// Not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a version, as in 1.4.0")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        let mut read = numbers.split('.').map(str::parse);
        let mut number = || read.next().and_then(Result::ok).ok_or(VersionError);
        let version = Self([number()?, number()?, number()?]);
        read.next().map_or(Ok(version), |_| Err(VersionError))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_three_numbers_and_versions_are_ordered_by_them() {
        let version = |text: &str| text.parse::<Version>();
        assert_eq!(version("1.4.0-rc1").unwrap().to_string(), "1.4.0");
        assert!(version("0.10.0").unwrap() > version("0.9.12").unwrap());
        for wrong in [
            "",
            "1.4",
            "1.4.0.1",
            "1.4.x",
            "-1.4.0",
            "70000.1.1",
            "v1.4.0",
        ] {
            assert_eq!(version(wrong), Err(VersionError), "{wrong}");
        }
    }
}
