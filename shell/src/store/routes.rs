//! How commands find the nodes of a cluster that own their keys: by the map of slots, and by redirections.

use super::Target;
use super::cluster::{ClusterError, Node, Slots, slot};
use super::connect::{ConnectError, connect};
use super::link::Within;
use crate::clock;
use futures_util::future::join_all;
use heartbeat::base::moment::Moment;
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Arg, AsyncConnectionConfig, Cmd, Pipeline, RedisError, RedisResult};
use redis::{ServerErrorKind, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often one command is sent on to another node.
const REDIRECTIONS_MAX: usize = 4;
/// How often the masters are asked for, and how long one of them may take to answer.
const MASTERS_EVERY: Duration = Duration::from_secs(2);
/// For how long other owners are left alone after one of them did not answer, and how often that time is doubled.
const AWAY: Duration = Duration::from_secs(1);
const DOUBLINGS: u32 = 3;

/// The ways to the nodes of a cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    /// The node that also gets what has no key, and the connection to it.
    at: Node,
    pub(super) first: MultiplexedConnection,
    /// The slot that the first connection is for; without one, all masters are alike.
    anchor: Option<u16>,
    nodes: Arc<Nodes>,
}

/// What all clones share.
#[derive(Debug)]
pub(super) struct Nodes {
    /// What each node is connected with.
    store: Target,
    within: Within,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Slots,
    /// Slots that have another owner since.
    moved: BTreeMap<u16, Node>,
    /// The connections to other nodes than the first.
    open: BTreeMap<Node, MultiplexedConnection>,
    /// How often other owners have failed in a row, and until when none of them is asked.
    failures: u32,
    away_until: Option<Moment>,
}

/// Where a command goes.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// To the owner of this slot.
    Owner(u16),
    Anywhere,
    /// To every node that is connected to.
    Everywhere,
}

/// One command on its way.
struct Step {
    number: usize,
    node: Node,
    /// Its key is being moved there.
    asks: bool,
}

impl Routes {
    /// Sends each command to the owner of its key, and on to where it is redirected; answers are in the order of the commands.
    pub(super) async fn carry_out(&self, commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let mut answers: Vec<Option<Value>> = vec![None; commands.len()];
        let mut steps = self.first_steps(commands).await?;
        for round in 0..=REDIRECTIONS_MAX {
            let groups = by_node(std::mem::take(&mut steps));
            let sent = groups.iter().map(|group| self.send(group, commands));
            let received = join_all(sent).await;
            for (group, received) in groups.into_iter().zip(received) {
                let received = received.or_else(|error| self.answer_for(&group, error))?;
                for (step, answer) in group.into_iter().zip(received) {
                    match self.redirected(&step, &answer) {
                        Some(next) if round < REDIRECTIONS_MAX => steps.push(next),
                        Some(_) | None => merge(&mut answers[step.number], answer),
                    }
                }
            }
            if steps.is_empty() {
                break;
            }
            steps.sort_by_key(|step| step.number);
        }
        let answer = |answer: Option<Value>| answer.unwrap_or_else(try_again);
        Ok(answers.into_iter().map(answer).collect())
    }

    /// The sum of what all nodes answer; a node that does not answer counts one.
    pub(super) async fn listeners(&self, question: &Cmd) -> RedisResult<u64> {
        self.refresh(&self.at, self.first.clone()).await?;
        let nodes = self.nodes.state().slots.nodes();
        let answers = nodes.iter().map(async |node| {
            let mut connection = self.connection(node).await.ok()?;
            let answer: RedisResult<(String, u64)> = question.query_async(&mut connection).await;
            answer.ok().map(|(_, listeners)| listeners)
        });
        let answers = join_all(answers).await.into_iter();
        Ok(answers.map(|answer| answer.unwrap_or(1)).sum())
    }

    /// Whether the first connection is to the owner of this slot.
    pub(super) fn reaches(&self, slot: u16) -> bool {
        self.owner(slot) == self.at
    }

    /// Closes all connections but the first.
    pub(super) fn rest(&self) {
        self.nodes.state().open.clear();
    }

    /// The same ways, each with another master as the first.
    pub(super) async fn each_master(&self) -> RedisResult<Vec<Self>> {
        let masters = self.nodes.state().slots.masters();
        let mut each = Vec::new();
        for at in masters {
            let first = self.connection(&at).await?;
            each.push(Self {
                at,
                first,
                ..self.clone()
            });
        }
        Ok(each)
    }

    /// Asks the masters in turn who the masters are, until one that is connected to is none any more.
    pub(super) async fn watch_masters(&self) -> ClusterError {
        let mut turn = 0;
        loop {
            tokio::time::sleep(MASTERS_EVERY).await;
            turn += 1;
            let asked = async {
                let masters = self.nodes.state().slots.masters();
                let node = masters.iter().cycle().nth(turn % masters.len().max(1))?;
                let connection = self.connection(node).await.ok()?;
                self.refresh(node, connection).await.ok()?;
                self.demoted()
            };
            // One that does not answer is no master for long: the next one knows.
            if let Ok(Some(gone)) = tokio::time::timeout(MASTERS_EVERY, asked).await {
                return ClusterError::Demoted(gone);
            }
        }
    }

    /// Where the commands go at first; nowhere while their owner is left alone.
    async fn first_steps(&self, commands: &[&Cmd]) -> RedisResult<Vec<Step>> {
        let (has_failed, is_away) = {
            let state = self.nodes.state();
            let is_away = state.away_until.is_some_and(|until| clock::now() < until);
            (state.failures > 0, is_away)
        };
        if has_failed && !is_away {
            self.refresh(&self.at, self.first.clone()).await?; // another node may be the owner now
        }
        let mut steps = Vec::with_capacity(commands.len());
        for (number, command) in commands.iter().enumerate() {
            let nodes = match route(command) {
                Route::Owner(slot) => vec![self.owner(slot)],
                Route::Anywhere => vec![self.at.clone()],
                Route::Everywhere => self.connected().into_iter().collect(),
            };
            let asked = nodes
                .into_iter()
                .filter(|node| !is_away || *node == self.at);
            steps.extend(asked.map(|node| Step {
                number,
                node,
                asks: false,
            }));
        }
        Ok(steps)
    }

    /// Who gets the commands of this slot; of one that no node owns the first, which says so.
    fn owner(&self, slot: u16) -> Node {
        let state = self.nodes.state();
        let owner = state.moved.get(&slot).or_else(|| state.slots.owner(slot));
        let owner = owner.filter(|_| self.anchor != Some(slot));
        owner.unwrap_or(&self.at).clone()
    }

    fn connected(&self) -> BTreeSet<Node> {
        let mut connected: BTreeSet<Node> = self.nodes.state().open.keys().cloned().collect();
        connected.insert(self.at.clone());
        connected
    }

    /// Sends steps to one node.
    async fn send(&self, steps: &[Step], commands: &[&Cmd]) -> RedisResult<Vec<Value>> {
        let Some(Step { node, .. }) = steps.first() else {
            return Ok(Vec::new());
        };
        let mut pipeline = Pipeline::with_capacity(steps.len());
        for step in steps {
            if step.asks {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(commands[step.number].clone());
        }
        let mut connection = self.connection(node).await?;
        let count = pipeline.len();
        let answers = connection.req_packed_commands(&pipeline, 0, count).await;
        {
            let mut state = self.nodes.state();
            if answers.is_err() {
                state.open.remove(node);
            } else if *node != self.at {
                state.failures = 0;
            }
        }
        let mut answers = answers?.into_iter();
        let of_step = |step: &Step| {
            if step.asks {
                answers.next();
            }
            answers.next().unwrap_or(Value::Nil)
        };
        Ok(steps.iter().map(of_step).collect())
    }

    async fn connection(&self, node: &Node) -> RedisResult<MultiplexedConnection> {
        if *node == self.at {
            return Ok(self.first.clone());
        }
        let open = self.nodes.state().open.get(node).cloned();
        if let Some(open) = open {
            return Ok(open);
        }
        let connected = self.nodes.connect(node, AsyncConnectionConfig::new()).await;
        let connection = connected.map_err(std::io::Error::other)?;
        let mut state = self.nodes.state();
        state.open.insert(node.clone(), connection.clone());
        Ok(connection)
    }

    /// The answers of a node that gave none, unless it is one that has to answer.
    fn answer_for(&self, steps: &[Step], error: RedisError) -> RedisResult<Vec<Value>> {
        let node = steps.first().map(|step| &step.node);
        if self.anchor.is_none() || node == Some(&self.at) {
            return Err(error);
        }
        tracing::debug!("an owner of other keys does not answer: {error}");
        let mut state = self.nodes.state();
        state.away_until = Some(clock::now() + AWAY * (1 << state.failures.min(DOUBLINGS)));
        state.failures = state.failures.saturating_add(1);
        Ok(steps.iter().map(|_| try_again()).collect())
    }

    /// Where a command goes next, by its answer.
    fn redirected(&self, step: &Step, answer: &Value) -> Option<Step> {
        let Value::ServerError(error) = answer else {
            return None;
        };
        let asks = error.kind() == Some(ServerErrorKind::Ask);
        if !asks && error.kind() != Some(ServerErrorKind::Moved) {
            return None;
        }
        let (slot, node) = error.details()?.split_once(' ')?;
        let slot = slot.parse().ok()?;
        let node = Node::parse(node, &step.node)?;
        if !asks && self.anchor == Some(slot) {
            return None;
        }
        if !asks {
            self.nodes.state().moved.insert(slot, node.clone());
        }
        let number = step.number;
        Some(Step { number, node, asks })
    }

    /// Asks this node who owns what.
    async fn refresh(&self, node: &Node, mut at: MultiplexedConnection) -> RedisResult<()> {
        let mut question = redis::cmd("CLUSTER");
        let answer = question.arg("SLOTS").query_async(&mut at).await?;
        let slots = Slots::read(answer, node);
        let mut state = self.nodes.state();
        (state.slots, state.moved) = (slots, BTreeMap::new());
        Ok(())
    }

    /// A node that is connected to and owns nothing any more.
    fn demoted(&self) -> Option<Node> {
        let masters = self.nodes.state().slots.masters();
        let mut connected = self.connected().into_iter();
        let gone = connected.find(|node| !masters.contains(node));
        gone.filter(|_| !masters.is_empty())
    }
}

impl Nodes {
    /// None is connected to yet. `store` is what each of them is connected with.
    pub(super) fn new(store: Target, slots: Slots, within: Within) -> Self {
        let state = State {
            slots,
            ..State::default()
        };
        Self {
            store,
            within,
            state: Mutex::new(state),
        }
    }

    /// Connects to this node first, perhaps for one slot.
    pub(super) async fn from(
        self,
        at: Node,
        anchor: Option<u16>,
        config: AsyncConnectionConfig,
    ) -> Result<Routes, ConnectError> {
        let first = self.connect(&at, config).await?;
        Ok(Routes {
            at,
            first,
            anchor,
            nodes: Arc::new(self),
        })
    }

    /// Connects to all masters; the first is another one than `spared`, if there is one.
    pub(super) async fn of_all(self, spared: &Node) -> Result<Routes, ConnectError> {
        let masters = self.state().slots.masters();
        let connected = masters
            .iter()
            .map(|node| self.connect(node, AsyncConnectionConfig::new()));
        let connected = join_all(connected).await.into_iter();
        let connected = connected.collect::<Result<Vec<_>, _>>()?;
        let mut open: BTreeMap<_, _> = masters.into_iter().zip(connected).collect();
        let first = open.keys().find(|node| *node != spared);
        let at = first.unwrap_or(spared).clone();
        let Some(first) = open.remove(&at) else {
            return Err(ClusterError::Empty(at).into());
        };
        self.state().open = open;
        Ok(Routes {
            at,
            first,
            anchor: None,
            nodes: Arc::new(self),
        })
    }

    async fn connect(
        &self,
        node: &Node,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let config = config.set_response_timeout(Some(self.within.answered));
        let target = node.target(&self.store);
        let connected = connect(target, config, self.within.connected).await;
        connected.map_err(|error| ClusterError::Node(node.clone(), Box::new(error)).into())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By the command's name and its first key. Where there are several keys, all are in one slot.
fn route(command: &Cmd) -> Route {
    let words: Vec<&[u8]> = command.args_iter().filter_map(word).collect();
    let key = |place: usize| Route::Owner(slot(words.get(place).copied().unwrap_or_default()));
    match words.first().copied() {
        Some(b"PUBLISH" | b"TIME" | b"SCAN" | b"PING") => Route::Anywhere,
        Some(b"SCRIPT" | b"INFO") => Route::Everywhere,
        Some(b"EVALSHA") => key(3),
        Some(b"XREAD") => {
            let streams = words.iter().position(|word| *word == b"STREAMS");
            key(streams.unwrap_or(0) + 1)
        }
        Some(_) | None => key(1),
    }
}

fn word(argument: Arg<&[u8]>) -> Option<&[u8]> {
    if let Arg::Simple(word) = argument {
        return Some(word);
    }
    None
}

/// Steps to one node each, in the order of their commands.
fn by_node(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut groups: BTreeMap<Node, Vec<Step>> = BTreeMap::new();
    for step in steps {
        groups.entry(step.node.clone()).or_default().push(step);
    }
    groups.into_values().collect()
}

/// Puts the answers of several nodes to one command together: an error stands for all, texts follow each other.
fn merge(held: &mut Option<Value>, answer: Value) {
    match (held.as_mut(), answer) {
        (Some(Value::ServerError(_)), _) => {}
        (Some(Value::VerbatimString { text, .. }), Value::VerbatimString { text: more, .. }) => {
            text.push_str(&more);
        }
        (_, answer) => *held = Some(answer),
    }
}

/// What a cluster itself answers for a slot that is on its way.
fn try_again() -> Value {
    let text = b"-TRYAGAIN the node that owns this key does not answer\r\n";
    redis::parse_redis_value(text).unwrap_or(Value::Nil)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Route {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        route(&command)
    }

    #[test]
    fn a_command_goes_to_the_owner_of_its_first_key() {
        let owner = |key: &str| Route::Owner(slot(key.as_bytes()));
        assert_eq!(of(&["HGET", "agent:a", "epoch"]), owner("agent:a"));
        assert_eq!(of(&["DEL", "agent:a", "x{agent:a}"]), owner("agent:a"));
        assert_eq!(of(&["EVALSHA", "0af", "2", "k", "l", "v"]), owner("k"));
        let read = [
            "XREAD",
            "COUNT",
            "9",
            "BLOCK",
            "5",
            "STREAMS",
            "hb:events",
            "0-0",
        ];
        assert_eq!(of(&read), owner("hb:events"));
        assert_eq!(of(&["PUBLISH", "heartbeats", "x"]), Route::Anywhere);
        assert_eq!(of(&["INFO", "persistence"]), Route::Everywhere);
    }

    #[test]
    fn the_texts_of_several_nodes_follow_each_other() {
        let text = |text: &str| {
            let text = format!("={}\r\ntxt:{text}\r\n", text.len() + 4);
            redis::parse_redis_value(text.as_bytes()).unwrap()
        };
        let mut held = None;
        merge(&mut held, text("a:1\r\n"));
        merge(&mut held, text("a:2\r\n"));
        assert_eq!(held, Some(text("a:1\r\na:2\r\n")));
        merge(&mut held, try_again());
        merge(&mut held, text("a:3\r\n"));
        assert_eq!(held, Some(try_again()));
    }
}
