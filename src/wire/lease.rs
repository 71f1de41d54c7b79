//! The lease of an agent id: its holder is one sidecar process, named so that another one can prove it dead.

use std::fmt;
use std::time::Duration;

/// The store's answer to a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The id is the caller's, with this epoch.
    Granted(u64),
    /// Another sidecar holds it and is alive.
    Held(Lease),
}

/// A lease that another sidecar holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its epoch.
    pub epoch: u64,
    /// Its sidecar process, as the store names it.
    pub instance: String,
    /// Its sidecar process, as its machine names it; `None` when it did not report that.
    pub holder: Option<Holder>,
    /// How long an exclusive lease has to run; `None` when the holder is not exclusive.
    pub exclusive_for: Option<Duration>,
}

/// A sidecar process as its own machine knows it. Two processes never have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// For people.
    pub host: String,
    /// One start of one kernel.
    pub boot: String,
    /// In which process numbers are counted; 0: unknown.
    pub pid_namespace: u64,
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks after the start of the machine.
    pub started: u64,
}

/// Why an answer of the store is no grant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unexpected answer of the store to a registration: {0:?}; check that the store runs hb's script unchanged"
)]
pub struct GrantError(Vec<String>);

impl Grant {
    /// Takes the answer of the script `register.lua`.
    pub fn decode(answer: &[String]) -> Result<Self, GrantError> {
        let epoch = |text: &String| {
            text.parse::<u64>()
                .ok()
                .filter(|n| *n <= crate::base::number::COUNT_MAX)
        };
        let grant = match answer {
            [word, number] if word == "granted" => epoch(number).map(Self::Granted),
            [word, number, instance, holder, left] if word == "held" => Some(Self::Held(Lease {
                epoch: epoch(number).unwrap_or(0),
                instance: instance.clone(),
                holder: Holder::decode(holder),
                exclusive_for: left
                    .parse()
                    .ok()
                    .filter(|left| *left > 0)
                    .map(Duration::from_millis),
            })),
            _ => None,
        };
        grant.ok_or_else(|| {
            let shown = answer
                .iter()
                .take(5)
                .map(|text| crate::wire::beat::cut(text.clone(), 80));
            GrantError(shown.collect())
        })
    }
}

impl Holder {
    /// The value of the hash's field `holder`.
    pub fn encode(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.boot, self.pid_namespace, self.pid, self.started, self.host
        )
    }

    /// The holder that a field names, if any.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, ' ');
        Some(Self {
            boot: parts.next()?.to_owned(),
            pid_namespace: parts.next()?.parse().ok()?,
            pid: parts.next()?.parse().ok().filter(|pid| *pid > 0)?,
            started: parts.next()?.parse().ok()?,
            host: crate::wire::beat::cut(parts.next()?.to_owned(), 255),
        })
    }

    /// Whether processes of both have comparable process numbers: only then can one prove that the other has ended. Two
    /// namespaces that are unknown need not be the same one.
    pub fn is_visible_to(&self, other: &Self) -> bool {
        !self.boot.is_empty()
            && self.boot == other.boot
            && self.pid_namespace != 0
            && self.pid_namespace == other.pid_namespace
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(holder) => write!(
                f,
                "process {} on {} with epoch {}",
                holder.pid, holder.host, self.epoch
            ),
            None => write!(f, "a living sidecar with epoch {}", self.epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder() -> Holder {
        Holder {
            host: "node 3".into(),
            boot: "b".into(),
            pid_namespace: 4,
            pid: 7,
            started: 99,
        }
    }

    #[test]
    fn a_holder_survives_its_way_through_the_store() {
        assert_eq!(Holder::decode(&holder().encode()), Some(holder()));
    }

    #[test]
    fn a_holder_that_cannot_be_is_none() {
        for text in ["", "b 4 7", "b 4 -7 99 h", "b x 7 99 h"] {
            assert_eq!(Holder::decode(text), None, "{text}");
        }
    }

    #[test]
    fn only_the_same_kernel_and_namespace_can_prove_a_death() {
        assert!(holder().is_visible_to(&holder()));
        assert!(!holder().is_visible_to(&Holder {
            boot: "c".into(),
            ..holder()
        }));
        assert!(!holder().is_visible_to(&Holder {
            pid_namespace: 5,
            ..holder()
        }));
        let unknown = [
            Holder {
                boot: String::new(),
                ..holder()
            },
            Holder {
                pid_namespace: 0,
                ..holder()
            },
        ];
        for holder in unknown {
            assert!(!holder.is_visible_to(&holder), "{holder:?}");
        }
    }

    #[test]
    fn answers_of_the_script_are_grants() {
        let answer = |parts: &[&str]| {
            Grant::decode(&parts.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(answer(&["granted", "7"]), Ok(Grant::Granted(7)));
        let held = Grant::Held(Lease {
            epoch: 6,
            instance: "i".into(),
            holder: Some(holder()),
            exclusive_for: None,
        });
        let exclusive = Grant::Held(Lease {
            epoch: 6,
            instance: "i".into(),
            holder: None,
            exclusive_for: Some(Duration::from_millis(70)),
        });
        assert_eq!(
            answer(&["held", "6", "i", &holder().encode(), "0"]),
            Ok(held)
        );
        assert_eq!(answer(&["held", "6", "i", "", "70"]), Ok(exclusive));
        assert!(answer(&["granted", "-1"]).is_err());
        assert!(answer(&[]).is_err());
    }
}
