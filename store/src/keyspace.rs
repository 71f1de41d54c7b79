//! What the embedded store holds: strings, hashes and streams, with expiry and a bound on memory. Pure.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// What a key or an entry costs beside its bytes: a rough figure for the bound on memory.
const OVERHEAD: usize = 64;

/// The two clocks of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Milliseconds of a clock that never jumps: expiry.
    pub(super) steady_ms: u64,
    /// Unix microseconds: `TIME` and the ids of streams.
    pub(super) unix_us: u64,
}

/// The id of a stream's entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) ms: u64,
    pub(super) seq: u64,
}

/// An entry of a stream.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) fields: Vec<Bytes>,
}

/// A stream, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    pub(super) entries: VecDeque<Entry>,
    pub(super) last: EntryId,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Bytes),
    Hash(HashMap<Bytes, Bytes>),
    Stream(Stream),
}

#[derive(Debug)]
struct Slot {
    value: Value,
    expires: Option<u64>,
    /// Where `SCAN` finds it: keys in the order of their creation.
    born: u64,
    bytes: usize,
}

/// All keys.
#[derive(Debug, Default)]
pub(super) struct Keyspace {
    keys: HashMap<Bytes, Slot>,
    by_birth: BTreeMap<u64, Bytes>,
    by_expiry: BTreeSet<(u64, Bytes)>,
    births: u64,
    bytes: usize,
}

impl Keyspace {
    /// Roughly what is used, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// When the next key expires.
    pub(super) fn next_expiry(&self) -> Option<u64> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    /// Drops every key whose time is over. Called before each command: an expired key is never seen.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some((at, key)) = self
            .by_expiry
            .first()
            .filter(|(at, _)| *at <= now.steady_ms)
        {
            let (at, key) = (*at, key.clone());
            self.by_expiry.remove(&(at, key.clone()));
            self.remove(&key);
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.keys.get(key).map(|slot| &slot.value)
    }

    /// Changes a key, made by `new` when it is not there; `change` also says by how many bytes it grew.
    pub(super) fn change<T>(
        &mut self,
        key: &Bytes,
        new: impl FnOnce() -> Value,
        change: impl FnOnce(&mut Value) -> (T, isize),
    ) -> T {
        let births = &mut self.births;
        let by_birth = &mut self.by_birth;
        let total = &mut self.bytes;
        let slot = self.keys.entry(key.clone()).or_insert_with(|| {
            *births += 1;
            by_birth.insert(*births, key.clone());
            let bytes = key.len() + OVERHEAD;
            *total += bytes;
            Slot {
                value: new(),
                expires: None,
                born: *births,
                bytes,
            }
        });
        let (result, grown) = change(&mut slot.value);
        slot.bytes = slot.bytes.saturating_add_signed(grown);
        *total = total.saturating_add_signed(grown);
        result
    }

    /// Sets a text; its time to live is lost, as in Redis.
    pub(super) fn set(&mut self, key: &Bytes, text: Bytes) {
        self.remove(key);
        let grown = isize::try_from(text.len()).unwrap_or(isize::MAX);
        self.change(key, || Value::Text(text), |_| ((), grown));
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some((key, slot)) = self.keys.remove_entry(key) else {
            return false;
        };
        self.by_birth.remove(&slot.born);
        if let Some(at) = slot.expires {
            self.by_expiry.remove(&(at, key));
        }
        self.bytes = self.bytes.saturating_sub(slot.bytes);
        true
    }

    pub(super) fn clear(&mut self) {
        // Births go on: a scan that is under way must not find a new key under an old number.
        *self = Self {
            births: self.births,
            ..Self::default()
        };
    }

    pub(super) fn expires(&self, key: &[u8]) -> Option<u64> {
        self.keys.get(key)?.expires
    }

    pub(super) fn set_expiry(&mut self, key: &Bytes, at: Option<u64>) {
        let Some(slot) = self.keys.get_mut(key) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut slot.expires, at) {
            self.by_expiry.remove(&(before, key.clone()));
        }
        if let Some(at) = at {
            self.by_expiry.insert((at, key.clone()));
        }
    }

    /// Up to `count` keys born after `cursor`, and where to go on; 0 at the end.
    pub(super) fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<&Bytes>) {
        let mut page: Vec<(&u64, &Bytes)> = self
            .by_birth
            .range(cursor.saturating_add(1)..)
            .take(count + 1)
            .collect();
        let next = if page.len() > count {
            page.pop();
            page.last().map_or(0, |(born, _)| **born)
        } else {
            0
        };
        (next, page.into_iter().map(|(_, key)| key).collect())
    }
}

/// What an entry of a hash or stream costs.
pub(super) fn cost<'a>(parts: impl IntoIterator<Item = &'a Bytes>) -> isize {
    let bytes: usize = parts.into_iter().map(Bytes::len).sum();
    isize::try_from(bytes + OVERHEAD).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now {
            steady_ms: ms,
            unix_us: 0,
        }
    }

    #[test]
    fn a_key_is_gone_when_its_time_is_over_and_its_bytes_with_it() {
        let mut keys = Keyspace::default();
        keys.set(&"a".into(), "x".into());
        keys.set_expiry(&"a".into(), Some(10));
        keys.expire(at(9));
        assert_eq!((keys.len(), keys.next_expiry()), (1, Some(10)));
        keys.expire(at(10));
        assert_eq!((keys.len(), keys.bytes(), keys.next_expiry()), (0, 0, None));
    }

    #[test]
    fn a_scan_sees_every_key_that_stays() {
        let mut keys = Keyspace::default();
        for n in 0..1000 {
            keys.set(&Bytes::from(format!("k{n}")), "x".into());
        }
        let (mut cursor, mut seen) = (0, 0);
        loop {
            let (next, page) = keys.scan(cursor, 7);
            seen += page.len();
            keys.set(&Bytes::from(format!("new{cursor}")), "x".into());
            keys.remove(format!("new{cursor}").as_bytes());
            if next == 0 {
                break;
            }
            cursor = next;
        }
        assert_eq!(seen, 1000);
    }
}
