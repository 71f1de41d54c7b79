//! Hashes: HSET HDEL HGET HEXISTS HLEN HMGET HGETALL HSCAN.

use super::words::REPLY_BYTES_MAX;
use super::{
    Context, PATTERN_BYTES_MAX, arity, count, glob, not_a_number, number_of, pattern_too_long,
    syntax, too_large, wrong_type,
};
use crate::changes::Part;
use crate::keyspace::{Value, cost};
use crate::resp::Reply;
use bytes::Bytes;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hasher};

type Hash = HashMap<Bytes, Bytes>;

/// Fields of a hash that one HSCAN returns whatever its COUNT is, as Redis does for a small one.
const SMALL: usize = 128;
/// Fields and bytes of one page of HSCAN.
const PAGE_MAX: usize = 10_000;
const PAGE_BYTES: usize = 1 << 20;

impl Context<'_> {
    pub(super) fn hashes(&mut self, name: &[u8], args: &[Bytes]) -> Option<Reply> {
        Some(match (name, args) {
            (b"HSET", [key, pairs @ ..]) if !pairs.is_empty() && pairs.len().is_multiple_of(2) => {
                self.hset(key, pairs)
            }
            (b"HDEL", [key, fields @ ..]) if !fields.is_empty() => self.hdel(key, fields),
            (b"HGET", [key, field]) => self.hash(key, |hash| bulk(hash.get(field))),
            (b"HEXISTS", [key, field]) => {
                self.hash(key, |hash| count(usize::from(hash.contains_key(field))))
            }
            (b"HLEN", [key]) => self.hash(key, |hash| count(hash.len())),
            (b"HMGET", [key, fields @ ..]) if !fields.is_empty() => self.hash(key, |hash| {
                let found = || fields.iter().map(|field| hash.get(field));
                if found().flatten().map(Bytes::len).sum::<usize>() > REPLY_BYTES_MAX {
                    return too_large();
                }
                Reply::Array(found().map(bulk).collect())
            }),
            (b"HGETALL", [key]) => self.hash(key, all),
            (b"HSCAN", [key, cursor, options @ ..]) => match Scan::parse(cursor, options) {
                Ok(scan) => self.hash(key, |hash| scan.page(hash)),
                Err(wrong) => wrong,
            },
            (
                b"HSET" | b"HDEL" | b"HGET" | b"HEXISTS" | b"HLEN" | b"HMGET" | b"HGETALL"
                | b"HSCAN",
                _,
            ) => arity(name),
            _ => return None,
        })
    }

    fn hset(&mut self, key: &Bytes, pairs: &[Bytes]) -> Reply {
        if !matches!(self.keys.get(key), None | Some(Value::Hash(_))) {
            return wrong_type();
        }
        self.keys.change(
            key,
            || Value::Hash(HashMap::new()),
            |value, touched| {
                let Value::Hash(hash) = value else {
                    return (wrong_type(), 0);
                };
                let (mut new, mut grown) = (0, 0);
                for pair in pairs.chunks_exact(2) {
                    // Copies: a slice of the client's buffer would keep all of it alive.
                    let (field, text) = (
                        Bytes::copy_from_slice(&pair[0]),
                        Bytes::copy_from_slice(&pair[1]),
                    );
                    grown += cost([&field, &text]);
                    touched.part(|| Part::Field(field.clone()));
                    match hash.insert(field, text) {
                        None => new += 1,
                        Some(before) => grown -= cost([&pair[0], &before]),
                    }
                }
                (count(new), grown)
            },
        )
    }

    fn hdel(&mut self, key: &Bytes, fields: &[Bytes]) -> Reply {
        match self.keys.get(key) {
            None => return count(0),
            Some(Value::Hash(_)) => {}
            Some(Value::Text(_) | Value::Stream(_)) => return wrong_type(),
        }
        let (gone, empty) = self.keys.change(
            key,
            || Value::Hash(HashMap::new()),
            |value, touched| {
                let Value::Hash(hash) = value else {
                    return ((0, false), 0);
                };
                let (mut gone, mut grown) = (0, 0);
                for field in fields {
                    if let Some(text) = hash.remove(field) {
                        gone += 1;
                        grown -= cost([field, &text]);
                        touched.part(|| Part::Field(Bytes::copy_from_slice(field)));
                    }
                }
                ((gone, hash.is_empty()), grown)
            },
        );
        if empty {
            self.keys.remove(key);
        }
        count(gone)
    }

    fn hash(&self, key: &[u8], read: impl FnOnce(&Hash) -> Reply) -> Reply {
        match self.keys.get(key) {
            None => read(&HashMap::new()),
            Some(Value::Hash(hash)) => read(hash),
            Some(Value::Text(_) | Value::Stream(_)) => wrong_type(),
        }
    }
}

fn all(hash: &Hash) -> Reply {
    let bytes = hash.iter().map(|(k, v)| k.len() + v.len());
    if bytes.sum::<usize>() > REPLY_BYTES_MAX {
        return too_large();
    }
    let pair = |(k, v): (&Bytes, &Bytes)| (Reply::Bulk(k.clone()), Reply::Bulk(v.clone()));
    Reply::Map(hash.iter().map(pair).collect())
}

fn bulk(found: Option<&Bytes>) -> Reply {
    found.map_or(Reply::Null, |data| Reply::Bulk(data.clone()))
}

/// HSCAN as asked. Fields are visited in the order of a digest of their names, and the cursor is the next digest. So a
/// field that stays is found, whatever comes and goes meanwhile, and nothing is kept between two pages.
struct Scan<'a> {
    cursor: u64,
    pattern: Option<&'a Bytes>,
    most: usize,
}

impl<'a> Scan<'a> {
    fn parse(cursor: &[u8], options: &'a [Bytes]) -> Result<Self, Reply> {
        let Some(cursor) = std::str::from_utf8(cursor)
            .ok()
            .and_then(|c| c.parse().ok())
        else {
            return Err(Reply::Error("ERR invalid cursor".to_owned()));
        };
        let (mut pattern, mut most) = (None, SMALL);
        for option in options.chunks(2) {
            match (option[0].to_ascii_uppercase().as_slice(), option.get(1)) {
                (b"MATCH", Some(text)) if text.len() > PATTERN_BYTES_MAX => {
                    return Err(pattern_too_long());
                }
                (b"MATCH", Some(text)) => pattern = Some(text),
                (b"COUNT", Some(text)) => {
                    match number_of(text).and_then(|n| usize::try_from(n).ok()) {
                        Some(n @ 1..) => most = n.clamp(SMALL, PAGE_MAX),
                        Some(0) | None => return Err(not_a_number()),
                    }
                }
                _ => return Err(syntax()),
            }
        }
        Ok(Self {
            cursor,
            pattern,
            most,
        })
    }

    fn page(&self, hash: &Hash) -> Reply {
        // The page, and the field that the next one begins with.
        let mut page = BinaryHeap::new();
        for (field, value) in hash {
            let place = (digest(field), field, value);
            if place.0 < self.cursor {
                continue;
            }
            if page.len() <= self.most {
                page.push(place);
            } else if page.peek().is_some_and(|last| place < *last) {
                page.pop();
                page.push(place);
            }
        }
        let is_last = page.len() <= self.most;
        let (mut bytes, mut found, mut next, mut last) = (0, Vec::new(), 0, None);
        for (at, (digest, field, value)) in page.into_sorted_vec().into_iter().enumerate() {
            let is_full = at >= self.most || bytes > PAGE_BYTES;
            // Fields of one digest are on one page: the cursor could not part them.
            if is_full && last != Some(digest) {
                next = digest;
                break;
            }
            bytes += field.len() + value.len();
            last = Some(digest);
            if self.pattern.is_none_or(|pattern| glob(pattern, field)) {
                found.extend([Reply::Bulk(field.clone()), Reply::Bulk(value.clone())]);
            }
        }
        if let Some(last) = last.filter(|_| next == 0 && !is_last) {
            next = last.saturating_add(1);
        }
        Reply::Array(vec![Reply::text(next.to_string()), Reply::Array(found)])
    }
}

/// Not 0, which is the end; the same in every run of the program.
fn digest(field: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(field);
    hasher.finish().max(1)
}
