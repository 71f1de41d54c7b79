//! Who receives what is published: the names that clients are subscribed to, each once.
//!
//! A message is compared with every pattern, at the publisher's cost and at that of all who wait behind it. So names and
//! patterns are bounded in length, and all of them together in bytes: a message costs milliseconds at most.

use super::Server;
use super::client::Client;
use crate::commands::{PATTERN_BYTES_MAX, arity, count, glob, pattern_too_long};
use crate::resp::{Reply, Version};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Channels and patterns of one client.
const SUBSCRIPTIONS_MAX: usize = 1024;
/// The longest name of a channel. A sidecar's are 140 bytes at most.
const NAME_BYTES_MAX: usize = 1024;
/// Bytes of all channels' names: 1024 sidecars take a third of it.
const NAMES_BYTES_MAX: usize = 1 << 20;
/// Bytes of all patterns: hb itself uses none, a person one.
const PATTERNS_BYTES_MAX: usize = 16 << 10;

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Channel,
    Pattern,
}

/// Names of one kind, each with the clients that are subscribed to it.
#[derive(Debug, Default)]
struct Names {
    all: BTreeMap<Bytes, BTreeSet<u64>>,
    bytes: usize,
}

/// What all clients together are subscribed to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: Names,
    patterns: Names,
}

/// A message as clients of each version receive it, encoded once.
struct Message {
    reply: Reply,
    encoded: [Option<Bytes>; 2],
}

impl Names {
    fn add(&mut self, name: &Bytes, id: u64) {
        let clients = self.all.entry(name.clone()).or_insert_with(|| {
            self.bytes += name.len();
            BTreeSet::new()
        });
        clients.insert(id);
    }

    fn remove(&mut self, name: &Bytes, id: u64) {
        let Some(clients) = self.all.get_mut(name) else {
            return;
        };
        clients.remove(&id);
        if clients.is_empty() {
            self.all.remove(name);
            self.bytes -= name.len();
        }
    }
}

impl Subscriptions {
    /// How many clients are subscribed to the channel by its name.
    fn subscribers(&self, channel: &[u8]) -> usize {
        self.channels.all.get(channel).map_or(0, BTreeSet::len)
    }

    /// How many messages one on this channel becomes.
    pub(super) fn deliveries(&self, channel: &[u8]) -> usize {
        let by_pattern = self.fitting(channel).map(|(_, clients)| clients.len());
        self.subscribers(channel) + by_pattern.sum::<usize>()
    }

    fn fitting<'a>(
        &'a self,
        channel: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a BTreeSet<u64>)> {
        let patterns = self.patterns.all.iter();
        patterns.filter(|(pattern, _)| channel.len() <= NAME_BYTES_MAX && glob(pattern, channel))
    }

    fn of(&mut self, kind: Kind) -> &mut Names {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }

    /// Why one more subscription is refused.
    fn refusal(&self, kind: Kind, name: &[u8]) -> Option<Reply> {
        let (names, most) = match kind {
            Kind::Channel if name.len() > NAME_BYTES_MAX => {
                return Some(Reply::Error(format!(
                    "ERR the name of a channel has at most {NAME_BYTES_MAX} bytes"
                )));
            }
            Kind::Pattern if name.len() > PATTERN_BYTES_MAX => return Some(pattern_too_long()),
            Kind::Channel => (&self.channels, NAMES_BYTES_MAX),
            Kind::Pattern => (&self.patterns, PATTERNS_BYTES_MAX),
        };
        let is_new = !names.all.contains_key(name);
        (is_new && names.bytes + name.len() > most).then(too_many)
    }
}

impl Message {
    fn new(parts: Vec<Reply>) -> Self {
        Self {
            reply: Reply::Push(parts),
            encoded: [None, None],
        }
    }

    fn send_to(&mut self, client: &mut Client) {
        let version = client.version;
        let place = match version {
            Version::Two => &mut self.encoded[0],
            Version::Three => &mut self.encoded[1],
        };
        let bytes = place.get_or_insert_with(|| self.reply.clone().encode(version));
        client.send_bytes(bytes.clone());
    }
}

impl Server {
    pub(super) fn deliver(&mut self, channel: &Bytes, payload: &Bytes) {
        let Self {
            subscriptions,
            clients,
            ..
        } = self;
        let content = || [Reply::Bulk(channel.clone()), Reply::Bulk(payload.clone())];
        if let Some(ids) = subscriptions.channels.all.get(channel) {
            let mut message = Message::new([&[Reply::text("message")], &content()[..]].concat());
            for id in ids {
                if let Some(client) = clients.get_mut(id) {
                    message.send_to(client);
                }
            }
        }
        for (pattern, ids) in subscriptions.fitting(channel) {
            let head = [Reply::text("pmessage"), Reply::Bulk(pattern.clone())];
            let mut message = Message::new([&head[..], &content()[..]].concat());
            for id in ids {
                if let Some(client) = clients.get_mut(id) {
                    message.send_to(client);
                }
            }
        }
    }

    /// SUBSCRIBE and its three siblings; one confirmation for each name.
    pub(super) fn subscription(&mut self, id: u64, verb: &[u8], args: &[Bytes]) -> Option<Reply> {
        let kind = if verb.starts_with(b"P") {
            Kind::Pattern
        } else {
            Kind::Channel
        };
        if verb.ends_with(b"UNSUBSCRIBE") {
            self.unsubscribe(id, verb, kind, args);
            return None;
        }
        if args.is_empty() {
            return Some(arity(verb));
        }
        for name in args {
            if let Some(refused) = self.subscriptions.refusal(kind, name) {
                return Some(refused);
            }
            let client = self.clients.get_mut(&id)?;
            if client.subscriptions() >= SUBSCRIPTIONS_MAX {
                return Some(too_many());
            }
            // A copy: a slice of the client's buffer would keep all of it alive.
            let name = Bytes::copy_from_slice(name);
            self.subscriptions.of(kind).add(&name, id);
            own(client, kind).insert(name.clone());
            confirm(client, verb, Reply::Bulk(name));
        }
        None
    }

    /// Without names: from all.
    fn unsubscribe(&mut self, id: u64, verb: &[u8], kind: Kind, args: &[Bytes]) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let names = if args.is_empty() {
            own(client, kind).iter().cloned().collect()
        } else {
            args.to_vec()
        };
        if names.is_empty() {
            confirm(client, verb, Reply::Null);
        }
        for name in names {
            if own(client, kind).remove(&name) {
                self.subscriptions.of(kind).remove(&name, id);
            }
            confirm(client, verb, Reply::Bulk(name));
        }
    }

    /// Ends every subscription of a client, without a confirmation.
    pub(super) fn unsubscribe_all(&mut self, id: u64) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        for kind in [Kind::Channel, Kind::Pattern] {
            for name in std::mem::take(own(client, kind)) {
                self.subscriptions.of(kind).remove(&name, id);
            }
        }
    }

    pub(super) fn pubsub(&self, args: &[Bytes]) -> Reply {
        let verb = args.first().map(|verb| verb.to_ascii_uppercase());
        match (verb.as_deref(), args.get(1..).unwrap_or_default()) {
            (Some(b"NUMSUB"), channels) => {
                let counted = |channel: &Bytes| {
                    let subscribers = count(self.subscriptions.subscribers(channel));
                    [Reply::Bulk(channel.clone()), subscribers]
                };
                Reply::Array(channels.iter().flat_map(counted).collect())
            }
            (Some(b"NUMPAT"), []) => count(self.subscriptions.patterns.all.len()),
            (Some(b"CHANNELS"), [pattern]) if pattern.len() > PATTERN_BYTES_MAX => {
                pattern_too_long()
            }
            (Some(b"CHANNELS"), pattern @ ([] | [_])) => {
                let channels = self.subscriptions.channels.all.keys();
                let fitting = channels.filter(|name| pattern.first().is_none_or(|p| glob(p, name)));
                Reply::Array(fitting.map(|name| Reply::Bulk(name.clone())).collect())
            }
            _ => Reply::Error(
                "ERR unknown PUBSUB subcommand or wrong number of arguments".to_owned(),
            ),
        }
    }
}

fn own(client: &mut Client, kind: Kind) -> &mut BTreeSet<Bytes> {
    match kind {
        Kind::Channel => &mut client.channels,
        Kind::Pattern => &mut client.patterns,
    }
}

fn confirm(client: &mut Client, verb: &[u8], name: Reply) {
    let verb = String::from_utf8_lossy(verb).to_lowercase();
    let subscriptions = i64::try_from(client.subscriptions()).unwrap_or(i64::MAX);
    client.send(Reply::Push(vec![
        Reply::text(verb),
        name,
        Reply::Number(subscriptions),
    ]));
}

fn too_many() -> Reply {
    Reply::Error("ERR too many subscriptions".to_owned())
}
