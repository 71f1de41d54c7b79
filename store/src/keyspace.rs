//! What the embedded store holds: strings, hashes and streams, with expiry and a bound on memory. Pure.
//!
//! Keys without a time to live, or with a long one, are to be kept: [`Keyspace::take_writes`] says what to write,
//! [`Keyspace::restore`] takes it back. A key with a short time to live is never written.

use super::changes::{ChangeLog, Changed, Part, Touched, Write, decode_fields};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// What a key costs beside its bytes: its places in three indexes, and what the allocator adds. For the bound on memory.
const KEY_OVERHEAD: usize = 320;
/// The same of a field of a hash or an entry of a stream.
const PART_OVERHEAD: usize = 128;

/// A key that lives for so long is kept on disk, too: a monitor that starts again finds it.
const LONG_MS: u64 = 3600 * 1000;

/// Bytes of the keys that one page of a scan visits: each is compared with a pattern.
const SCAN_BYTES: usize = 256 << 10;

/// The two clocks of a command.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Milliseconds of a clock that never jumps: expiry.
    pub(super) steady_ms: u64,
    /// Unix microseconds: `TIME` and the ids of streams.
    pub(super) unix_us: u64,
}

/// When a key's time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expiry {
    /// On the steady clock.
    steady_ms: u64,
    /// In Unix milliseconds, where the key is kept until then.
    kept_until: Option<u64>,
}

impl Now {
    /// The end of a key that lives for so long.
    pub(super) fn after(self, ms: u64) -> Expiry {
        let unix_ms = (self.unix_us / 1000).saturating_add(ms);
        Expiry {
            steady_ms: self.steady_ms.saturating_add(ms),
            kept_until: (ms >= LONG_MS).then_some(unix_ms),
        }
    }

    /// The end that was kept, on the clocks of this run.
    fn kept(self, until_ms: u64) -> Expiry {
        let left = until_ms.saturating_sub(self.unix_us / 1000);
        Expiry {
            steady_ms: self.steady_ms.saturating_add(left),
            kept_until: Some(until_ms),
        }
    }
}

impl Expiry {
    /// Milliseconds until then.
    pub(super) fn left(self, now: Now) -> u64 {
        self.steady_ms.saturating_sub(now.steady_ms)
    }
}

/// The id of a stream's entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) ms: u64,
    pub(super) seq: u64,
}

impl EntryId {
    /// Sixteen bytes that sort as the ids do.
    pub(super) fn encode(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (ms, seq) = bytes.split_first_chunk()?;
        Some(Self {
            ms: u64::from_be_bytes(*ms),
            seq: u64::from_be_bytes(seq.try_into().ok()?),
        })
    }
}

/// An entry of a stream.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    /// Names and values, encoded: one allocation, as on the disk.
    pub(super) fields: Bytes,
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
    expires: Option<Expiry>,
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
    /// Those before the command that runs.
    known_births: u64,
    bytes: usize,
    /// `None` where nothing is kept.
    log: Option<ChangeLog>,
    /// What was flushed and has not been taken to be dropped.
    flushed: Option<Flushed>,
}

/// Keys of before a flush. To drop them takes a while.
#[derive(Debug)]
pub(super) struct Flushed {
    _keys: HashMap<Bytes, Slot>,
    _by_birth: BTreeMap<u64, Bytes>,
    _by_expiry: BTreeSet<(u64, Bytes)>,
}

impl Keyspace {
    /// From now on changes are logged. With `everything` the first writes replace all that is on disk.
    pub(super) fn keep(&mut self, everything: bool) {
        self.known_births = self.births;
        self.log = Some(ChangeLog {
            everything,
            ..ChangeLog::default()
        });
    }

    /// What is on disk cannot be relied on: the next writes replace it.
    pub(super) fn rewrite(&mut self) {
        if let Some(log) = &mut self.log {
            log.everything();
        }
    }

    /// Whether there is something to write.
    pub(super) fn has_writes(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.is_empty())
    }

    /// Whether one command, all since the last call, changed what is on the disk: it wrote what is to be kept, or took away
    /// what was.
    pub(super) fn touched_kept(&mut self) -> bool {
        self.known_births = self.births;
        let Some(log) = &mut self.log else {
            return false;
        };
        let (written, lost) = (
            std::mem::take(&mut log.written),
            std::mem::take(&mut log.lost),
        );
        let is_kept = |key: &Bytes| self.keys.get(key).is_some_and(Slot::is_kept);
        lost || written.iter().any(is_kept)
    }

    /// What brings the disk into step with the keys.
    pub(super) fn take_writes(&mut self) -> Vec<Write> {
        let log = self.log.as_mut().map(std::mem::take).unwrap_or_default();
        let mut writes = Vec::new();
        if log.everything {
            writes.push(Write::Clear);
            for (key, slot) in self.keys.iter().filter(|(_, slot)| slot.is_kept()) {
                put_whole(key, slot, &mut writes);
            }
        }
        for (key, changed) in log.keys {
            let kept = self.keys.get(&key).filter(|slot| slot.is_kept());
            match (kept, changed) {
                (None, _) => writes.push(Write::Forget(key)),
                (Some(slot), Changed::Whole) => {
                    writes.push(Write::Forget(key.clone()));
                    put_whole(&key, slot, &mut writes);
                }
                (Some(slot), Changed::Parts(parts)) => {
                    for part in parts {
                        writes.push(match slot.part(&part) {
                            Some(bytes) => Write::Put(key.clone(), part, bytes),
                            None => Write::Remove(key.clone(), part),
                        });
                    }
                }
            }
        }
        writes
    }

    /// Takes back a part that was written. Returns whether it can be one of that key.
    pub(super) fn restore(&mut self, key: &Bytes, part: Part, bytes: Bytes, now: Now) -> bool {
        if part == Part::End {
            let until = bytes.first_chunk().copied().map(u64::from_be_bytes);
            let is_there = self.keys.contains_key(key);
            if let Some(until) = until.filter(|_| is_there) {
                self.set_expiry(key, Some(now.kept(until)));
                return true;
            }
            return false;
        }
        let is_readable = match &part {
            Part::Entry(_) => decode_fields(&bytes).is_some(),
            Part::Text | Part::Field(_) | Part::Last | Part::End => true,
        };
        if !is_readable {
            return false;
        }
        let new = || match part {
            Part::Text | Part::End => Value::Text(Bytes::new()),
            Part::Field(_) => Value::Hash(HashMap::new()),
            Part::Entry(_) | Part::Last => Value::Stream(Stream::default()),
        };
        self.change(key, new, |value, _| {
            match (value, part.clone()) {
                (Value::Text(text), Part::Text) => *text = bytes.clone(),
                (Value::Hash(hash), Part::Field(name)) => {
                    let grown = cost([&name, &bytes]);
                    hash.insert(name, bytes);
                    return (true, grown);
                }
                (Value::Stream(stream), Part::Last) => match EntryId::decode(&bytes) {
                    Some(id) => stream.last = stream.last.max(id),
                    None => return (false, 0),
                },
                // The database gives entries in the order of their ids.
                (Value::Stream(stream), Part::Entry(id)) => {
                    let grown = cost([&bytes]);
                    stream.last = stream.last.max(id);
                    stream.entries.push_back(Entry { id, fields: bytes });
                    return (true, grown);
                }
                (Value::Text(_) | Value::Hash(_) | Value::Stream(_), _) => return (false, 0),
            }
            (true, isize::try_from(bytes.len()).unwrap_or(isize::MAX))
        })
    }

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
            self.take_out(&key);
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.keys.get(key).map(|slot| &slot.value)
    }

    /// Changes a key, made by `new` when it is not there; `change` also says by how many bytes it grew, and names the
    /// parts that it touched.
    pub(super) fn change<T>(
        &mut self,
        key: &Bytes,
        new: impl FnOnce() -> Value,
        change: impl FnOnce(&mut Value, &mut Touched<'_>) -> (T, isize),
    ) -> T {
        let births = &mut self.births;
        let by_birth = &mut self.by_birth;
        let total = &mut self.bytes;
        // A copy of a new one: a slice of the client's buffer would keep all of it alive.
        let name = match self.keys.contains_key(key) {
            true => key.clone(),
            false => Bytes::copy_from_slice(key),
        };
        let slot = self.keys.entry(name.clone()).or_insert_with(|| {
            *births += 1;
            by_birth.insert(*births, name);
            let bytes = key.len() + KEY_OVERHEAD;
            *total += bytes;
            Slot {
                value: new(),
                expires: None,
                born: *births,
                bytes,
            }
        });
        let log = self.log.as_mut().filter(|_| slot.is_kept());
        let (result, grown) = change(&mut slot.value, &mut Touched::new(key, log));
        slot.bytes = slot.bytes.saturating_add_signed(grown);
        *total = total.saturating_add_signed(grown);
        result
    }

    /// Sets a text; its time to live is lost, as in Redis.
    pub(super) fn set(&mut self, key: &Bytes, text: &[u8]) {
        self.remove(key);
        let grown = isize::try_from(text.len()).unwrap_or(isize::MAX);
        self.change(
            key,
            || Value::Text(Bytes::copy_from_slice(text)),
            |_, touched| {
                touched.part(|| Part::Text);
                ((), grown)
            },
        );
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> bool {
        let Some(slot) = self.keys.get(key) else {
            return false;
        };
        if slot.is_kept() && slot.born <= self.known_births {
            self.log.iter_mut().for_each(|log| log.lost = true);
        }
        self.take_out(key)
    }

    fn take_out(&mut self, key: &[u8]) -> bool {
        let Some((key, slot)) = self.keys.remove_entry(key) else {
            return false;
        };
        self.by_birth.remove(&slot.born);
        if slot.is_kept() {
            self.log.iter_mut().for_each(|log| log.whole(&key));
        }
        if let Some(at) = slot.expires {
            self.by_expiry.remove(&(at.steady_ms, key));
        }
        self.bytes = self.bytes.saturating_sub(slot.bytes);
        true
    }

    pub(super) fn clear(&mut self) {
        self.flushed = Some(Flushed {
            _keys: std::mem::take(&mut self.keys),
            _by_birth: std::mem::take(&mut self.by_birth),
            _by_expiry: std::mem::take(&mut self.by_expiry),
        });
        // Births go on: a scan that is under way must not find a new key under an old number.
        self.bytes = 0;
        if let Some(log) = &mut self.log {
            log.everything();
            log.lost = true;
        }
    }

    /// What was flushed since the last call.
    pub(super) fn take_flushed(&mut self) -> Option<Flushed> {
        self.flushed.take()
    }

    pub(super) fn expires(&self, key: &[u8]) -> Option<Expiry> {
        self.keys.get(key)?.expires
    }

    pub(super) fn set_expiry(&mut self, key: &Bytes, at: Option<Expiry>) {
        let Some(slot) = self.keys.get_mut(key) else {
            return;
        };
        let (was_kept, is_known) = (slot.is_kept(), slot.born <= self.known_births);
        let before = std::mem::replace(&mut slot.expires, at);
        if let Some(before) = before {
            self.by_expiry.remove(&(before.steady_ms, key.clone()));
        }
        if let Some(log) = &mut self.log {
            if was_kept != slot.is_kept() {
                log.whole(key);
                log.written(key);
                log.lost |= was_kept && is_known;
            } else if was_kept && before != at {
                Touched::new(key, Some(log)).part(|| Part::End);
            }
        }
        // The key of the table, not the one that was asked for: a slice of the client's buffer would keep all of it alive.
        if let Some((key, at)) = self.keys.get_key_value(key).map(|(key, _)| key).zip(at) {
            self.by_expiry.insert((at.steady_ms, key.clone()));
        }
    }

    /// Up to `count` keys born after `cursor`, fewer when they are long, and where to go on; 0 at the end.
    pub(super) fn scan(&self, cursor: u64, count: usize) -> (u64, Vec<&Bytes>) {
        let (mut page, mut bytes, mut last) = (Vec::new(), 0, 0);
        for (born, key) in self.by_birth.range(cursor.saturating_add(1)..) {
            if page.len() >= count || bytes > SCAN_BYTES {
                return (last, page);
            }
            bytes += key.len();
            last = *born;
            page.push(key);
        }
        (0, page)
    }
}

impl Slot {
    fn is_kept(&self) -> bool {
        self.expires.is_none_or(|end| end.kept_until.is_some())
    }

    /// A part as it is written; `None` when it is not there.
    fn part(&self, part: &Part) -> Option<Bytes> {
        match part {
            Part::End => {
                let until = self.expires?.kept_until?;
                Some(Bytes::copy_from_slice(&until.to_be_bytes()))
            }
            Part::Text | Part::Field(_) | Part::Entry(_) | Part::Last => self.value.part(part),
        }
    }
}

impl Value {
    /// A part of it alone; `None` when it is not there.
    fn part(&self, part: &Part) -> Option<Bytes> {
        match (self, part) {
            (Self::Text(text), Part::Text) => Some(text.clone()),
            (Self::Hash(hash), Part::Field(name)) => hash.get(name).cloned(),
            (Self::Stream(stream), Part::Entry(id)) => {
                let at = stream.entries.binary_search_by_key(id, |entry| entry.id);
                Some(stream.entries.get(at.ok()?)?.fields.clone())
            }
            (Self::Stream(stream), Part::Last) => {
                Some(Bytes::copy_from_slice(&stream.last.encode()))
            }
            (Self::Text(_) | Self::Hash(_) | Self::Stream(_), _) => None,
        }
    }
}

fn put_whole(key: &Bytes, slot: &Slot, writes: &mut Vec<Write>) {
    let mut parts: Vec<Part> = match &slot.value {
        Value::Text(_) => vec![Part::Text],
        Value::Hash(hash) => hash.keys().cloned().map(Part::Field).collect(),
        Value::Stream(stream) => {
            let entries = stream.entries.iter().map(|entry| Part::Entry(entry.id));
            entries.chain([Part::Last]).collect()
        }
    };
    parts.push(Part::End);
    for part in parts {
        if let Some(bytes) = slot.part(&part) {
            writes.push(Write::Put(key.clone(), part, bytes));
        }
    }
}

/// What an entry of a hash or stream costs.
pub(super) fn cost<'a>(parts: impl IntoIterator<Item = &'a Bytes>) -> isize {
    let bytes: usize = parts.into_iter().map(Bytes::len).sum();
    isize::try_from(bytes + PART_OVERHEAD).unwrap_or(isize::MAX)
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
        keys.set(&"a".into(), b"x");
        keys.set_expiry(&"a".into(), Some(at(0).after(10)));
        keys.expire(at(9));
        assert_eq!((keys.len(), keys.next_expiry()), (1, Some(10)));
        keys.expire(at(10));
        assert_eq!((keys.len(), keys.bytes(), keys.next_expiry()), (0, 0, None));
    }

    #[test]
    fn a_scan_sees_every_key_that_stays() {
        let mut keys = Keyspace::default();
        for n in 0..1000 {
            keys.set(&Bytes::from(format!("k{n}")), b"x");
        }
        let (mut cursor, mut seen) = (0, 0);
        loop {
            let (next, page) = keys.scan(cursor, 7);
            seen += page.len();
            keys.set(&Bytes::from(format!("new{cursor}")), b"x");
            keys.remove(format!("new{cursor}").as_bytes());
            if next == 0 {
                break;
            }
            cursor = next;
        }
        assert_eq!(seen, 1000);
    }

    fn kept() -> Keyspace {
        let mut keys = Keyspace::default();
        keys.keep(false);
        keys
    }

    /// What a disk holds after some writes, as a keyspace.
    fn on_disk(
        writes: Vec<Write>,
        mut disk: BTreeMap<(Bytes, Part), Bytes>,
    ) -> (Keyspace, BTreeMap<(Bytes, Part), Bytes>) {
        for write in writes {
            match write {
                Write::Clear => disk.clear(),
                Write::Forget(gone) => disk.retain(|(key, _), _| *key != gone),
                Write::Put(key, part, bytes) => drop(disk.insert((key, part), bytes)),
                Write::Remove(key, part) => drop(disk.remove(&(key, part))),
            }
        }
        let mut keys = Keyspace::default();
        for ((key, part), bytes) in &disk {
            assert!(keys.restore(key, part.clone(), bytes.clone(), at(0)));
        }
        (keys, disk)
    }

    fn hset(keys: &mut Keyspace, key: &'static str, field: &'static str, text: &'static str) {
        keys.change(
            &key.into(),
            || Value::Hash(HashMap::new()),
            |value, touched| {
                let Value::Hash(hash) = value else {
                    unreachable!()
                };
                hash.insert(field.into(), text.into());
                touched.part(|| Part::Field(field.into()));
                ((), 0)
            },
        );
    }

    #[test]
    fn only_what_changed_is_written_and_it_is_read_back() {
        let mut keys = kept();
        keys.set(&"t".into(), b"1");
        hset(&mut keys, "h", "a", "1");
        hset(&mut keys, "h", "b", "2");
        let (_, disk) = on_disk(keys.take_writes(), BTreeMap::new());
        hset(&mut keys, "h", "a", "3");
        let writes = keys.take_writes();
        assert_eq!(
            writes,
            [Write::Put("h".into(), Part::Field("a".into()), "3".into())]
        );
        let (back, _) = on_disk(writes, disk);
        let Some(Value::Hash(hash)) = back.get(b"h") else {
            panic!("no hash");
        };
        assert_eq!(
            (&hash[&b"a"[..]][..], &hash[&b"b"[..]][..]),
            (&b"3"[..], &b"2"[..])
        );
        assert!(!keys.has_writes());
    }

    #[test]
    fn a_key_with_a_long_time_to_live_is_on_disk_with_its_end() {
        let mut keys = kept();
        let key = Bytes::from("hb:timeline:{agent:a}");
        keys.set(&key, b"1");
        keys.set_expiry(&key, Some(at(0).after(2 * LONG_MS)));
        let (back, disk) = on_disk(keys.take_writes(), BTreeMap::new());
        assert_eq!(
            back.expires(&key).map(|end| end.left(at(0))),
            Some(2 * LONG_MS)
        );
        keys.set_expiry(&key, Some(at(0).after(3 * LONG_MS)));
        let writes = keys.take_writes();
        assert_eq!(writes.len(), 1, "only the end is written: {writes:?}");
        let (mut back, disk) = on_disk(writes, disk);
        assert_eq!(
            back.expires(&key).map(|end| end.left(at(0))),
            Some(3 * LONG_MS)
        );
        back.expire(at(3 * LONG_MS));
        assert_eq!(back.len(), 0);
        keys.set_expiry(&key, Some(at(0).after(10)));
        let (back, _) = on_disk(keys.take_writes(), disk);
        assert_eq!(back.len(), 0, "a short one is not kept");
    }

    #[test]
    fn a_key_with_a_short_time_to_live_is_not_on_disk_until_it_has_none() {
        let mut keys = kept();
        let key = Bytes::from("agent:a");
        hset(&mut keys, "agent:a", "a", "1");
        keys.set_expiry(&key, Some(at(0).after(10)));
        let (back, disk) = on_disk(keys.take_writes(), BTreeMap::new());
        assert_eq!(back.len(), 0);
        hset(&mut keys, "agent:a", "a", "2");
        assert!(!keys.has_writes(), "a beat writes nothing");
        keys.set_expiry(&key, None);
        let (back, disk) = on_disk(keys.take_writes(), disk);
        assert_eq!(back.len(), 1);
        keys.remove(b"agent:a");
        let (back, _) = on_disk(keys.take_writes(), disk);
        assert_eq!(back.len(), 0);
    }

    #[test]
    fn a_stream_keeps_its_last_id_when_its_entries_are_gone() {
        let mut keys = kept();
        keys.change(
            &"s".into(),
            || Value::Stream(Stream::default()),
            |value, touched| {
                let Value::Stream(stream) = value else {
                    unreachable!()
                };
                stream.last = EntryId { ms: 5, seq: 6 };
                touched.part(|| Part::Last);
                ((), 0)
            },
        );
        let (back, _) = on_disk(keys.take_writes(), BTreeMap::new());
        let Some(Value::Stream(stream)) = back.get(b"s") else {
            panic!("no stream");
        };
        assert_eq!(stream.last, EntryId { ms: 5, seq: 6 });
    }

    #[test]
    fn after_a_failure_or_a_flush_everything_is_written_again() {
        let mut keys = kept();
        keys.set(&"gone".into(), b"1");
        let (_, disk) = on_disk(keys.take_writes(), BTreeMap::new());
        keys.clear();
        keys.set(&"new".into(), b"2");
        let (back, disk) = on_disk(keys.take_writes(), disk);
        assert_eq!((back.get(b"gone").is_some(), back.len()), (false, 1));
        keys.set(&"lost".into(), b"3");
        drop(keys.take_writes()); // the write failed
        keys.rewrite();
        let (back, _) = on_disk(keys.take_writes(), disk);
        assert_eq!(back.len(), 2);
    }

    #[test]
    fn a_part_that_does_not_fit_its_key_is_refused() {
        let mut keys = Keyspace::default();
        assert!(keys.restore(&"k".into(), Part::Text, "x".into(), at(0)));
        assert!(!keys.restore(&"k".into(), Part::Field("f".into()), "x".into(), at(0)));
        assert!(!keys.restore(
            &"s".into(),
            Part::Entry(EntryId::default()),
            "junk".into(),
            at(0)
        ));
    }
}
