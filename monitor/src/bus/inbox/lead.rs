//! The lead among the monitors of one store: asked for, renewed and given up; broken only when its holder is provably dead.

use super::Output;
use crate::clock;
use crate::config::Address;
use hbshell::store::{Link, Within, causes};
use heartbeat::base::moment::{Moment, millis};
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::keys;
use heartbeat::wire::leader::{LEAD_LASTS, Leader, Standing};
use heartbeat::wire::lease::Holder;
use redis::{ErrorKind, Pipeline, RedisError, RedisResult, Script, ServerErrorKind};
use std::sync::LazyLock;
use std::time::Duration;

/// How long the end of the program waits until the lead is given up; otherwise it runs out.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(500);

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(keys::LEADER_SCRIPT));

/// What became of the wish to lead, which is a write.
#[derive(Debug)]
pub(super) enum Written {
    Taken,
    /// For this reason.
    Refused(RedisError),
}

/// Asks for the lead and passes the answer on. An error is the connection's; a store that refuses is an answer.
pub(super) async fn ask(
    link: &mut Link,
    instance: &str,
    output: &Output,
) -> anyhow::Result<Option<Written>> {
    let asked_at = clock::now();
    let answer = stand(link, instance, LEAD_LASTS, "").await;
    pass_on(link, instance, (answer, asked_at), output).await
}

/// The same question as one of many that are sent together: one answer, for [`pass_on`].
pub(super) fn add(question: &mut Pipeline, instance: &str) {
    let call = question.cmd("EVALSHA").arg(SCRIPT.get_hash()).arg(2);
    call.arg(keys::LEADER).arg(keys::FENCE);
    call.arg(instance).arg(millis(LEAD_LASTS)).arg("");
}

/// Passes on what the store answered to the question of that moment, and gives what became of the write, if it was one. A store
/// that has lost the script gets it again, and the lead of a monitor that is provably dead is broken.
pub(super) async fn pass_on(
    link: &mut Link,
    instance: &str,
    (mut answer, mut asked_at): (RedisResult<(String, String)>, Moment),
    output: &Output,
) -> anyhow::Result<Option<Written>> {
    let mut breakable = String::new();
    loop {
        let (input, written) = match answer {
            Ok((word, value)) => match Standing::decode(&word, &value) {
                Ok(Standing::Follows(leader))
                    if breakable.is_empty() && is_dead(&leader, instance) =>
                {
                    breakable = leader.instance;
                    (None, None)
                }
                Ok(standing) => {
                    let wrote = matches!(standing, Standing::Leads(_)).then_some(Written::Taken);
                    (Some(WatchInput::Stands(asked_at, standing)), wrote)
                }
                Err(error) => (Some(refused(&error, asked_at, output)), None),
            },
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                (None, None)
            }
            Err(error) if is_refusal(&error) => {
                let input = refused(&error, asked_at, output);
                (Some(input), Some(Written::Refused(error)))
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(input) = input {
            output.send(input).await;
            return Ok(written);
        }
        asked_at = clock::now();
        answer = stand(link, instance, LEAD_LASTS, &breakable).await;
    }
}

/// Gives the lead up, so that another monitor need not wait until it has run out.
pub(crate) async fn give_up(address: &Address, instance: &str) {
    let given_up = async {
        let store = address.locate(GIVEN_UP_WITHIN).await?;
        let within = Within::each(GIVEN_UP_WITHIN);
        let mut link = Link::to_any_owner(&store, keys::LEADER, within).await?;
        stand(&mut link, instance, Duration::ZERO, "").await?;
        anyhow::Ok(())
    };
    match tokio::time::timeout(GIVEN_UP_WITHIN, given_up).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let why = causes(error.as_ref());
            tracing::debug!("the lead is not given up, it runs out: {why}");
        }
        Err(_) => tracing::debug!("the lead is not given up, it runs out: the store is slow"),
    }
}

async fn stand(
    link: &mut Link,
    instance: &str,
    lasts: Duration,
    breakable: &str,
) -> RedisResult<(String, String)> {
    let mut call = SCRIPT.prepare_invoke();
    call.key(keys::LEADER).key(keys::FENCE);
    call.arg(instance).arg(millis(lasts)).arg(breakable);
    call.invoke_async(link).await
}

/// This process, as other monitors may see it.
pub(crate) fn myself() -> Holder {
    let host = nix::unistd::gethostname().unwrap_or_default();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let digits = |c: &char| c.is_ascii_digit();
    let namespace: String = namespace.to_string_lossy().chars().filter(digits).collect();
    Holder {
        host: host.to_string_lossy().into_owned(),
        boot: boot.trim().to_owned(),
        pid_namespace: namespace.parse().unwrap_or(0),
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        started: living("self").unwrap_or(0),
    }
}

/// Whether this leader is a process of our machine and namespace, and is not there any more.
fn is_dead(leader: &Leader, instance: &str) -> bool {
    let (Some(leader), Some(own)) = (leader.process(), Holder::decode(instance)) else {
        return false;
    };
    // A /proc of another namespace shows other processes under our numbers.
    let is_ours = own.started > 0 && living(&own.pid.to_string()) == Some(own.started);
    let lives = || living(&leader.pid.to_string()) == Some(leader.started);
    is_ours && leader.is_visible_to(&own) && !lives()
}

/// When a process started, in clock ticks after the start of the machine, unless it has ended.
fn living(process: &str) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // A zombie whose other threads run has not ended.
    let has_ended = matches!(*fields.first()?, "Z" | "X" | "x") && *fields.get(17)? == "1";
    fields.get(19)?.parse().ok().filter(|_| !has_ended)
}

/// The store answered, and did not carry the script out.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some() && !error.is_unrecoverable_error()
}

fn refused(why: &dyn std::fmt::Display, asked_at: Moment, output: &Output) -> WatchInput {
    output.count("lead", why);
    WatchInput::LeadRefused(asked_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn leader(process: &Holder) -> Leader {
        Leader {
            instance: heartbeat::wire::leader::instance(process),
            since: 1,
            fence: 1,
        }
    }

    #[test]
    fn a_leader_is_dead_only_when_this_machine_knows_it() {
        let own = myself();
        let instance = heartbeat::wire::leader::instance(&own);
        let mut other = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let number = other.id().to_string();
        let process = Holder {
            pid: i32::try_from(other.id()).unwrap(),
            started: living(&number).unwrap(),
            ..own.clone()
        };
        assert!(!is_dead(&leader(&process), &instance), "it lives");
        other.kill().unwrap();
        while living(&number).is_some() {
            std::thread::yield_now();
        }
        assert!(is_dead(&leader(&process), &instance), "a zombie is dead");
        other.wait().unwrap();
        assert!(is_dead(&leader(&process), &instance));
        let elsewhere = [
            Holder {
                boot: "other".to_owned(),
                ..process.clone()
            },
            Holder {
                pid_namespace: 1,
                ..process
            },
        ];
        for process in elsewhere {
            assert!(!is_dead(&leader(&process), &instance), "{process:?}");
        }
        let foreign = Leader {
            instance: "x".to_owned(),
            since: 1,
            fence: 1,
        };
        assert!(!is_dead(&foreign, &instance) && !is_dead(&leader(&own), &instance));
    }
}
