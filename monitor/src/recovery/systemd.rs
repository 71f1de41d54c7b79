//! The rung `systemd`: a restart of the agent's unit over D-Bus, by the manager of the system or of a user.
//!
//! The restart is a job of systemd's; its result is waited for. A bus is one of this host's: for agents of other hosts
//! the rung does not apply.

use super::{Job, Obstacle, Own, WITHIN, foreign};
use heartbeat::fleet::ladder::exchange::RuntimeKind;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;
use zbus::export::futures_core::Stream;
use zbus::message::Type;
use zbus::wire::OwnedObjectPath;
use zbus::{Connection, DBusError, MatchRule, MessageStream, connection};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const SYSTEM_BUS: &str = "unix:path=/run/dbus/system_bus_socket";
/// To connect, and for each answer but the job's.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The buses that this program reaches.
#[derive(Debug)]
pub(super) struct Systemd {
    system: String,
    /// Of the user that this program runs as.
    session: Option<String>,
    uid: u32,
    own: Own,
}

/// Which unit of which manager.
#[derive(Debug, PartialEq, Eq)]
struct Unit<'a> {
    name: &'a str,
    /// The user whose manager has it; none: the system's.
    user: Option<u32>,
}

impl Systemd {
    pub(super) fn from_environment(variable: &impl Fn(&str) -> Option<String>, own: Own) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            system: set("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| SYSTEM_BUS.to_owned()),
            session: set("DBUS_SESSION_BUS_ADDRESS"),
            uid: nix::unistd::getuid().as_raw(),
            own,
        }
    }

    /// Why no unit of the system can be reached: its bus is missing.
    pub(super) fn obstacle(&self) -> Option<String> {
        let path = std::path::Path::new(self.system.strip_prefix("unix:path=")?);
        (!path.exists()).then(|| format!("there is no {}", path.display()))
    }

    /// Restarts the agent's unit and waits for the job's result.
    pub(super) async fn restart(&self, job: &Job) -> Result<String, Obstacle> {
        let unit = self.unit_of(job)?;
        let mut ordered = false;
        match tokio::time::timeout(WITHIN, self.order(&unit, &mut ordered)).await {
            Ok(result) => result,
            Err(_) if ordered => Ok(format!(
                "systemd restarts {unit} and first gives it its stop timeout to end (systemctl list-jobs)"
            )),
            Err(_) => Err(Obstacle::failed(format!(
                "systemd did not answer within {} s; see whether it does: systemctl status",
                WITHIN.as_secs()
            ))),
        }
    }

    fn unit_of<'a>(&self, job: &'a Job) -> Result<Unit<'a>, Obstacle> {
        let runtime = job.runtime.as_ref();
        let id = runtime.filter(|_| job.runtime_kind() == RuntimeKind::Systemd);
        let unit = id.and_then(|runtime| Unit::parse(&runtime.id));
        let Some(unit) = unit else {
            return Err(Obstacle::not_here("its beat names no unit of systemd"));
        };
        if job.host != self.own.host {
            return Err(Obstacle::not_here(format!(
                "it runs on {}, and hbmonitor reaches the systemd of its own host {} only; run an hbmonitor there, or let exec restart the unit (ssh)",
                job.host, self.own.host
            )));
        }
        if job.runtime.as_ref() == Some(&self.own.runtime) {
            return Err(Obstacle::not_here(format!(
                "hbmonitor itself runs in {unit}; give it a unit of its own"
            )));
        }
        Ok(unit)
    }

    async fn order(&self, unit: &Unit<'_>, ordered: &mut bool) -> Result<String, Obstacle> {
        let bus = self.connect(unit).await?;
        let refused = |error: zbus::Error| Obstacle::failed(remedy(unit, &error));
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SERVICE)
            .path(PATH)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()
            .map_err(refused)?;
        let mut removed = MessageStream::for_match_rule(rule, &bus, None)
            .await
            .map_err(refused)?;
        let call = async |method: &'static str, body: &[&str]| match body {
            [] => {
                bus.call_method(Some(SERVICE), PATH, Some(MANAGER), method, &())
                    .await
            }
            [one] => {
                bus.call_method(Some(SERVICE), PATH, Some(MANAGER), method, one)
                    .await
            }
            [one, two, ..] => {
                bus.call_method(Some(SERVICE), PATH, Some(MANAGER), method, &(one, two))
                    .await
            }
        };
        call("Subscribe", &[]).await.map_err(refused)?;
        // The rate limit of starts is systemd's own budget; this restart is one of hb's. Without permission it stays.
        let _ = call("ResetFailedUnit", &[unit.name]).await;
        // `fail`: a stop that a person has just asked for is not overruled.
        let reply = call("RestartUnit", &[unit.name, "fail"])
            .await
            .map_err(refused)?;
        let body = reply.body();
        let path: OwnedObjectPath = body.deserialize().map_err(refused)?;
        *ordered = true;
        loop {
            let Some(message) = poll_fn(|context| Pin::new(&mut removed).poll_next(context)).await
            else {
                return Err(Obstacle::failed(format!(
                    "the bus closed the connection while {unit} was restarted; see systemctl status {}",
                    unit.name
                )));
            };
            let body = message.map_err(refused)?.body();
            let signal = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
            let (_, of, _, result) = signal.map_err(refused)?;
            if of == path {
                return outcome(unit, &result);
            }
        }
    }

    async fn connect(&self, unit: &Unit<'_>) -> Result<Connection, Obstacle> {
        let address = match unit.user {
            None => self.system.clone(),
            Some(uid) => match &self.session {
                Some(session) if uid == self.uid => session.clone(),
                _ => format!("unix:path=/run/user/{uid}/bus"),
            },
        };
        let connecting = connection::Builder::address(address.as_str())
            .method_timeout(ANSWER_WITHIN)
            .build();
        let remedy = match unit.user {
            None => "mount /run/dbus/system_bus_socket into hbmonitor's container, or install dbus",
            Some(_) => {
                "a user's manager answers that user alone: run an hbmonitor as that user, with lingering (loginctl enable-linger)"
            }
        };
        match tokio::time::timeout(ANSWER_WITHIN, connecting).await {
            Ok(Ok(bus)) => Ok(bus),
            Ok(Err(error)) => Err(Obstacle::failed(format!(
                "cannot reach systemd at {address}: {}; {remedy}",
                foreign(&error.to_string())
            ))),
            Err(_) => Err(Obstacle::failed(format!(
                "no answer from the bus at {address} within {} s; {remedy}",
                ANSWER_WITHIN.as_secs()
            ))),
        }
    }
}

impl<'a> Unit<'a> {
    /// `UNIT`, or `user@UID.service/UNIT`.
    fn parse(id: &'a str) -> Option<Self> {
        let (user, name) = match id.split_once('/') {
            Some((manager, name)) => {
                let uid = manager.strip_prefix("user@")?.strip_suffix(".service")?;
                (Some(uid.parse().ok()?), name)
            }
            None => (None, id),
        };
        name.ends_with(".service").then_some(Self { name, user })
    }
}

impl std::fmt::Display for Unit<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.user {
            None => f.write_str(self.name),
            Some(uid) => write!(f, "{} of user {uid}", self.name),
        }
    }
}

/// What became of the job, by the words of systemd.
fn outcome(unit: &Unit<'_>, result: &str) -> Result<String, Obstacle> {
    let name = unit.name;
    let remedy = match result {
        "done" => return Ok(format!("systemd restarted {unit}")),
        "failed" => format!("its command failed to start: journalctl -u {name}"),
        "timeout" => format!("it was not ready within its TimeoutStartSec: journalctl -u {name}"),
        "dependency" => format!("a unit that it needs failed: systemctl list-dependencies {name}"),
        "canceled" => "another job took its place: systemctl list-jobs".to_owned(),
        _ => format!("systemctl status {name} shows why"),
    };
    Err(Obstacle::failed(format!(
        "systemd's job for {unit} ended as {}; {remedy}",
        foreign(result)
    )))
}

fn remedy(unit: &Unit<'_>, error: &zbus::Error) -> String {
    let name = unit.name;
    // The last part of the error's name, as `NoSuchUnit`.
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let (kind, message) = if let zbus::Error::MethodError(kind, message, _) = error {
        (last(kind.as_str()), message.clone().unwrap_or_default())
    } else if let zbus::Error::FDO(error) = error {
        let message = error.description().unwrap_or_default().to_owned();
        (last(error.name().as_str()), message)
    } else {
        (String::new(), error.to_string())
    };
    let remedy = match kind.as_str() {
        "NoSuchUnit" | "LoadFailed" => {
            format!("write the unit, then systemctl daemon-reload (systemctl status {name})")
        }
        "UnitMasked" => format!("systemctl unmask {name}, if a person did not mask it on purpose"),
        "AccessDenied" | "InteractiveAuthorizationRequired" => format!(
            "run hbmonitor as root, or let polkit allow its user org.freedesktop.systemd1.manage-units for {name}"
        ),
        "TransactionIsDestructive" => {
            "another job, as a stop, is under way: systemctl list-jobs".to_owned()
        }
        _ => format!("systemctl status {name} shows more"),
    };
    format!(
        "systemd refused to restart {unit}: {}; {remedy}",
        foreign(&message)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::tests::job;
    use heartbeat::fleet::ladder::rung::Rung;
    use heartbeat::wire::beat::Runtime;
    use zbus::fdo;

    fn unit_job(id: &str) -> Job {
        let mut job = job(Rung::Systemd);
        job.runtime = Some(Runtime {
            kind: "systemd".to_owned(),
            id: id.to_owned(),
        });
        job
    }

    fn systemd(host: &str, own: &str) -> Systemd {
        let variable = |name: &str| {
            name.starts_with("DBUS")
                .then(|| "unix:path=/no/such/bus".to_owned())
        };
        let own = Own {
            host: host.to_owned(),
            runtime: unit_job(own).runtime.unwrap(),
        };
        Systemd::from_environment(&variable, own)
    }

    #[test]
    fn a_unit_is_of_the_system_or_of_a_user() {
        let unit = |name, user| Some(Unit { name, user });
        assert_eq!(Unit::parse("agent.service"), unit("agent.service", None));
        assert_eq!(
            Unit::parse("user@1000.service/agent@1.service"),
            unit("agent@1.service", Some(1000))
        );
        for other in [
            "",
            "x.scope",
            "me@1.service/a.service",
            "user@x.service/a.service",
        ] {
            assert_eq!(Unit::parse(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn units_of_other_hosts_and_hbmonitors_own_are_left_alone() {
        for (host, own, why) in [
            ("node-1", "hbmonitor.service", "node-1"),
            ("node-3", "agent.service", "hbmonitor itself"),
        ] {
            let result = systemd(host, own).restart(&unit_job("agent.service")).await;
            assert!(
                matches!(&result, Err(Obstacle::NotHere(text)) if text.contains(why)),
                "{result:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_bus_that_is_not_there_is_said_with_a_remedy() {
        let result = systemd("node-3", "hbmonitor.service")
            .restart(&unit_job("agent.service"))
            .await;
        assert!(
            matches!(&result, Err(Obstacle::Failed(why)) if why.contains("/no/such/bus") && why.contains("mount")),
            "{result:?}"
        );
    }

    #[test]
    fn a_refusal_by_polkit_names_the_permission() {
        let unit = Unit::parse("agent.service").unwrap();
        for error in [
            fdo::Error::AccessDenied("Permission denied".to_owned()),
            fdo::Error::InteractiveAuthorizationRequired("Interactive".to_owned()),
        ] {
            let why = remedy(&unit, &zbus::Error::FDO(Box::new(error)));
            assert!(why.contains("manage-units"), "{why}");
        }
    }

    #[test]
    fn each_result_of_a_job_has_a_remedy() {
        let unit = Unit::parse("agent.service").unwrap();
        assert!(outcome(&unit, "done").is_ok());
        for (result, word) in [
            ("failed", "journalctl"),
            ("timeout", "TimeoutStartSec"),
            ("dependency", "list-dependencies"),
            ("canceled", "list-jobs"),
            ("tomorrow", "systemctl status"),
        ] {
            let Err(Obstacle::Failed(why)) = outcome(&unit, result) else {
                panic!("{result}");
            };
            assert!(why.contains(result) && why.contains(word), "{why}");
        }
    }
}
