//! Sentinels: several small servers that agree which of the store's servers is its master, and that change it when it dies.
//!
//! They are asked for each connection, all at once: one that is cut off from the others may name yesterday's master.

use super::connect::{ConnectError, open, unreachable};
use super::{AddressError, Target};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
};
use std::fmt;
use std::time::Duration;
use tokio::task::JoinSet;

/// Where sentinels listen.
const PORT: u16 = 26379;
/// How many are asked at once.
const SENTINELS_MAX: usize = 16;
const EXAMPLE: &str = "redis-sentinel://h1:26379,h2:26379,h3:26379/mymaster";

/// The sentinels of one store.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    nodes: Vec<ConnectionAddr>,
    /// The name by which they know the master.
    master: String,
}

/// Why there is no master.
#[derive(Debug, thiserror::Error)]
pub enum SentinelError {
    /// None of them gave an answer.
    #[error("no sentinel answers: {0}")]
    Silent(Box<ConnectError>),
    /// None knows a master of this name.
    #[error("the sentinels know no master named {0:?}")]
    Unknown(String),
    /// In the middle of a failover, or a sentinel that is cut off.
    #[error("the sentinels name {0} as the master, and it is a replica")]
    Replica(String),
}

/// What one sentinel answered.
type Answer = Result<Option<(String, u16)>, ConnectError>;

impl Sentinels {
    /// Parses what follows the scheme: `[user[:password]@]host[:port],…/MASTER[/DB]`. Beside the sentinels it gives what the
    /// master is connected with, at the address of the first of them.
    pub(super) fn parse(rest: &str) -> Result<(Self, ConnectionInfo), AddressError> {
        let wrong = |why: &str| AddressError::Url(format!("{why}: {EXAMPLE}"));
        let (who, rest) = match rest.rsplit_once('@') {
            Some((who, rest)) => (format!("{who}@"), rest),
            None => (String::new(), rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (master, database) = match path.trim_end_matches('/').split_once('/') {
            Some((master, database)) => (master, format!("/{database}")),
            None => (path.trim_end_matches('/'), String::new()),
        };
        let of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if master.is_empty() || !master.chars().all(of_name) {
            return Err(wrong("name the master that the sentinels watch, as in"));
        }
        let connections = hosts.split(',').map(|host| {
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| !port.ends_with(']'));
            let port = if has_port {
                String::new()
            } else {
                format!(":{PORT}")
            };
            format!("redis://{who}{host}{port}{database}")
                .into_connection_info()
                .map_err(|error| AddressError::Url(error.to_string()))
        });
        let connections = connections.collect::<Result<Vec<_>, _>>()?;
        if connections.len() > SENTINELS_MAX {
            return Err(wrong(
                "at most 16 sentinels are asked, name some of them, as in",
            ));
        }
        let sentinels = Self {
            nodes: connections.iter().map(|info| info.addr().clone()).collect(),
            master: master.to_owned(),
        };
        let first = connections.into_iter().next();
        Ok((
            sentinels,
            first.ok_or_else(|| wrong("name the sentinels, as in"))?,
        ))
    }

    /// The address of the master, by the most votes; `within` bounds all of it. `store` is what the master is connected with.
    pub(super) async fn locate(
        &self,
        store: &Target,
        within: Duration,
    ) -> Result<ConnectionAddr, SentinelError> {
        let mut asked = JoinSet::new();
        for node in &self.nodes {
            asked.spawn(ask(self.master.clone(), at(store, node), within));
        }
        let mut votes = Votes::default();
        let _late = tokio::time::timeout(within, async {
            while let Some(answer) = asked.join_next().await {
                let Ok(answer) = answer else { continue }; // a task that was stopped has no vote
                votes.count(answer);
                if votes
                    .most()
                    .is_some_and(|(_, many)| many > self.nodes.len() / 2)
                {
                    return;
                }
            }
        })
        .await; // those that have not answered have no vote
        match votes.most() {
            Some(((host, port), _)) => Ok(ConnectionAddr::Tcp(host.clone(), *port)),
            None => Err(votes.none(&self.master)),
        }
    }

    /// Whether all of them are on this machine.
    pub(super) fn are(&self, place: impl Fn(&ConnectionAddr) -> bool) -> bool {
        self.nodes.iter().all(place)
    }
}

/// The master's name and where it is asked for.
impl fmt::Display for Sentinels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(ToString::to_string).collect();
        write!(f, "{} of the sentinels {}", self.master, nodes.join(", "))
    }
}

#[derive(Default)]
struct Votes {
    named: Vec<((String, u16), usize)>,
    know_none: bool,
    last_error: Option<ConnectError>,
}

impl Votes {
    fn count(&mut self, answer: Answer) {
        match answer {
            Ok(Some(master)) => match self.named.iter_mut().find(|(named, _)| *named == master) {
                Some((_, votes)) => *votes += 1,
                None => self.named.push((master, 1)),
            },
            Ok(None) => self.know_none = true,
            Err(error) => self.last_error = Some(error),
        }
    }

    /// Of equally many the one that was named first.
    fn most(&self) -> Option<(&(String, u16), usize)> {
        let most = self.named.iter().rev().max_by_key(|(_, votes)| *votes);
        most.map(|(named, votes)| (named, *votes))
    }

    fn none(self, master: &str) -> SentinelError {
        match self.last_error {
            _ if self.know_none => SentinelError::Unknown(master.to_owned()),
            Some(error) => SentinelError::Silent(Box::new(error)),
            None => {
                SentinelError::Silent(Box::new(unreachable(std::io::ErrorKind::TimedOut.into())))
            }
        }
    }
}

fn at(store: &Target, node: &ConnectionAddr) -> Target {
    Target {
        info: store.info.clone().set_addr(node.clone()),
        tls: store.tls.clone(),
        must_be_master: false,
    }
}

/// Sentinels often ask for no password where the store does. One that asks for none gets none.
async fn ask(master: String, target: Target, within: Duration) -> Answer {
    let open = redis::RedisConnectionInfo::default();
    let anonymous = Target {
        info: target.info.clone().set_redis_settings(open),
        ..target.clone()
    };
    match name_of(&master, anonymous, within).await {
        Err(ConnectError::Store(error)) if error.code() == Some("NOAUTH") => {
            let settings = target.info.redis_settings().clone().set_db(0); // they have no databases
            let info = target.info.clone().set_redis_settings(settings);
            name_of(&master, Target { info, ..target }, within).await
        }
        answer => answer,
    }
}

async fn name_of(master: &str, target: Target, within: Duration) -> Answer {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(within));
    let mut sentinel = open(target, config, within).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    Ok(question.query_async(&mut sentinel).await?)
}

/// Refuses a server that is no master. A user who may not ask is believed.
pub(super) async fn check_role(
    link: &mut redis::aio::MultiplexedConnection,
    server: &ConnectionAddr,
) -> Result<(), ConnectError> {
    let answer: Result<Vec<redis::Value>, RedisError> = redis::cmd("ROLE").query_async(link).await;
    match answer {
        Ok(role) => match role.first() {
            Some(redis::Value::BulkString(word)) if word == b"master" => Ok(()),
            Some(_) | None => Err(SentinelError::Replica(server.to_string()).into()),
        },
        Err(error) if error.code() == Some("NOPERM") => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> (Vec<String>, String, i64, Option<String>) {
        let (sentinels, info) = Sentinels::parse(rest).unwrap();
        let nodes = sentinels.nodes.iter().map(ToString::to_string).collect();
        let settings = info.redis_settings();
        let password = settings.password().map(str::to_owned);
        (nodes, sentinels.master, settings.db(), password)
    }

    fn named(votes: &[Option<(&str, u16)>]) -> Option<String> {
        let mut counted = Votes::default();
        for vote in votes {
            counted.count(Ok(vote.map(|(host, port)| (host.to_owned(), port))));
        }
        counted.most().map(|((host, _), _)| host.clone())
    }

    #[test]
    fn a_url_names_sentinels_the_master_and_a_database() {
        let nodes = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        assert_eq!(
            parse("h1:1,h2/mymaster"),
            (nodes(["h1:1", "h2:26379"]), "mymaster".to_owned(), 0, None)
        );
        assert_eq!(
            parse("u:p%40x@[::1]:7,[::2]/a.b-c_d/3"),
            (
                nodes(["::1:7", "::2:26379"]),
                "a.b-c_d".to_owned(),
                3,
                Some("p@x".to_owned())
            )
        );
    }

    #[test]
    fn a_url_without_a_master_or_a_sentinel_is_refused_with_an_example() {
        for wrong in [
            "h1:1",
            "h1:1/",
            "/mymaster",
            "h1:x/mymaster",
            "h1,/m",
            "h/m/x",
            "h/m m",
            "",
        ] {
            let error = Sentinels::parse(&format!(":secret@{wrong}"))
                .unwrap_err()
                .to_string();
            assert!(!error.contains("secret"), "{wrong}: {error}");
        }
        let error = Sentinels::parse("h1:1").unwrap_err().to_string();
        assert!(error.contains("/mymaster"), "{error}");
    }

    #[test]
    fn the_master_is_the_one_that_most_sentinels_name() {
        let (old, new) = (Some(("old", 1)), Some(("new", 1)));
        assert_eq!(named(&[old, new, new]).as_deref(), Some("new"));
        assert_eq!(named(&[old, new]).as_deref(), Some("old"));
        assert_eq!(named(&[None, new]).as_deref(), Some("new"));
        assert_eq!(named(&[None, None]), None);
    }

    #[test]
    fn sentinels_that_do_not_know_the_name_are_not_silent() {
        let mut votes = Votes::default();
        votes.count(Err(unreachable(
            std::io::ErrorKind::ConnectionRefused.into(),
        )));
        votes.count(Ok(None));
        assert!(matches!(votes.none("m"), SentinelError::Unknown(_)));
    }
}
