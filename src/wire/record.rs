//! Records of the store's hashes: one JSON object each, bounded. A record that is wrong costs itself: it is skipped and counted.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a record is not what its hash should hold.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Larger than this kind of record may be; not parsed.
    #[error("{what} may have {max} bytes, this one has {bytes}")]
    TooLarge {
        /// The kind of record: `a notice`.
        what: &'static str,
        /// The largest record of the kind that is read, in bytes.
        max: usize,
        /// What it has.
        bytes: usize,
    },
    /// Not JSON, a field is missing, or one has a value of a newer version that changes the meaning of the others.
    #[error("not {what}: {error}")]
    Json {
        /// The kind of record.
        what: &'static str,
        /// What is wrong.
        error: serde_json::Error,
    },
}

/// Takes a record; `what` names its kind in errors.
pub(super) fn decode<T: DeserializeOwned>(
    record: &[u8],
    what: &'static str,
    max: usize,
) -> Result<T, RecordError> {
    let bytes = record.len();
    if bytes > max {
        return Err(RecordError::TooLarge { what, max, bytes });
    }
    serde_json::from_slice(record).map_err(|error| RecordError::Json { what, error })
}

/// The record for the hash.
pub(super) fn encode(record: &impl Serialize) -> String {
    serde_json::to_string(record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_up_to_its_bound_and_an_error_names_its_kind() {
        let read = |text: &str| decode::<Vec<u8>>(text.as_bytes(), "a list", 5);
        assert_eq!(read("[1,2]").ok(), Some(vec![1, 2]));
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(error("[1,23]"), "a list may have 5 bytes, this one has 6");
        assert!(error("{}").starts_with("not a list: "));
    }
}
