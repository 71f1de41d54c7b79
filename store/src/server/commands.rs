//! Commands that belong to a client or to the server, not to the keys.

use super::Server;
use super::xread::{Blocked, Xread};
use crate::commands::{arity, count, read_streams, syntax};
use crate::resp::{Reply, Version};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The version that is reported to clients: the one whose commands this store follows.
const VERSION: &str = "7.0.0";

impl Server {
    /// Runs one command. `None`: the reply was sent already, or follows later.
    pub(super) fn command(&mut self, id: u64, command: &[Bytes]) -> Option<Reply> {
        let name = command[0].to_ascii_uppercase();
        let args = &command[1..];
        let client = self.clients.get_mut(&id)?;
        if client.version == Version::Two
            && client.subscriptions() > 0
            && !allowed_while_subscribed(&name)
        {
            let name = String::from_utf8_lossy(&name).to_lowercase();
            return Some(Reply::Error(format!(
                "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            )));
        }
        match name.as_slice() {
            b"HELLO" => Some(self.hello(id, args)),
            b"AUTH" => Some(Reply::Error(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?".to_owned(),
            )),
            b"SELECT" => Some(match args {
                [db] if &db[..] == b"0" => Reply::ok(),
                [_] => Reply::Error("ERR DB index is out of range".to_owned()),
                _ => arity(&name),
            }),
            b"PING" if client.version == Version::Two && client.subscriptions() > 0 => {
                let text = args.first().cloned().unwrap_or_default();
                Some(Reply::Array(vec![Reply::text("pong"), Reply::Bulk(text)]))
            }
            b"QUIT" => {
                client.send(Reply::ok());
                client.cut_off();
                None
            }
            b"RESET" => {
                client.reset();
                self.unsubscribe_all(id);
                Some(Reply::Simple("RESET"))
            }
            b"CLIENT" => Some(client.command(id, args)),
            b"SUBSCRIBE" | b"PSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" => {
                self.subscription(id, &name, args)
            }
            b"PUBSUB" => Some(self.pubsub(args)),
            b"INFO" => Some(Reply::text(self.info())),
            b"COMMAND" => Some(match args.first().map(|verb| verb.to_ascii_uppercase()).as_deref() {
                Some(b"COUNT") => count(0),
                Some(b"DOCS") => Reply::Map(Vec::new()),
                Some(_) | None => Reply::Array(Vec::new()),
            }),
            b"CONFIG" => Some(match args {
                [verb, _, ..] if verb.eq_ignore_ascii_case(b"GET") => Reply::Map(Vec::new()),
                _ => Reply::Error("ERR the embedded store has no configuration".to_owned()),
            }),
            b"XREAD" => self.xread(id, args),
            _ => Some(self.run(command)),
        }
    }

    fn hello(&mut self, id: u64, args: &[Bytes]) -> Reply {
        let Some(client) = self.clients.get_mut(&id) else {
            return Reply::Null;
        };
        let version = match args.first().map(|v| &v[..]) {
            None => client.version,
            Some(b"2") => Version::Two,
            Some(b"3") => Version::Three,
            Some(_) => return Reply::Error("NOPROTO unsupported protocol version".to_owned()),
        };
        let mut options = args.get(1..).unwrap_or_default();
        while let [option, rest @ ..] = options {
            options = match rest {
                [name, rest @ ..] if option.eq_ignore_ascii_case(b"SETNAME") => {
                    client.name = Bytes::copy_from_slice(name);
                    rest
                }
                [_, _, ..] if option.eq_ignore_ascii_case(b"AUTH") => {
                    return Reply::Error(
                        "WRONGPASS invalid username-password pair or user is disabled.".to_owned(),
                    );
                }
                _ => return syntax(),
            };
        }
        client.version = version;
        let proto = if version == Version::Three { 3 } else { 2 };
        let pair = |key: &str, value| (Reply::text(key), value);
        Reply::Map(vec![
            pair("server", Reply::text("redis")),
            pair("version", Reply::text(VERSION)),
            pair("proto", Reply::Number(proto)),
            pair("id", Reply::Number(i64::try_from(id).unwrap_or(i64::MAX))),
            pair("mode", Reply::text("standalone")),
            pair("role", Reply::text("master")),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    fn xread(&mut self, id: u64, args: &[Bytes]) -> Option<Reply> {
        let now = self.now();
        self.keys.expire(now);
        let read = match Xread::parse(&self.keys, args) {
            Ok(read) => read,
            Err(wrong) => return Some(wrong),
        };
        match read_streams(&self.keys, &read.wanted, read.most) {
            Err(wrong) => Some(wrong),
            Ok(Some(found)) => Some(found),
            Ok(None) => {
                let Some(block) = read.block else {
                    return Some(Reply::Null);
                };
                // Zero blocks without limit: a year is longer than any connection.
                let wait = if block == 0 {
                    31_536_000_000
                } else {
                    block.min(31_536_000_000)
                };
                let until = Instant::now() + Duration::from_millis(wait);
                self.clients.get_mut(&id)?.blocked = Some(Blocked { read, until });
                None
            }
        }
    }

    fn info(&self) -> String {
        format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nrun_id:{}\r\nuptime_in_seconds:{}\r\n\
             # Clients\r\nconnected_clients:{}\r\n# Memory\r\nused_memory:{}\r\nmaxmemory:{}\r\n\
             maxmemory_policy:noeviction\r\n# Persistence\r\nloading:0\r\naof_last_write_status:{}\r\n\
             # Replication\r\nrole:master\r\n",
            self.run_id,
            self.started.elapsed().as_secs(),
            self.clients.len(),
            self.keys.bytes(),
            self.limits.memory_bytes,
            if self.disk_fails { "err" } else { "ok" },
        )
    }
}

fn allowed_while_subscribed(name: &[u8]) -> bool {
    matches!(
        name,
        b"SUBSCRIBE"
            | b"PSUBSCRIBE"
            | b"UNSUBSCRIBE"
            | b"PUNSUBSCRIBE"
            | b"PING"
            | b"QUIT"
            | b"RESET"
            | b"HELLO"
    )
}
