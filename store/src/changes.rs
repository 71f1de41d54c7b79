//! What changed in the keys that are kept since they were last written to disk. Pure.
//!
//! A log names parts of keys, not values: the value is taken when the log is, so that a field that changes a thousand
//! times between two writes is written once.

use super::keyspace::EntryId;
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap};

/// Parts of one key that are named one by one; with more the key is written whole.
const PARTS_MAX: usize = 4096;

/// The smallest part of a key that is written by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// A text, which has one part.
    Text,
    /// A field of a hash.
    Field(Bytes),
    /// An entry of a stream.
    Entry(EntryId),
    /// The last id that a stream gave: it outlives the entry.
    Last,
    /// When the key's time is over, Unix milliseconds.
    End,
}

/// One change of what is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// Everything goes.
    Clear,
    /// Every part of this key goes.
    Forget(Bytes),
    /// This part has this value.
    Put(Bytes, Part, Bytes),
    /// This part goes.
    Remove(Bytes, Part),
}

/// What changed in one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    Whole,
    Parts(BTreeSet<Part>),
}

/// What changed since the log was taken.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeLog {
    /// Nothing on disk can be relied on.
    pub(super) everything: bool,
    pub(super) keys: HashMap<Bytes, Changed>,
    /// Keys that were written since they were last taken: those of one command.
    pub(super) written: Vec<Bytes>,
    /// A key that was there before the command is kept no longer.
    pub(super) lost: bool,
}

impl ChangeLog {
    pub(super) fn is_empty(&self) -> bool {
        !self.everything && self.keys.is_empty()
    }

    /// All of a key changed.
    pub(super) fn whole(&mut self, key: &Bytes) {
        if !self.everything {
            self.keys.insert(key.clone(), Changed::Whole);
        }
    }

    /// Everything changed.
    pub(super) fn everything(&mut self) {
        self.everything = true;
        self.keys.clear();
    }

    /// The key has something new.
    pub(super) fn written(&mut self, key: &Bytes) {
        if self.written.last() != Some(key) {
            self.written.push(key.clone());
        }
    }

    fn part(&mut self, key: &Bytes, part: Part) {
        self.written(key);
        if self.everything {
            return;
        }
        let changed = self
            .keys
            .entry(key.clone())
            .or_insert_with(|| Changed::Parts(BTreeSet::new()));
        if let Changed::Parts(parts) = changed {
            parts.insert(part);
            if parts.len() > PARTS_MAX {
                *changed = Changed::Whole;
            }
        }
    }
}

/// Where a command names the parts of a key that it changes.
pub(super) struct Touched<'a> {
    key: &'a Bytes,
    log: Option<&'a mut ChangeLog>,
}

impl<'a> Touched<'a> {
    /// Without a log nothing is recorded: the key is not one that is kept, or nothing is.
    pub(super) fn new(key: &'a Bytes, log: Option<&'a mut ChangeLog>) -> Self {
        Self { key, log }
    }

    pub(super) fn part(&mut self, part: impl FnOnce() -> Part) {
        if let Some(log) = &mut self.log {
            log.part(self.key, part());
        }
    }
}

impl Part {
    /// Kind and name, as the database orders them.
    pub(super) fn encode(&self) -> (u8, Vec<u8>) {
        match self {
            Self::Text => (0, Vec::new()),
            Self::Field(name) => (1, name.to_vec()),
            Self::Entry(id) => (2, id.encode().to_vec()),
            Self::Last => (3, Vec::new()),
            Self::End => (4, Vec::new()),
        }
    }

    pub(super) fn decode(kind: u8, name: &[u8]) -> Option<Self> {
        match (kind, name) {
            (0, []) => Some(Self::Text),
            (1, name) => Some(Self::Field(Bytes::copy_from_slice(name))),
            (2, id) => EntryId::decode(id).map(Self::Entry),
            (3, []) => Some(Self::Last),
            (4, []) => Some(Self::End),
            _ => None,
        }
    }
}

/// The fields of an entry, each after its length.
pub(super) fn encode_fields(fields: &[Bytes]) -> Bytes {
    let mut out = Vec::with_capacity(fields.iter().map(|field| field.len() + 4).sum());
    for field in fields {
        // A command, and so each of its arguments, is at most a megabyte.
        out.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(field);
    }
    Bytes::from(out)
}

pub(super) fn decode_fields(whole: &Bytes) -> Option<Vec<Bytes>> {
    let mut bytes = &whole[..];
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        fields.push(whole.slice_ref(field));
        bytes = rest;
    }
    (!fields.is_empty() && fields.len().is_multiple_of(2)).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_fields_are_read_as_they_were_written() {
        let id = EntryId { ms: 7, seq: 300 };
        for part in [
            Part::Text,
            Part::Field("f".into()),
            Part::Entry(id),
            Part::Last,
            Part::End,
        ] {
            let (kind, name) = part.encode();
            assert_eq!(Part::decode(kind, &name), Some(part));
        }
        let fields: Vec<Bytes> = vec!["a".into(), "".into(), "b".into(), "long text".into()];
        assert_eq!(decode_fields(&encode_fields(&fields)), Some(fields));
    }

    #[test]
    fn what_is_no_part_and_no_fields_is_refused() {
        assert_eq!(Part::decode(9, b""), None);
        assert_eq!(Part::decode(2, b"short"), None);
        for bytes in [
            &b""[..],
            b"\x05\0\0\0abc",
            b"\xff\xff\xff\xff",
            b"\x01\0\0\0a",
        ] {
            let bytes = Bytes::from_static(bytes);
            assert_eq!(decode_fields(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_key_with_too_many_changed_parts_is_written_whole() {
        let (mut log, key) = (ChangeLog::default(), Bytes::from("k"));
        for n in 0..=PARTS_MAX as u64 {
            Touched::new(&key, Some(&mut log)).part(|| Part::Entry(EntryId { ms: n, seq: 0 }));
        }
        assert_eq!(log.keys[&key], Changed::Whole);
    }
}
