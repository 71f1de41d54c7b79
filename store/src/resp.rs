//! The protocol of the embedded store: bytes are parsed to commands, replies are written as bytes.
//!
//! The protocol crate frames both versions. Before it sees a byte, a guard walks the headers: a command is an array of
//! bulk strings, of bounded count and size, never nested, or an inline line.

use bytes::{Buf, Bytes, BytesMut};
use redis_protocol::resp2::decode::decode_bytes_mut;
use redis_protocol::resp2::encode::extend_encode as encode2;
use redis_protocol::resp2::types::BytesFrame as Frame2;
use redis_protocol::resp3::encode::complete::extend_encode as encode3;
use redis_protocol::resp3::types::{BytesFrame as Frame3, FrameMap};

/// The largest command, all its arguments together, in bytes.
pub(super) const COMMAND_BYTES_MAX: usize = 1024 * 1024;
/// The most arguments of one command.
pub(super) const ARGUMENTS_MAX: usize = 4096;
/// The longest inline command, and the longest header.
const LINE_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES_MAX: usize = 32;

/// The protocol version of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Two,
    Three,
}

/// The reply to a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Simple(&'static str),
    Error(String),
    Number(i64),
    Bulk(Bytes),
    Null,
    Array(Vec<Reply>),
    Map(Vec<(Reply, Reply)>),
    /// A map that version two writes as an array of pairs, not flat: what XREAD found.
    Pairs(Vec<(Reply, Reply)>),
    Push(Vec<Reply>),
}

/// Why bytes are no command. The client gets the error and is disconnected: the bytes that follow have no known start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Garbage {
    #[error("Protocol error: expected '$', got '{0}'")]
    NotABulk(char),
    #[error("Protocol error: invalid multibulk length")]
    Count,
    #[error("Protocol error: invalid bulk length")]
    Length,
    #[error("Protocol error: too big inline request")]
    Inline,
    #[error("Protocol error: malformed command")]
    Unreadable,
}

impl Reply {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Bulk(Bytes::from(text.into()))
    }

    pub(super) fn ok() -> Self {
        Self::Simple("OK")
    }

    /// Roughly the bytes of it once encoded.
    pub(super) fn bytes(&self) -> usize {
        /// A type, a length and two line ends.
        const FRAME: usize = 16;
        let all = |replies: &[Self]| replies.iter().map(Self::bytes).sum::<usize>();
        FRAME
            + match self {
                Self::Simple(text) => text.len(),
                Self::Error(text) => text.len(),
                Self::Bulk(data) => data.len(),
                Self::Number(_) | Self::Null => 0,
                Self::Array(items) | Self::Push(items) => all(items),
                Self::Map(pairs) | Self::Pairs(pairs) => {
                    pairs.iter().map(|(k, v)| k.bytes() + v.bytes()).sum()
                }
            }
    }

    /// The bytes for a client of this version.
    pub(super) fn encode(self, version: Version) -> Bytes {
        let mut out = BytesMut::new();
        let encoded = match version {
            Version::Two => encode2(&mut out, &self.frame2(), false).map(drop),
            Version::Three => encode3(&mut out, &self.frame3(), false).map(drop),
        };
        match encoded {
            Ok(()) => out.freeze(),
            Err(_) => Bytes::from_static(b"-ERR cannot encode the reply\r\n"),
        }
    }

    fn frame2(self) -> Frame2 {
        match self {
            Self::Simple(text) => Frame2::SimpleString(Bytes::from_static(text.as_bytes())),
            Self::Error(text) => Frame2::Error(text.into()),
            Self::Number(n) => Frame2::Integer(n),
            Self::Bulk(data) => Frame2::BulkString(data),
            Self::Null => Frame2::Null,
            Self::Array(items) | Self::Push(items) => {
                Frame2::Array(items.into_iter().map(Self::frame2).collect())
            }
            Self::Pairs(pairs) => {
                let pair = |(k, v): (Self, Self)| Frame2::Array(vec![k.frame2(), v.frame2()]);
                Frame2::Array(pairs.into_iter().map(pair).collect())
            }
            Self::Map(pairs) => Frame2::Array(
                pairs
                    .into_iter()
                    .flat_map(|(k, v)| [k.frame2(), v.frame2()])
                    .collect(),
            ),
        }
    }

    fn frame3(self) -> Frame3 {
        let attributes = None;
        match self {
            Self::Simple(text) => Frame3::SimpleString {
                data: Bytes::from_static(text.as_bytes()),
                attributes,
            },
            Self::Error(text) => Frame3::SimpleError {
                data: text.into(),
                attributes,
            },
            Self::Number(data) => Frame3::Number { data, attributes },
            Self::Bulk(data) => Frame3::BlobString { data, attributes },
            Self::Null => Frame3::Null,
            Self::Array(items) => Frame3::Array {
                data: items.into_iter().map(Self::frame3).collect(),
                attributes,
            },
            Self::Push(items) => Frame3::Push {
                data: items.into_iter().map(Self::frame3).collect(),
                attributes,
            },
            Self::Map(pairs) | Self::Pairs(pairs) => {
                let data: FrameMap<Frame3, Frame3> = pairs
                    .into_iter()
                    .map(|(k, v)| (k.frame3(), v.frame3()))
                    .collect();
                Frame3::Map { data, attributes }
            }
        }
    }
}

/// Takes the next whole command off the buffer; `None` when more bytes are needed.
pub(super) fn next_command(buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Garbage> {
    while buffer.starts_with(b"\r\n") {
        buffer.advance(2);
    }
    match buffer.first() {
        None => Ok(None),
        Some(b'*') => {
            if !is_whole(buffer)? {
                return Ok(None);
            }
            let Ok(Some((Frame2::Array(items), _, _))) = decode_bytes_mut(buffer) else {
                return Err(Garbage::Unreadable);
            };
            let bulk = |item| match item {
                Frame2::BulkString(data) => Ok(data),
                Frame2::SimpleString(_)
                | Frame2::Error(_)
                | Frame2::Integer(_)
                | Frame2::Array(_)
                | Frame2::Null => Err(Garbage::Unreadable),
            };
            items
                .into_iter()
                .map(bulk)
                .collect::<Result<_, _>>()
                .map(Some)
        }
        Some(_) => inline(buffer),
    }
}

/// Whether a whole array of bulk strings stands at the front, within its bounds.
fn is_whole(buffer: &[u8]) -> Result<bool, Garbage> {
    let Some((count, mut at)) = header(buffer, 0, Garbage::Count)? else {
        return Ok(false);
    };
    if !(1..=ARGUMENTS_MAX).contains(&count) {
        return Err(Garbage::Count);
    }
    for _ in 0..count {
        match buffer.get(at) {
            None => return Ok(false),
            Some(b'$') => {}
            Some(other) => return Err(Garbage::NotABulk(char::from(*other))),
        }
        let Some((length, start)) = header(buffer, at, Garbage::Length)? else {
            return Ok(false);
        };
        at = start + length + 2;
        if at > COMMAND_BYTES_MAX {
            return Err(Garbage::Length);
        }
    }
    Ok(buffer.len() >= at)
}

/// The number after the type byte at `at`, and where its line ends.
fn header(buffer: &[u8], at: usize, wrong: Garbage) -> Result<Option<(usize, usize)>, Garbage> {
    let line = &buffer[at + 1..];
    let Some(end) = line.iter().take(HEADER_BYTES_MAX).position(|b| *b == b'\r') else {
        return if line.len() < HEADER_BYTES_MAX {
            Ok(None)
        } else {
            Err(wrong)
        };
    };
    match line.get(end + 1) {
        None => return Ok(None),
        Some(b'\n') => {}
        Some(_) => return Err(wrong),
    }
    let number = std::str::from_utf8(&line[..end])
        .ok()
        .and_then(|text| text.parse().ok());
    match number {
        Some(number) if number <= COMMAND_BYTES_MAX => Ok(Some((number, at + 1 + end + 2))),
        Some(_) | None => Err(wrong),
    }
}

fn inline(buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Garbage> {
    let Some(end) = buffer.iter().position(|b| *b == b'\n') else {
        return if buffer.len() < LINE_BYTES_MAX {
            Ok(None)
        } else {
            Err(Garbage::Inline)
        };
    };
    let line = buffer.split_to(end + 1).freeze();
    let words = line
        .split(|b| b.is_ascii_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| line.slice_ref(word))
        .collect();
    Ok(Some(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Vec<Bytes>>, Garbage> {
        next_command(&mut BytesMut::from(bytes))
    }

    #[test]
    fn a_command_is_read_once_it_is_whole() {
        let whole = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Ok(None), "{end} bytes");
        }
        assert_eq!(read(whole), Ok(Some(vec!["GET".into(), "a".into()])));
    }

    #[test]
    fn an_inline_command_is_read() {
        assert_eq!(
            read(b"PING hello\r\n"),
            Ok(Some(vec!["PING".into(), "hello".into()]))
        );
    }

    #[test]
    fn nothing_nested_huge_or_negative_is_followed() {
        assert_eq!(read(b"*1\r\n*1\r\n"), Err(Garbage::NotABulk('*')));
        assert_eq!(read(b"*1000000000\r\n"), Err(Garbage::Count));
        assert_eq!(read(b"*-1\r\n"), Err(Garbage::Count));
        assert_eq!(read(b"*1\r\n$99999999999\r\n"), Err(Garbage::Length));
        assert_eq!(read(b"*1\r\n$-5\r\n"), Err(Garbage::Length));
        assert_eq!(
            read(&[b"*1\r\n$".as_slice(), &[b'1'; 64]].concat()),
            Err(Garbage::Length)
        );
        assert_eq!(read(&[b'x'; LINE_BYTES_MAX]), Err(Garbage::Inline));
    }

    #[test]
    fn a_map_is_a_flat_array_in_version_two() {
        let map = Reply::Map(vec![(Reply::text("a"), Reply::Number(1))]);
        assert_eq!(map.clone().encode(Version::Two), "*2\r\n$1\r\na\r\n:1\r\n");
        assert_eq!(map.encode(Version::Three), "%1\r\n$1\r\na\r\n:1\r\n");
    }
}
