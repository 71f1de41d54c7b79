//! What a program sends its commands over: one server, or the nodes of a cluster, each for its keys. The rooms that send a
//! command do not need to know which.

use super::cluster::{ClusterError, slot};
use super::connect::{ConnectError, connect};
use super::routes::{Nodes, Routes};
use super::{Located, Map};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisFuture, RedisResult, Value};
use std::time::Duration;

/// How long a connection and how long an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// The connection and its greeting, each.
    pub connected: Duration,
    /// Each answer.
    pub answered: Duration,
}

impl Within {
    /// The same time for each of them.
    pub fn each(time: Duration) -> Self {
        Self {
            connected: time,
            answered: time,
        }
    }
}

/// A connection to the store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Link(Way);

#[derive(Clone, Debug)]
enum Way {
    Server(MultiplexedConnection),
    Cluster(Routes),
}

impl Link {
    /// Connects to the server, or to the owner of this key; other owners are connected to when they are needed, until
    /// [`Link::rest`]. A redirection for this key is an error: its owner has changed. What other owners do not answer is
    /// `TRYAGAIN`, as a cluster says it of a slot that is on its way.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn to_owner(
        store: &Located,
        key: &str,
        within: Within,
        config: AsyncConnectionConfig,
    ) -> Result<Self, ConnectError> {
        let config = config.set_response_timeout(Some(within.answered));
        Ok(Self(match &store.cluster {
            None => Way::Server(connect(store.server.clone(), config, within.connected).await?),
            Some(Map { slots, any }) => {
                let slot = slot(key.as_bytes());
                // One that no node owns goes to any of them, which says so.
                let at = slots.owner(slot).unwrap_or(any).clone();
                let nodes = Nodes::new(store.server.clone(), slots.clone(), within);
                Way::Cluster(nodes.from(at, Some(slot), config).await?)
            }
        }))
    }

    /// Connects to the server, or to the owner of this key, and goes with the key when it moves.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn to_any_owner(
        store: &Located,
        key: &str,
        within: Within,
    ) -> Result<Self, ConnectError> {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(within.answered));
        Ok(Self(match &store.cluster {
            None => Way::Server(connect(store.server.clone(), config, within.connected).await?),
            Some(Map { slots, any }) => {
                let at = slots.owner(slot(key.as_bytes())).unwrap_or(any).clone();
                let nodes = Nodes::new(store.server.clone(), slots.clone(), within);
                Way::Cluster(nodes.from(at, None, config).await?)
            }
        }))
    }

    /// Connects to the server, or to all masters. What has no key goes to another one than [`Located::server`], if there is one.
    ///
    /// # Errors
    /// One cannot be reached.
    pub async fn to_all(store: &Located, within: Within) -> Result<Self, ConnectError> {
        Ok(Self(match &store.cluster {
            None => {
                let config =
                    AsyncConnectionConfig::new().set_response_timeout(Some(within.answered));
                Way::Server(connect(store.server.clone(), config, within.connected).await?)
            }
            Some(Map { slots, any }) => {
                let nodes = Nodes::new(store.server.clone(), slots.clone(), within);
                Way::Cluster(nodes.of_all(any).await?)
            }
        }))
    }

    /// How long an answer may take from now on; those of other owners than that of this link's key stay as they were.
    pub fn answers_within(&mut self, time: Duration) {
        match &mut self.0 {
            Way::Server(server) => server.set_response_timeout(time),
            Way::Cluster(routes) => routes.first.set_response_timeout(time),
        }
    }

    /// Subscribes to a channel, at the server or at the owner of this link's key.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    pub async fn subscribe(&mut self, channel: String) -> RedisResult<()> {
        match &mut self.0 {
            Way::Server(server) => server.subscribe(channel).await,
            Way::Cluster(routes) => routes.first.subscribe(channel).await,
        }
    }

    /// How many clients listen on a channel. A server counts its own, so all nodes of a cluster are asked, and one that does
    /// not answer may have one.
    ///
    /// # Errors
    /// The connection is lost, or the store refuses.
    pub async fn listeners(&mut self, channel: &str) -> RedisResult<u64> {
        let mut question = redis::cmd("PUBSUB");
        question.arg("NUMSUB").arg(channel);
        match &mut self.0 {
            Way::Server(server) => {
                let (_, listeners): (String, u64) = question.query_async(server).await?;
                Ok(listeners)
            }
            Way::Cluster(routes) => routes.listeners(&question).await,
        }
    }

    /// Whether this key needs no connection beside those that stay.
    pub fn reaches(&self, key: &str) -> bool {
        match &self.0 {
            Way::Server(_) => true,
            Way::Cluster(routes) => routes.reaches(slot(key.as_bytes())),
        }
    }

    /// Whether the store is a cluster.
    pub fn is_of_cluster(&self) -> bool {
        match &self.0 {
            Way::Server(_) => false,
            Way::Cluster(_) => true,
        }
    }

    /// Closes the connections to other owners: those of thousands of links would fill the owner of a key that all of them use.
    pub fn rest(&self) {
        match &self.0 {
            Way::Server(_) => {}
            Way::Cluster(routes) => routes.rest(),
        }
    }

    /// Links whose commands without a key go to one master each, together to all of them.
    ///
    /// # Errors
    /// One cannot be reached.
    pub async fn each_master(&self) -> RedisResult<Vec<Self>> {
        match &self.0 {
            Way::Server(_) => Ok(vec![self.clone()]),
            Way::Cluster(routes) => {
                let each = routes.each_master().await?.into_iter();
                Ok(each.map(|routes| Self(Way::Cluster(routes))).collect())
            }
        }
    }

    /// Follows who the masters of a cluster are; returns when one that this link is connected to is none any more.
    pub async fn watch_masters(&self) -> ClusterError {
        match &self.0 {
            Way::Server(_) => std::future::pending().await,
            Way::Cluster(routes) => routes.watch_masters().await,
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.0 {
            Way::Server(server) => server.req_packed_command(command),
            Way::Cluster(routes) => Box::pin(async move {
                let mut answers = routes.carry_out(&[command]).await?;
                answers.pop().unwrap_or(Value::Nil).extract_error()
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.0 {
            Way::Server(server) => server.req_packed_commands(pipeline, offset, count),
            Way::Cluster(routes) => Box::pin(async move {
                let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
                routes.carry_out(&commands).await
            }),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.0 {
            Way::Server(server) => server.get_db(),
            Way::Cluster(routes) => routes.first.get_db(),
        }
    }
}
