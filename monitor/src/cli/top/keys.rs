//! Keys of a terminal, from the bytes that it sends.

use std::io::Read;
use tokio::sync::mpsc;

/// Keys that wait: more than a person types, less than a paste.
const WAITING_MAX: usize = 64;

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Tab,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C, or the terminal is gone.
    Interrupt,
}

/// Reads standard input on a thread of its own, which ends with the program.
pub(super) fn follow() -> mpsc::Receiver<Key> {
    let (send, keys) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut bytes = [0; 256];
        loop {
            let read = match input.read(&mut bytes) {
                Ok(0) | Err(_) => vec![Key::Interrupt],
                Ok(count) => parse(&bytes[..count]),
            };
            for key in read {
                if send.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    keys
}

/// The keys of one read. A terminal sends the bytes of one key at once; sequences that are not known are left out.
fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while let Some((first, rest)) = bytes.split_first() {
        bytes = rest;
        match first {
            0x1b if rest.is_empty() => keys.push(Key::Escape),
            0x1b => {
                let (key, length) = sequence(rest);
                keys.extend(key);
                bytes = &rest[length..];
            }
            b'\r' | b'\n' => keys.push(Key::Enter),
            b'\t' => keys.push(Key::Tab),
            0x7f | 0x08 => keys.push(Key::Backspace),
            0x03 => keys.push(Key::Interrupt),
            0x20.. => {
                let length = 1 + rest.iter().take_while(|byte| **byte & 0xc0 == 0x80).count();
                let whole = [&[*first], &rest[..length - 1]].concat();
                let text = String::from_utf8_lossy(&whole).into_owned();
                keys.extend(text.chars().map(Key::Char));
                bytes = &rest[length - 1..];
            }
            _ => {}
        }
    }
    keys
}

/// What follows an escape, and how many bytes it takes.
fn sequence(bytes: &[u8]) -> (Option<Key>, usize) {
    let [b'[' | b'O', rest @ ..] = bytes else {
        return (Some(Key::Escape), 0);
    };
    let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
    let Some(end) = end else {
        return (None, bytes.len());
    };
    let key = match &rest[..=end] {
        b"A" => Some(Key::Up),
        b"B" => Some(Key::Down),
        b"H" | b"1~" | b"7~" => Some(Key::Home),
        b"F" | b"4~" | b"8~" => Some(Key::End),
        b"5~" => Some(Key::PageUp),
        b"6~" => Some(Key::PageDown),
        _ => None,
    };
    (key, end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_one_after_the_other_and_strange_sequences_are_left_out() {
        use Key::{Backspace, Char, Down, Enter, Escape, Interrupt, PageDown, Up};
        assert_eq!(parse(b"\x1b[A\x1bOBq"), [Up, Down, Char('q')]);
        assert_eq!(
            parse("ü\r\x7f\x03".as_bytes()),
            [Char('ü'), Enter, Backspace, Interrupt]
        );
        assert_eq!(parse(b"\x1b"), [Escape]);
        assert_eq!(parse(b"\x1b[6~\x1b[1;5C\x1b[99"), [PageDown]);
        assert_eq!(parse(b"\x00\x1f"), []);
    }
}
