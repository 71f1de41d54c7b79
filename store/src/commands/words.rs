//! What all commands share: patterns, numbers, and errors with the texts of Redis.

use crate::resp::Reply;

/// Whether the command may take more memory.
pub(crate) fn grows(name: &[u8]) -> bool {
    matches!(
        name,
        b"SET" | b"INCR" | b"INCRBY" | b"HSET" | b"XADD" | b"EVAL" | b"EVALSHA"
    )
}

/// What is put together for one reply, in bytes: as much as may wait for a client, by default.
pub(crate) const REPLY_BYTES_MAX: usize = 8 << 20;
/// The longest pattern. With `*` in it a text is looked through once for each of its bytes, in the worst case.
pub(crate) const PATTERN_BYTES_MAX: usize = 256;

/// Glob as in Redis: `*`, `?`, and `\` before a literal. Bounded: each `*` only ever moves on.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        let (width, fits) = match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'?') => (1, true),
            Some(b'\\') if p + 1 < pattern.len() => (2, pattern[p + 1] == text[t]),
            Some(byte) => (1, *byte == text[t]),
            None => (0, false),
        };
        match (fits, retry) {
            (true, _) => (p, t) = (p + width, t + 1),
            (false, Some((star, from))) => {
                retry = Some((star, from + 1));
                (p, t) = (star + 1, from + 1);
            }
            (false, None) => return false,
        }
    }
    pattern[p.min(pattern.len())..]
        .iter()
        .all(|byte| *byte == b'*')
}

/// A whole number as Redis reads it.
pub(crate) fn number_of(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

pub(crate) fn count(n: usize) -> Reply {
    Reply::Number(i64::try_from(n).unwrap_or(i64::MAX))
}

pub(crate) fn arity(name: &[u8]) -> Reply {
    let name = String::from_utf8_lossy(name).to_lowercase();
    Reply::Error(format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

pub(crate) fn syntax() -> Reply {
    Reply::Error("ERR syntax error".to_owned())
}

pub(crate) fn not_a_number() -> Reply {
    Reply::Error("ERR value is not an integer or out of range".to_owned())
}

pub(crate) fn pattern_too_long() -> Reply {
    Reply::Error(format!(
        "ERR a pattern has at most {PATTERN_BYTES_MAX} bytes here"
    ))
}

/// A reply that no client could take: it is not even put together.
pub(crate) fn too_large() -> Reply {
    Reply::Error(format!(
        "ERR the reply has more than {REPLY_BYTES_MAX} bytes; read it in parts (HSCAN, HMGET, COUNT)"
    ))
}

pub(crate) fn wrong_type() -> Reply {
    Reply::Error("WRONGTYPE Operation against a key holding the wrong kind of value".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_in_redis() {
        for (pattern, text, fits) in [
            ("agent:*", "agent:a1", true),
            ("agent:*", "hb:agents", false),
            ("a?c", "abc", true),
            ("a*b*c", "a12b34c", true),
            ("a*b*c", "a12b34", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("*", "", true),
        ] {
            assert_eq!(
                glob(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
    }
}
