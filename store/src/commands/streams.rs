//! Streams: XADD XLEN XRANGE XREVRANGE, and what an XREAD would find.

use super::words::REPLY_BYTES_MAX;
use super::{Context, arity, count, not_a_number, number_of, syntax, too_large, wrong_type};
use crate::changes::{Part, decode_fields, encode_fields};
use crate::keyspace::{Entry, EntryId, Keyspace, Stream, Value, cost};
use crate::resp::Reply;
use bytes::Bytes;
use std::collections::VecDeque;

/// The entries of one stream after an id.
#[derive(Clone, Debug)]
pub(crate) struct Since {
    pub(crate) key: Bytes,
    pub(crate) after: EntryId,
}

impl Context<'_> {
    pub(super) fn stream(&mut self, name: &[u8], args: &[Bytes]) -> Option<Reply> {
        Some(match (name, args) {
            (b"XADD", [key, rest @ ..]) => self.xadd(key, rest),
            (b"XLEN", [key]) => match stream_at(self.keys, key) {
                Ok(stream) => count(stream.map_or(0, |s| s.entries.len())),
                Err(wrong) => wrong,
            },
            (b"XRANGE", [key, from, to, options @ ..]) => self.range(key, from, to, options, false),
            (b"XREVRANGE", [key, to, from, options @ ..]) => {
                self.range(key, from, to, options, true)
            }
            (b"XADD" | b"XLEN" | b"XRANGE" | b"XREVRANGE", _) => arity(name),
            _ => return None,
        })
    }

    fn xadd(&mut self, key: &Bytes, rest: &[Bytes]) -> Reply {
        let (kept, rest) = match rest {
            [option, about, most, rest @ ..]
                if option.eq_ignore_ascii_case(b"MAXLEN") && matches!(&about[..], b"~" | b"=") =>
            {
                (Some(most), rest)
            }
            [option, most, rest @ ..] if option.eq_ignore_ascii_case(b"MAXLEN") => {
                (Some(most), rest)
            }
            rest => (None, rest),
        };
        let kept = match kept.map(|most| number_of(most).and_then(|n| usize::try_from(n).ok())) {
            None => usize::MAX,
            Some(Some(most)) => most,
            Some(None) => return not_a_number(),
        };
        let [id, fields @ ..] = rest else {
            return arity(b"XADD");
        };
        if fields.is_empty() || !fields.len().is_multiple_of(2) {
            return arity(b"XADD");
        }
        let last = match stream_at(self.keys, key) {
            Ok(stream) => stream.map_or(EntryId::default(), |stream| stream.last),
            Err(wrong) => return wrong,
        };
        let id = match new_id(id, last, self.now.unix_us / 1000) {
            Ok(id) => id,
            Err(wrong) => return wrong,
        };
        let fields = encode_fields(fields);
        self.keys.change(
            key,
            || Value::Stream(Stream::default()),
            |value, touched| {
                let Value::Stream(stream) = value else {
                    return ((), 0);
                };
                let mut grown = cost([&fields]);
                stream.last = id;
                stream.entries.push_back(Entry { id, fields });
                touched.part(|| Part::Last);
                touched.part(|| Part::Entry(id));
                while stream.entries.len() > kept {
                    let Some(old) = stream.entries.pop_front() else {
                        break;
                    };
                    grown -= cost([&old.fields]);
                    touched.part(|| Part::Entry(old.id));
                }
                ((), grown)
            },
        );
        Reply::text(id.text())
    }

    fn range(&self, key: &[u8], from: &[u8], to: &[u8], options: &[Bytes], back: bool) -> Reply {
        let most = match options {
            [] => usize::MAX,
            [option, n] if option.eq_ignore_ascii_case(b"COUNT") => {
                match number_of(n).and_then(|n| usize::try_from(n).ok()) {
                    Some(n) => n,
                    None => return not_a_number(),
                }
            }
            _ => return syntax(),
        };
        let (Some(from), Some(to)) = (bound(from, 0), bound(to, u64::MAX)) else {
            return bad_id();
        };
        let empty = VecDeque::new();
        let entries = match stream_at(self.keys, key) {
            Ok(stream) => stream.map_or(&empty, |stream| &stream.entries),
            Err(wrong) => return wrong,
        };
        let start = entries.partition_point(|e| e.id < from.0 || (from.1 && e.id == from.0));
        let end = entries.partition_point(|e| e.id < to.0 || (!to.1 && e.id == to.0));
        let within = entries.range(start..end.max(start));
        let mut page = Page::default();
        if back {
            page.fill(within.rev().take(most));
        } else {
            page.fill(within.take(most));
        }
        // Who asked for all would take a part for all.
        if page.is_cut {
            return too_large();
        }
        Reply::Array(page.entries)
    }
}

impl EntryId {
    fn text(self) -> String {
        format!("{}-{}", self.ms, self.seq)
    }

    /// The smallest one behind it; none behind the last possible one.
    fn next(self) -> Option<Self> {
        let Self { ms, seq } = self;
        let within = seq.checked_add(1).map(|seq| Self { ms, seq });
        within.or_else(|| {
            Some(Self {
                ms: ms.checked_add(1)?,
                seq: 0,
            })
        })
    }
}

/// Entries for one reply, as many as fit into it.
#[derive(Default)]
struct Page {
    entries: Vec<Reply>,
    bytes: usize,
    is_cut: bool,
}

impl Page {
    fn fill<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        for entry in entries {
            let entry = shown(entry);
            self.bytes += entry.bytes();
            if self.bytes > REPLY_BYTES_MAX {
                self.is_cut = true;
                return;
            }
            self.entries.push(entry);
        }
    }
}

/// What an XREAD finds now: streams with entries, at most `most` of each, and no more than fit into a reply: who reads on
/// from the last one finds the others.
pub(crate) fn read(keys: &Keyspace, wanted: &[Since], most: usize) -> Result<Option<Reply>, Reply> {
    let (mut found, mut page) = (Vec::new(), Page::default());
    for Since { key, after } in wanted {
        let Some(stream) = stream_at(keys, key)?.filter(|_| !page.is_cut) else {
            continue;
        };
        let start = stream.entries.partition_point(|entry| entry.id <= *after);
        page.fill(stream.entries.range(start..).take(most));
        let entries = std::mem::take(&mut page.entries);
        if !entries.is_empty() {
            found.push((Reply::Bulk(key.clone()), Reply::Array(entries)));
        }
    }
    Ok((!found.is_empty()).then_some(Reply::Pairs(found)))
}

/// The place an XREAD starts from; `$` is the end as it is now.
pub(crate) fn since(keys: &Keyspace, key: &Bytes, id: &[u8]) -> Result<Since, Reply> {
    let after = if id == b"$" {
        stream_at(keys, key)?.map_or(EntryId::default(), |stream| stream.last)
    } else {
        parse(id, 0).ok_or_else(bad_id)?
    };
    Ok(Since {
        key: key.clone(),
        after,
    })
}

fn stream_at<'a>(keys: &'a Keyspace, key: &[u8]) -> Result<Option<&'a Stream>, Reply> {
    match keys.get(key) {
        None => Ok(None),
        Some(Value::Stream(stream)) => Ok(Some(stream)),
        Some(Value::Text(_) | Value::Hash(_)) => Err(wrong_type()),
    }
}

fn shown(entry: &Entry) -> Reply {
    let fields = decode_fields(&entry.fields).unwrap_or_default().into_iter();
    let fields = fields.map(Reply::Bulk).collect();
    Reply::Array(vec![Reply::text(entry.id.text()), Reply::Array(fields)])
}

fn new_id(text: &[u8], last: EntryId, now_ms: u64) -> Result<EntryId, Reply> {
    if text == b"*" {
        let next = EntryId { ms: now_ms, seq: 0 };
        // The clock may stand still or go back; ids never do.
        return match last.next() {
            _ if next > last => Ok(next),
            Some(after) => Ok(after),
            None => Err(Reply::Error(
                "ERR The stream has exhausted the last possible ID, unable to add more items"
                    .to_owned(),
            )),
        };
    }
    match parse(text, 0) {
        None => Err(bad_id()),
        Some(id) if id > last => Ok(id),
        Some(_) => Err(Reply::Error(
            "ERR The ID specified in XADD is equal or smaller than the target stream top item"
                .to_owned(),
        )),
    }
}

/// A bound of a range and whether it is excluded.
fn bound(text: &[u8], seq: u64) -> Option<(EntryId, bool)> {
    match text {
        b"-" => Some((EntryId::default(), false)),
        b"+" => Some((
            EntryId {
                ms: u64::MAX,
                seq: u64::MAX,
            },
            false,
        )),
        [b'(', id @ ..] => Some((parse(id, seq)?, true)),
        id => Some((parse(id, seq)?, false)),
    }
}

fn parse(text: &[u8], seq: u64) -> Option<EntryId> {
    let text = std::str::from_utf8(text).ok()?;
    match text.split_once('-') {
        Some((ms, seq)) => Some(EntryId {
            ms: ms.parse().ok()?,
            seq: seq.parse().ok()?,
        }),
        None => Some(EntryId {
            ms: text.parse().ok()?,
            seq,
        }),
    }
}

fn bad_id() -> Reply {
    Reply::Error("ERR Invalid stream ID specified as stream command argument".to_owned())
}
