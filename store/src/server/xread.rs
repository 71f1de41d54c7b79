//! XREAD as asked, and as it waits.

use crate::commands::{Since, number_of, since, syntax};
use crate::keyspace::Keyspace;
use crate::resp::Reply;
use bytes::Bytes;
use std::time::Instant;

/// Streams of one XREAD: a blocked one is looked through at every XADD. hb reads one.
const STREAMS_MAX: usize = 64;

pub(super) struct Xread {
    pub(super) wanted: Vec<Since>,
    pub(super) most: usize,
    pub(super) block: Option<u64>,
}

pub(super) struct Blocked {
    pub(super) read: Xread,
    pub(super) until: Instant,
}

impl Xread {
    /// COUNT and BLOCK in any order, then STREAMS, keys and as many ids.
    pub(super) fn parse(present: &Keyspace, args: &[Bytes]) -> Result<Self, Reply> {
        let (mut most, mut block) = (usize::MAX, None);
        let mut rest = args;
        loop {
            match rest {
                [option, n, tail @ ..] if option.eq_ignore_ascii_case(b"COUNT") => {
                    most = number_of(n)
                        .and_then(|n| usize::try_from(n).ok())
                        .ok_or_else(syntax)?;
                    rest = tail;
                }
                [option, n, tail @ ..] if option.eq_ignore_ascii_case(b"BLOCK") => {
                    let ms = number_of(n).and_then(|n| u64::try_from(n).ok());
                    block = Some(ms.ok_or_else(|| {
                        Reply::Error("ERR timeout is not an integer or out of range".to_owned())
                    })?);
                    rest = tail;
                }
                [option, tail @ ..] if option.eq_ignore_ascii_case(b"STREAMS") => {
                    if tail.is_empty() || !tail.len().is_multiple_of(2) {
                        return Err(Reply::Error(
                            "ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.".to_owned(),
                        ));
                    }
                    if tail.len() / 2 > STREAMS_MAX {
                        return Err(Reply::Error(format!(
                            "ERR an XREAD reads at most {STREAMS_MAX} streams here"
                        )));
                    }
                    let (keys, ids) = tail.split_at(tail.len() / 2);
                    let pairs = keys.iter().zip(ids);
                    let wanted = pairs
                        .map(|(key, id)| since(present, key, id))
                        .collect::<Result<_, _>>()?;
                    return Ok(Self {
                        wanted,
                        most,
                        block,
                    });
                }
                _ => return Err(syntax()),
            }
        }
    }
}
