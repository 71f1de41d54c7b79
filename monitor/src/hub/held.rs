//! Beats that came while what the store holds was being read: they are applied behind it, in order.

/// Bytes that are held at most: a burst of a whole large fleet.
const BYTES_MAX: usize = 48 << 20;

/// Payloads, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Held {
    /// Adds a payload; false when there is no room.
    pub(super) fn push(&mut self, payload: &[u8]) -> bool {
        if self.bytes.len() + payload.len() > BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
        true
    }

    /// All of them.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.bytes[start..*end])
    }
}
