//! Clusters: servers that share the keys among themselves, by 16,384 slots.
//!
//! Any of them names the owner of each slot. One is asked for each connection, another one beside it when it is slow: a node
//! that stands still takes connections and never answers.

use super::connect::{ConnectError, connect, unreachable};
use super::hosts::Hosts;
use super::{AddressError, Target};
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, Value};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Where nodes listen.
const PORT: u16 = 6379;
/// How many may be named; they name the others.
const SEEDS_MAX: usize = 64;
/// How long one node is waited for before the next one is asked beside it.
const NEXT_AFTER: Duration = Duration::from_millis(250);
const SLOTS: u16 = 16_384;
const EXAMPLE: &str = "redis-cluster://h1:6379,h2:6379,h3:6379";

/// The nodes of a cluster that its user named, and those that they named.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    seeds: Vec<Node>,
    /// All nodes by the last answer: the seeds may be gone one day.
    known: Arc<Mutex<Vec<Node>>>,
}

/// Where a node of a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    host: String,
    port: u16,
}

/// Which node owns which slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots {
    /// First, last and owner.
    ranges: Vec<(u16, u16, Node)>,
    replicas: BTreeSet<Node>,
}

/// Why a cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// None of its nodes gave an answer.
    #[error("no node of the cluster answers, the last one tried was {0}: {1}")]
    Silent(Node, Box<ConnectError>),
    /// One answered, and does not name owners.
    #[error("{0} does not name the nodes of its cluster: {1}")]
    Refuses(Node, redis::RedisError),
    /// A server of its own.
    #[error("{0} is no node of a cluster")]
    Lone(Node),
    /// Nodes, but no cluster yet.
    #[error("the cluster of {0} serves no slots")]
    Empty(Node),
    /// A node that others name cannot be used.
    #[error("the cluster names {0}, which cannot be connected to: {1}")]
    Node(Node, Box<ConnectError>),
    /// What was the master of a part of the keys is not any more.
    #[error("{0} is no master of the cluster any more")]
    Demoted(Node),
}

impl Cluster {
    /// Parses what follows the scheme: `[user[:password]@]host[:port],…`. Beside the nodes it gives what each is connected with.
    pub(super) fn parse(rest: &str) -> Result<(Self, ConnectionInfo), AddressError> {
        let wrong = |why: &str| AddressError::Url(format!("{why}: {EXAMPLE}"));
        let hosts = Hosts::of(rest);
        if !hosts.path.is_empty() {
            return Err(wrong(
                "a cluster has one database only, name no other, as in",
            ));
        }
        let connections = hosts.connections(PORT, "")?;
        if connections.len() > SEEDS_MAX {
            return Err(wrong("at most 64 nodes are named, they know the others"));
        }
        let seeds = connections.iter().filter_map(|info| Node::of(info.addr()));
        let cluster = Self {
            seeds: seeds.collect(),
            known: Arc::default(),
        };
        let first = connections.into_iter().next();
        Ok((
            cluster,
            first.ok_or_else(|| wrong("name the nodes, as in"))?,
        ))
    }

    /// Which node owns which slots, by the first answer; `within` bounds all of it. `store` is what each node is connected with.
    pub(super) async fn locate(
        &self,
        store: &Target,
        within: Duration,
    ) -> Result<Slots, ConnectError> {
        let mut why = None;
        let asked = async {
            let mut unasked = self.nodes().into_iter();
            let mut asked = JoinSet::new();
            loop {
                if let Some(node) = unasked.next() {
                    asked.spawn(ask(node.target(store), node, within));
                } else if asked.is_empty() {
                    return None;
                }
                match tokio::time::timeout(NEXT_AFTER, asked.join_next()).await {
                    Ok(Some(Ok(Ok(slots)))) => return Some(slots),
                    Ok(Some(Ok(Err(error)))) => why = Some(worse(why.take(), error)),
                    Ok(Some(Err(_)) | None) | Err(_) => {} // no answer yet
                }
            }
        };
        match tokio::time::timeout(within, asked).await {
            Ok(Some(slots)) => {
                if let Ok(mut known) = self.known.lock() {
                    *known = slots.nodes().into_iter().collect();
                }
                Ok(slots)
            }
            Ok(None) | Err(_) => Err(why.unwrap_or_else(|| {
                let late = unreachable(std::io::ErrorKind::TimedOut.into());
                let last = self.seeds.last().cloned().unwrap_or_default();
                ClusterError::Silent(last, Box::new(late)).into()
            })),
        }
    }

    /// Whether all that were named are on this machine.
    pub(super) fn are(&self, place: impl Fn(&ConnectionAddr) -> bool) -> bool {
        self.seeds.iter().all(|seed| place(&seed.address()))
    }

    /// All of them, in no order: neither one node nor one side of a divided network gets all the questions.
    fn nodes(&self) -> Vec<Node> {
        let known = self.known.lock().map(|known| known.clone());
        let mut nodes = known.unwrap_or_default();
        nodes.extend(self.seeds.iter().cloned());
        nodes.sort();
        nodes.dedup();
        fastrand::shuffle(&mut nodes);
        nodes
    }
}

/// The nodes that were named.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds: Vec<String> = self.seeds.iter().map(ToString::to_string).collect();
        write!(f, "the cluster {}", seeds.join(", "))
    }
}

impl Default for Node {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: PORT,
        }
    }
}

impl Node {
    pub(super) fn of(address: &ConnectionAddr) -> Option<Self> {
        match address {
            ConnectionAddr::Tcp(host, port) => Some(Self {
                host: host.clone(),
                port: *port,
            }),
            ConnectionAddr::Unix(_) | _ => None,
        }
    }

    /// Reads `host:port` as nodes write it. One that does not know its own host leaves it out: it is that of the node which answers.
    pub(super) fn parse(text: &str, answers: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::named(host, port.parse().ok()?, answers))
    }

    fn named(host: &str, port: u16, answers: &Self) -> Self {
        let host = match host {
            "" | "?" => answers.host.clone(),
            host => host.to_owned(),
        };
        Self { host, port }
    }

    /// What it is connected with: as every node of its cluster.
    pub(super) fn target(&self, store: &Target) -> Target {
        Target {
            info: store.info.clone().set_addr(self.address()),
            tls: store.tls.clone(),
            must_be_master: false,
        }
    }

    fn address(&self) -> ConnectionAddr {
        ConnectionAddr::Tcp(self.host.clone(), self.port)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address().fmt(f)
    }
}

impl Slots {
    /// Reads the answer of this node to `CLUSTER SLOTS`. What is no range is left out.
    pub(super) fn read(answer: Value, answers: &Node) -> Self {
        let mut slots = Self::default();
        for range in list(answer) {
            let mut parts = list(range).into_iter();
            let mut number = || redis::from_redis_value::<u16>(parts.next()?).ok();
            let (Some(first), Some(last)) = (number(), number()) else {
                continue;
            };
            let mut nodes = parts.filter_map(|node| read_node(node, answers));
            if let Some(owner) = nodes.next() {
                slots.ranges.push((first, last, owner));
                slots.replicas.extend(nodes);
            }
        }
        slots
    }

    /// Who owns this slot; `None` when no node does.
    pub(super) fn owner(&self, slot: u16) -> Option<&Node> {
        let mut ranges = self.ranges.iter();
        let of_slot = ranges.find(|(first, last, _)| (*first..=*last).contains(&slot));
        of_slot.map(|(_, _, owner)| owner)
    }

    /// All that own slots.
    pub(super) fn masters(&self) -> BTreeSet<Node> {
        self.ranges
            .iter()
            .map(|(_, _, owner)| owner.clone())
            .collect()
    }

    /// Masters and replicas.
    pub(super) fn nodes(&self) -> BTreeSet<Node> {
        &self.masters() | &self.replicas
    }
}

/// The slot of a key: that of what its first braces enclose, if they enclose something, else that of the whole key.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = || {
        let open = key.iter().position(|byte| *byte == b'{')? + 1;
        let length = key.get(open..)?.iter().position(|byte| *byte == b'}')?;
        key.get(open..open + length).filter(|tag| !tag.is_empty())
    };
    let hashed = tag().unwrap_or(key);
    // CRC-16/XMODEM, as Redis names it.
    let hash = hashed.iter().fold(0_u16, |hash, byte| {
        (0..8).fold(hash ^ (u16::from(*byte) << 8), |hash, _| {
            let carry = if hash & 0x8000 == 0 { 0 } else { 0x1021 };
            (hash << 1) ^ carry
        })
    });
    hash % SLOTS
}

async fn ask(target: Target, node: Node, within: Duration) -> Result<Slots, ConnectError> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(within));
    let connected = connect(target, config, within).await;
    let mut connection = match connected {
        Ok(connection) => connection,
        Err(error) if error.is_outage() => {
            return Err(ClusterError::Silent(node, Box::new(error)).into());
        }
        Err(error) => return Err(ClusterError::Node(node, Box::new(error)).into()),
    };
    let answer = redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await;
    let slots = match answer {
        Ok(answer) => Slots::read(answer, &node),
        Err(error) if error.code() == Some("ERR") => return Err(ClusterError::Lone(node).into()),
        Err(error) if error.code().is_some() => {
            return Err(ClusterError::Refuses(node, error).into());
        }
        Err(error) => return Err(ClusterError::Silent(node, Box::new(error.into())).into()),
    };
    if slots.ranges.is_empty() {
        return Err(ClusterError::Empty(node).into());
    }
    Ok(slots)
}

/// Of two errors the one that says more: that of a node which answered.
fn worse(one: Option<ConnectError>, other: ConnectError) -> ConnectError {
    match one {
        Some(one) if matches!(other, ConnectError::Cluster(ClusterError::Silent(..))) => one,
        Some(_) | None => other,
    }
}

fn read_node(value: Value, answers: &Node) -> Option<Node> {
    let mut parts = list(value).into_iter();
    let host: Option<String> = redis::from_redis_value(parts.next()?).ok()?;
    let port = redis::from_redis_value(parts.next()?).ok()?;
    Some(Node::named(&host.unwrap_or_default(), port, answers))
}

fn list(value: Value) -> Vec<Value> {
    if let Value::Array(values) = value {
        return values;
    }
    Vec::new()
}

impl ClusterError {
    /// What a person can do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Silent(..) => "start one, or name others with --redis-url",
            Self::Refuses(_, error) if error.code() == Some("NOPERM") => {
                "allow its user +cluster|slots (ACL SETUSER)"
            }
            Self::Refuses(..) => "nothing needs to be done if this ends by itself",
            Self::Lone(_) => {
                "write its URL as redis://, or name nodes of a cluster with --redis-url"
            }
            Self::Empty(_) => "give its slots to its nodes (redis-cli --cluster create)",
            Self::Node(_, error) if error.is_outage() => {
                "start it, or let it announce an address that can be reached from here (cluster-announce-ip, cluster-announce-hostname)"
            }
            Self::Node(_, error) => error.remedy(),
            Self::Demoted(_) => "nothing needs to be done if this ends by itself",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: u16) -> Node {
        let host = host.to_owned();
        Node { host, port }
    }

    fn parse(rest: &str) -> (Vec<Node>, Option<String>) {
        let (cluster, info) = Cluster::parse(rest).unwrap();
        let password = info.redis_settings().password().map(str::to_owned);
        (cluster.seeds, password)
    }

    #[test]
    fn a_url_names_nodes() {
        assert_eq!(
            parse("h1:1,h2"),
            (vec![node("h1", 1), node("h2", 6379)], None)
        );
        assert_eq!(
            parse("u:p%40x@[::1]:7/"),
            (vec![node("::1", 7)], Some("p@x".to_owned()))
        );
    }

    #[test]
    fn a_url_with_a_database_or_without_a_node_is_refused_with_a_reason() {
        for (wrong, why) in [
            ("h1:1/3", "one database only"),
            ("h1:x", "redis://"),
            ("", "redis://"),
        ] {
            let error = Cluster::parse(&format!(":secret@{wrong}"))
                .unwrap_err()
                .to_string();
            assert!(
                error.contains(why) && !error.contains("secret"),
                "{wrong}: {error}"
            );
        }
    }

    #[test]
    fn a_slot_is_that_of_the_tag_of_a_key() {
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"hb:agents"), 12_835);
        assert_eq!(slot(b"hb:events"), 6793);
        assert_eq!(slot(b"hb:epoch:{agent:a1}"), slot(b"agent:a1"));
        assert_eq!(slot(b"{hb:leader}:fence"), slot(b"hb:leader"));
        assert_ne!(slot(b"a{}b"), slot(b""), "empty braces enclose nothing");
        assert_eq!(slot(b"a{b}{c}"), slot(b"b"));
    }

    #[test]
    fn owners_are_read_and_a_host_that_is_not_named_is_that_of_the_answer() {
        let text = "*3\r\n\
            *4\r\n:0\r\n:99\r\n*3\r\n$2\r\nh1\r\n:1\r\n$1\r\nx\r\n*3\r\n$2\r\nh2\r\n:2\r\n$1\r\ny\r\n\
            *3\r\n:100\r\n:16383\r\n*3\r\n$-1\r\n:3\r\n$1\r\nz\r\n\
            *1\r\n:7\r\n";
        let answer = redis::parse_redis_value(text.as_bytes()).unwrap();
        let slots = Slots::read(answer, &node("here", 9));
        assert_eq!(slots.owner(99), Some(&node("h1", 1)));
        assert_eq!(slots.owner(100), Some(&node("here", 3)));
        assert_eq!(
            Vec::from_iter(slots.nodes()),
            [node("h1", 1), node("h2", 2), node("here", 3)]
        );
        assert_eq!(Slots::default().owner(0), None);
    }

    #[test]
    fn a_redirection_names_a_node() {
        let here = node("here", 9);
        assert_eq!(Node::parse("h:1", &here), Some(node("h", 1)));
        assert_eq!(Node::parse(":1", &here), Some(node("here", 1)));
        assert_eq!(Node::parse("::1:7", &here), Some(node("::1", 7)));
        assert_eq!(Node::parse("h", &here), None);
    }
}
