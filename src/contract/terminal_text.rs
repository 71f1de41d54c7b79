//! The text that a terminal shows: escape sequences are taken out, and what moves the cursor off the line ends the line.
//!
//! A progress bar is redrawn in place: each drawing comes out as a line of its own.

/// Turns output into plain lines, in pieces as they come. Memory: a few bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct TerminalText {
    state: State,
    /// The first number of the sequence: how far, or which part.
    number: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte: one more belongs to it.
    Charset,
    /// ESC [ …; true while its first number is read.
    Control(bool),
    /// A title, a link, a status: up to BEL or ESC \.
    String,
    StringEscape,
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

impl TerminalText {
    /// Appends to `text` what the bytes show.
    pub fn feed(&mut self, mut bytes: &[u8], text: &mut Vec<u8>) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == State::Text && !is_control(byte) {
                let end = bytes.iter().position(|byte| is_control(*byte));
                let (plain, more) = bytes.split_at(end.unwrap_or(bytes.len()));
                text.extend_from_slice(plain);
                bytes = more;
                continue;
            }
            bytes = rest;
            self.byte(byte, text);
        }
    }

    fn byte(&mut self, byte: u8, text: &mut Vec<u8>) {
        self.state = match (self.state, byte) {
            (State::String, ESC) => State::StringEscape,
            (_, ESC) => State::Escape,
            (State::Text, b'\t') => self.put(b'\t', text),
            // Back to the line's begin, or over what it shows.
            (State::Text, b'\n' | b'\r' | 0x08 | 0x0b | 0x0c) => self.put(b'\n', text),
            (State::Text, _) => State::Text,
            (State::Escape, b'[') => {
                self.number = 0;
                State::Control(true)
            }
            (State::Escape, b']' | b'P' | b'^' | b'_' | b'X') => State::String,
            (State::Escape, b' '..=b'/') => State::Charset,
            (State::Escape, b'c' | b'D' | b'E' | b'M') => self.put(b'\n', text),
            (State::Escape | State::Charset, _) => State::Text,
            (State::Control(true), b'0'..=b'9') => {
                let digit = u16::from(byte - b'0');
                self.number = self.number.saturating_mul(10).saturating_add(digit);
                State::Control(true)
            }
            (State::Control(_), b' '..=b'?') => State::Control(false),
            (State::Control(_), b'@'..=b'~') => self.sequence(byte, text),
            // A sequence that is broken off by a control character.
            (State::Control(_), b'\n' | b'\r') => self.put(b'\n', text),
            (State::Control(_), _) => State::Text,
            (State::String | State::StringEscape, BEL) => State::Text,
            (State::String, _) => State::String,
            (State::StringEscape, b'\\') => State::Text,
            (State::StringEscape, _) => State::String,
        };
    }

    fn sequence(&self, end: u8, text: &mut Vec<u8>) -> State {
        match (end, self.number) {
            // To another line, to the first column, or the whole line is erased.
            (b'A' | b'B' | b'E' | b'F' | b'H' | b'J' | b'd' | b'f', _) => self.put(b'\n', text),
            (b'G', 0 | 1) | (b'K', 1 | 2) => self.put(b'\n', text),
            // Elsewhere in the line: a gap.
            (b'C' | b'G', _) => self.put(b' ', text),
            (_, _) => State::Text,
        }
    }

    fn put(self, byte: u8, text: &mut Vec<u8>) -> State {
        text.push(byte);
        State::Text
    }
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(printed: &[u8]) -> Vec<String> {
        let mut text = Vec::new();
        TerminalText::default().feed(printed, &mut text);
        // In pieces it is the same.
        let (mut filter, mut pieces) = (TerminalText::default(), Vec::new());
        for byte in printed {
            filter.feed(&[*byte], &mut pieces);
        }
        assert_eq!(text, pieces);
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn colours_titles_and_links_are_taken_out() {
        let printed = b"\x1b]0;a title\x07\x1b[1;32m   Compiling\x1b[0m \x1b]8;;http://x\x1b\\serde\x1b]8;;\x1b\\\x1b(B\n";
        assert_eq!(shown(printed), ["   Compiling serde"]);
    }

    #[test]
    fn each_drawing_of_a_bar_is_a_line() {
        for again in [
            "\r",
            "\x1b[1G",
            "\x1b[2K\x1b[1G",
            "\x1b[1A\x1b[2K",
            "\x1b[H",
            "\x08\x08\x08\x08",
            "\x1b[2J\x1b[1;1H",
        ] {
            let printed = format!("\x1b[?25l 10%{again} 20%{again}\x1b[31m 30%\x1b[K");
            assert_eq!(
                shown(printed.as_bytes()),
                [" 10%", " 20%", " 30%"],
                "{again:?}"
            );
        }
    }

    #[test]
    fn plain_text_passes_as_it_is() {
        let text = "{\"a\": \"h\u{e9}llo\"}\tx\n\u{2588}\u{2588}  45%\n".as_bytes();
        let mut out = Vec::new();
        TerminalText::default().feed(text, &mut out);
        assert_eq!(out, text);
    }

    #[test]
    fn a_gap_is_a_space_and_a_broken_sequence_costs_only_itself() {
        assert_eq!(shown(b"step\x1b[10C7\x1b[12\nnext\x1b"), ["step 7", "next"]);
    }
}
