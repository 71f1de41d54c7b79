//! What each command means. Pure: keys and time in, a reply and publications out.
//!
//! Keys: DEL UNLINK EXISTS TYPE SCAN DBSIZE FLUSHALL FLUSHDB EXPIRE PEXPIRE TTL PTTL PERSIST.
//! Text: GET SET INCR INCRBY. Hashes (`hashes`): HSET HGET HMGET HGETALL HSCAN HDEL HEXISTS HLEN. Streams (`streams`): XADD XLEN XRANGE XREVRANGE.
//! Others: PING ECHO TIME PUBLISH EVAL EVALSHA SCRIPT. What belongs to one client (HELLO, AUTH, SUBSCRIBE, a blocking
//! XREAD …) is answered by `server`.

mod hashes;
mod streams;
mod words;

use super::keyspace::{Keyspace, Now, Value};
use super::resp::Reply;
use super::scripts::Script;
use bytes::Bytes;

pub(super) use streams::{Since, read as read_streams, since};
pub(super) use words::{
    PATTERN_BYTES_MAX, arity, count, glob, not_a_number, number_of, pattern_too_long, syntax,
    wrong_type,
};
use words::{grows, too_large};

/// How many keys one SCAN visits without COUNT.
const SCAN_COUNT: usize = 10;
const SCAN_COUNT_MAX: usize = 10_000;

/// What a command works on.
pub(super) struct Context<'a> {
    pub(super) keys: &'a mut Keyspace,
    pub(super) now: Now,
    pub(super) memory_max: usize,
    /// Messages to deliver once the command is done: channel and payload.
    pub(super) published: Vec<(Bytes, Bytes)>,
    /// Counts the subscribers of a channel.
    pub(super) subscribers: &'a dyn Fn(&[u8]) -> usize,
}

impl Context<'_> {
    /// Runs a command.
    pub(super) fn run(&mut self, command: &[Bytes]) -> Reply {
        let Some((name, args)) = command.split_first() else {
            return Reply::Error("ERR empty command".to_owned());
        };
        let name = name.to_ascii_uppercase();
        if self.keys.bytes() > self.memory_max && grows(&name) {
            return Reply::Error(
                "OOM command not allowed when used memory > 'maxmemory'.".to_owned(),
            );
        }
        self.keys(&name, args)
            .or_else(|| self.texts(&name, args))
            .or_else(|| self.hashes(&name, args))
            .or_else(|| self.other(&name, args))
            .unwrap_or_else(|| unknown(&name, args))
    }

    /// The text at a key, for scripts; `None` for a value of another type.
    pub(super) fn text(&self, key: &[u8]) -> Option<Bytes> {
        match self.keys.get(key) {
            Some(Value::Text(text)) => Some(text.clone()),
            Some(Value::Hash(_) | Value::Stream(_)) | None => None,
        }
    }

    /// A field of the hash at a key, for scripts; `None` for a value of another type.
    pub(super) fn field(&self, key: &[u8], field: &[u8]) -> Option<Bytes> {
        match self.keys.get(key) {
            Some(Value::Hash(hash)) => hash.get(field).cloned(),
            Some(Value::Text(_) | Value::Stream(_)) | None => None,
        }
    }

    fn keys(&mut self, name: &[u8], args: &[Bytes]) -> Option<Reply> {
        Some(match (name, args) {
            (b"DEL" | b"UNLINK", [_, ..]) => {
                count(args.iter().filter(|key| self.keys.remove(key)).count())
            }
            (b"EXISTS", [_, ..]) => count(
                args.iter()
                    .filter(|key| self.keys.get(key).is_some())
                    .count(),
            ),
            (b"TYPE", [key]) => Reply::Simple(self.keys.get(key).map_or("none", type_name)),
            (b"SCAN", [cursor, options @ ..]) => self.scan(cursor, options),
            (b"DBSIZE", []) => count(self.keys.len()),
            (b"FLUSHALL" | b"FLUSHDB", _) => {
                self.keys.clear();
                Reply::ok()
            }
            (b"EXPIRE", [key, time]) => self.expire(key, time, 1000),
            (b"PEXPIRE", [key, time]) => self.expire(key, time, 1),
            (b"TTL", [key]) => self.time_to_live(key, 1000),
            (b"PTTL", [key]) => self.time_to_live(key, 1),
            (b"PERSIST", [key]) => {
                let had = self.keys.expires(key).is_some();
                self.keys.set_expiry(key, None);
                count(usize::from(had))
            }
            (
                b"DEL" | b"UNLINK" | b"EXISTS" | b"TYPE" | b"SCAN" | b"DBSIZE" | b"EXPIRE"
                | b"PEXPIRE" | b"TTL" | b"PTTL" | b"PERSIST",
                _,
            ) => arity(name),
            _ => return None,
        })
    }

    fn texts(&mut self, name: &[u8], args: &[Bytes]) -> Option<Reply> {
        Some(match (name, args) {
            (b"GET", [key]) => match self.keys.get(key) {
                Some(Value::Text(text)) => Reply::Bulk(text.clone()),
                Some(Value::Hash(_) | Value::Stream(_)) => wrong_type(),
                None => Reply::Null,
            },
            (b"SET", [key, text, options @ ..]) => self.set(key, text, options),
            (b"INCR", [key]) => self.increment(key, 1),
            (b"INCRBY", [key, by]) => match number_of(by) {
                Some(by) => self.increment(key, by),
                None => not_a_number(),
            },
            (b"GET" | b"SET" | b"INCR" | b"INCRBY", _) => arity(name),
            _ => return None,
        })
    }

    fn other(&mut self, name: &[u8], args: &[Bytes]) -> Option<Reply> {
        Some(match (name, args) {
            (b"PING", []) => Reply::Simple("PONG"),
            (b"PING" | b"ECHO", [text]) => Reply::Bulk(text.clone()),
            (b"TIME", []) => {
                let (seconds, micros) =
                    (self.now.unix_us / 1_000_000, self.now.unix_us % 1_000_000);
                Reply::Array(vec![
                    Reply::text(seconds.to_string()),
                    Reply::text(micros.to_string()),
                ])
            }
            (b"PUBLISH", [channel, payload]) => {
                self.published.push((channel.clone(), payload.clone()));
                count((self.subscribers)(channel))
            }
            (b"XADD" | b"XLEN" | b"XRANGE" | b"XREVRANGE", _) => self.stream(name, args)?,
            (b"EVALSHA", [sha, rest @ ..]) => match Script::named(sha) {
                Some(script) => self.script(script, rest),
                None => Reply::Error("NOSCRIPT No matching script. Please use EVAL.".to_owned()),
            },
            (b"EVAL", [text, rest @ ..]) => match Script::of(text) {
                Some((_, script)) => self.script(script, rest),
                None => foreign_script(),
            },
            (b"SCRIPT", [verb, rest @ ..]) => script_command(&verb.to_ascii_uppercase(), rest),
            (b"PING" | b"ECHO" | b"TIME" | b"PUBLISH" | b"EVALSHA" | b"EVAL" | b"SCRIPT", _) => {
                arity(name)
            }
            _ => return None,
        })
    }

    fn script(&mut self, script: Script, rest: &[Bytes]) -> Reply {
        let Some((numkeys, rest)) = rest.split_first() else {
            return arity(b"EVALSHA");
        };
        let Some(split) = number_of(numkeys).and_then(|n| usize::try_from(n).ok()) else {
            return not_a_number();
        };
        match rest.split_at_checked(split) {
            Some((keys, args)) => script.run(self, keys, args),
            None => {
                Reply::Error("ERR Number of keys can't be greater than number of args".to_owned())
            }
        }
    }

    fn scan(&self, cursor: &[u8], options: &[Bytes]) -> Reply {
        let Some(cursor) = number_of(cursor).and_then(|n| u64::try_from(n).ok()) else {
            return Reply::Error("ERR invalid cursor".to_owned());
        };
        let (mut pattern, mut wanted, mut most) = (None, None, SCAN_COUNT);
        for option in options.chunks(2) {
            match (option[0].to_ascii_uppercase().as_slice(), option.get(1)) {
                (b"MATCH", Some(text)) if text.len() > PATTERN_BYTES_MAX => {
                    return pattern_too_long();
                }
                (b"MATCH", Some(text)) => pattern = Some(text),
                (b"TYPE", Some(text)) => wanted = Some(text.to_ascii_lowercase()),
                (b"COUNT", Some(text)) => {
                    match number_of(text).and_then(|n| usize::try_from(n).ok()) {
                        Some(n @ 1..) => most = n.min(SCAN_COUNT_MAX),
                        Some(0) | None => return not_a_number(),
                    }
                }
                _ => return syntax(),
            }
        }
        let (next, page) = self.keys.scan(cursor, most);
        let fits = |key: &&Bytes| {
            pattern.is_none_or(|pattern| glob(pattern, key))
                && wanted.as_deref().is_none_or(|wanted| {
                    self.keys
                        .get(key)
                        .is_some_and(|value| type_name(value).as_bytes() == wanted)
                })
        };
        let page = page
            .into_iter()
            .filter(fits)
            .map(|key| Reply::Bulk(key.clone()))
            .collect();
        Reply::Array(vec![Reply::text(next.to_string()), Reply::Array(page)])
    }

    fn expire(&mut self, key: &Bytes, time: &[u8], unit_ms: i64) -> Reply {
        let Some(ms) = number_of(time).and_then(|time| time.checked_mul(unit_ms)) else {
            return not_a_number();
        };
        if self.keys.get(key).is_none() {
            return count(0);
        }
        match u64::try_from(ms) {
            Ok(ms @ 1..) => {
                self.keys.set_expiry(key, Some(self.now.after(ms)));
            }
            Ok(0) | Err(_) => {
                self.keys.remove(key);
            }
        }
        count(1)
    }

    fn time_to_live(&self, key: &[u8], unit_ms: u64) -> Reply {
        if self.keys.get(key).is_none() {
            return Reply::Number(-2);
        }
        match self.keys.expires(key) {
            None => Reply::Number(-1),
            Some(at) => {
                let left = at.left(self.now);
                Reply::Number(i64::try_from((left + unit_ms / 2) / unit_ms).unwrap_or(i64::MAX))
            }
        }
    }

    fn set(&mut self, key: &Bytes, text: &Bytes, options: &[Bytes]) -> Reply {
        let (mut only_new, mut only_old, mut keep, mut expiry) = (false, false, false, None);
        let mut rest = options.iter();
        while let Some(option) = rest.next() {
            match option.to_ascii_uppercase().as_slice() {
                b"NX" => only_new = true,
                b"XX" => only_old = true,
                b"KEEPTTL" => keep = true,
                unit @ (b"PX" | b"EX") => {
                    let factor = if unit == b"PX" { 1 } else { 1000 };
                    let ms = rest.next().and_then(|n| number_of(n)?.checked_mul(factor));
                    match ms.and_then(|ms| u64::try_from(ms).ok()) {
                        Some(ms @ 1..) => expiry = Some(self.now.after(ms)),
                        Some(0) | None => {
                            return Reply::Error(
                                "ERR invalid expire time in 'set' command".to_owned(),
                            );
                        }
                    }
                }
                _ => return syntax(),
            }
        }
        let there = self.keys.get(key).is_some();
        if only_new && only_old {
            return syntax();
        }
        if (only_new && there) || (only_old && !there) {
            return Reply::Null;
        }
        let expiry = if keep { self.keys.expires(key) } else { expiry };
        self.keys.set(key, text);
        self.keys.set_expiry(key, expiry);
        Reply::ok()
    }

    fn increment(&mut self, key: &Bytes, by: i64) -> Reply {
        let held = match self.keys.get(key) {
            None => Some(0),
            Some(Value::Text(text)) => number_of(text),
            Some(Value::Hash(_) | Value::Stream(_)) => return wrong_type(),
        };
        let Some(next) = held.and_then(|n| n.checked_add(by)) else {
            return not_a_number();
        };
        let expiry = self.keys.expires(key);
        self.keys.set(key, next.to_string().as_bytes());
        self.keys.set_expiry(key, expiry);
        Reply::Number(next)
    }
}

fn script_command(verb: &[u8], rest: &[Bytes]) -> Reply {
    match (verb, rest) {
        (b"LOAD", [text]) => match Script::of(text) {
            Some((name, _)) => Reply::text(name),
            None => foreign_script(),
        },
        (b"EXISTS", shas) => {
            let there = |sha: &Bytes| count(usize::from(Script::named(sha).is_some()));
            Reply::Array(shas.iter().map(there).collect())
        }
        (b"FLUSH", _) => Reply::ok(), // hb's own scripts are part of the program
        _ => Reply::Error("ERR unknown SCRIPT subcommand or wrong number of arguments".to_owned()),
    }
}

fn foreign_script() -> Reply {
    Reply::Error(
        "ERR this embedded store runs hb's own scripts only; use a Redis server for others"
            .to_owned(),
    )
}

fn unknown(name: &[u8], args: &[Bytes]) -> Reply {
    let shown = |bytes: &[u8]| -> String {
        String::from_utf8_lossy(bytes)
            .chars()
            .filter(|c| !c.is_control())
            .take(64)
            .collect()
    };
    let args: String = args
        .iter()
        .take(3)
        .map(|arg| format!("'{}' ", shown(arg)))
        .collect();
    Reply::Error(format!(
        "ERR unknown command '{}', with args beginning with: {args}",
        shown(name)
    ))
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Text(_) => "string",
        Value::Hash(_) => "hash",
        Value::Stream(_) => "stream",
    }
}
