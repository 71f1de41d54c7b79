//! How answers look on a terminal, and in a pipe: width, colours, glyphs, times in the reader's zone.

use heartbeat::base::calendar::Calendar;
use heartbeat::base::foreign::visible;
use heartbeat::fleet::word::{Rank, Tone, Word};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use std::borrow::Cow;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{SystemTime, UNIX_EPOCH};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A colour begins with it and ends with `m`.
const ESCAPE: char = '\x1b';
/// Where nothing reports a width.
const COLUMNS_DEFAULT: usize = 80;

/// What standard output can show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Columns; `None` in a pipe, where rows are whole.
    pub(super) columns: Option<usize>,
    has_colour: bool,
    is_unicode: bool,
    /// Unix milliseconds.
    pub(super) now_ms: u64,
}

impl Terminal {
    /// That of this process; `wide`: as if it had 200 columns at least.
    pub(crate) fn detect(wide: bool) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let is_terminal = stdout().is_terminal();
        let dumb = set("TERM").is_some_and(|term| term == "dumb");
        let given = set("COLUMNS").and_then(|columns| columns.parse().ok());
        let window = || {
            tcgetwinsize(stdout())
                .ok()
                .map(|size| usize::from(size.ws_col))
        };
        let columns = given.or_else(window).filter(|columns| *columns > 0);
        let columns = columns.unwrap_or(COLUMNS_DEFAULT);
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_lowercase();
        Self {
            columns: is_terminal.then_some(if wide { columns.max(200) } else { columns }),
            has_colour: is_terminal && !dumb && set("NO_COLOR").is_none(),
            is_unicode: locale.contains("utf-8") || locale.contains("utf8"),
            now_ms: now_ms(),
        }
    }

    /// One of 80 columns without colours, at this time.
    #[cfg(test)]
    pub(super) fn plain_at(now_ms: u64) -> Self {
        Self {
            columns: Some(80),
            has_colour: false,
            is_unicode: true,
            now_ms,
        }
    }

    /// The glyph of a word.
    pub(crate) fn glyph(&self, word: Word) -> char {
        let (glyph, ascii) = word.glyph();
        if self.is_unicode { glyph } else { ascii }
    }

    /// Whether more than ASCII can be shown.
    pub(crate) fn is_unicode(&self) -> bool {
        self.is_unicode
    }

    /// What stands for nothing.
    pub(super) fn dash(&self) -> &'static str {
        if self.is_unicode { "–" } else { "-" }
    }

    /// Text in the colour of a word; the text alone where there are no colours.
    pub(crate) fn paint(&self, word: Word, text: &str) -> String {
        if !self.has_colour {
            return text.to_owned();
        }
        let code = match (word.tone(), word.rank()) {
            (Tone::Bad, _) => "31",
            (Tone::Warn, _) => "33",
            (Tone::You, _) => "35",
            (Tone::Ok, _) => "32",
            (Tone::Wait, _) => "34",
            (Tone::Off, Rank::NeedsYou) => "31",
            (Tone::Off, _) => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// At most so many columns, the last of them an ellipsis when text is left out.
    pub(super) fn fit<'a>(&self, text: &'a str, columns: usize) -> Cow<'a, str> {
        if text.width() <= columns {
            return Cow::Borrowed(text);
        }
        let mark = if self.is_unicode { "…" } else { "..." };
        let room = columns.saturating_sub(mark.width());
        let mut kept = String::new();
        let mut used = 0;
        for c in text.chars() {
            used += c.width().unwrap_or(0);
            if used > room {
                break;
            }
            kept.push(c);
        }
        Cow::Owned(kept + mark)
    }

    /// The same terminal with so many columns.
    pub(super) const fn of_columns(self, columns: usize) -> Self {
        Self {
            columns: Some(columns),
            ..self
        }
    }

    /// Text that matters less.
    pub(super) fn dim(&self, text: &str) -> String {
        if self.has_colour {
            format!("\x1b[2m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// As [`Terminal::fit`], for a line with colours, which take no room and end with it.
    pub(super) fn fit_painted(&self, line: &str, columns: usize) -> String {
        if painted_width(line) <= columns {
            return line.to_owned();
        }
        if !line.contains(ESCAPE) {
            return self.fit(line, columns).into_owned();
        }
        let mark = if self.is_unicode { "…" } else { "..." };
        let room = columns.saturating_sub(mark.width());
        let (mut kept, mut used) = (String::new(), 0);
        for (is_colour, part) in parts(line) {
            if is_colour {
                kept.push_str(part);
                continue;
            }
            for c in part.chars() {
                let wide = c.width().unwrap_or(0);
                if used + wide > room {
                    return format!("{kept}{mark}\x1b[0m");
                }
                used += wide;
                kept.push(c);
            }
        }
        kept
    }

    /// A time of day, with its day when that is another one.
    pub(super) fn time(&self, wall_ms: u64) -> String {
        local(wall_ms).near(local(self.now_ms))
    }

    /// Words on lines of so many columns.
    pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in text.split(' ') {
            let full = lines
                .last()
                .is_some_and(|line| !line.is_empty() && line.width() + 1 + word.width() > columns);
            if full {
                lines.push(String::new());
            }
            if let Some(line) = lines.last_mut() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        lines
    }
}

/// The wall clock in the reader's zone.
fn local(wall_ms: u64) -> Calendar {
    let timestamp = i64::try_from(wall_ms).ok();
    let timestamp = timestamp.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let offset = timestamp.map_or(0, |at| TimeZone::system().to_offset(at).seconds());
    Calendar::at_offset(wall_ms, i64::from(offset))
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// The text with spaces up to this many columns.
pub(crate) fn left(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(text.width())))
}

/// The same, with the spaces before it.
pub(super) fn right(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(text.width())))
}

/// Columns of a line that may have colours.
pub(super) fn painted_width(line: &str) -> usize {
    let texts = parts(line).filter(|(is_colour, _)| !is_colour);
    texts.map(|(_, text)| text.width()).sum()
}

/// A line as texts and colours, in order.
fn parts(line: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let is_colour = rest.starts_with(ESCAPE);
        let end = match is_colour {
            true => rest.find('m').map_or(rest.len(), |at| at + 1),
            false => rest.find(ESCAPE).unwrap_or(rest.len()),
        };
        let (part, left) = rest.split_at(end);
        rest = left;
        (!part.is_empty()).then_some((is_colour, part))
    })
}

/// Columns of a text.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// Text that others wrote, on one line.
pub(crate) fn plain(text: &str) -> String {
    visible(text).into_owned()
}

/// A line of the answer. Without a reader there is no answer to give.
pub(super) fn print(line: &str) {
    let _ = writeln!(stdout(), "{line}");
}

/// Whether what reads standard output has gone, as with `| head`.
pub(super) fn reader_has_gone() -> bool {
    let out = stdout();
    let mut asked = [PollFd::new(&out, PollFlags::empty())];
    let gone = PollFlags::ERR | PollFlags::HUP;
    let answered = poll(&mut asked, Some(&Timespec::default()));
    answered.is_ok() && asked[0].revents().intersects(gone)
}

/// A hint: to a terminal only.
pub(super) fn hint(line: &str) {
    if stderr().is_terminal() {
        let _ = writeln!(stderr(), "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(is_unicode: bool) -> Terminal {
        Terminal {
            is_unicode,
            ..Terminal::plain_at(0)
        }
    }

    #[test]
    fn a_cut_text_fits_its_columns_also_when_characters_are_wide() {
        for (text, columns, cut) in [
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("日本語です", 6, "日本…"),
        ] {
            assert_eq!(terminal(true).fit(text, columns), cut);
        }
        assert_eq!(terminal(false).fit("abcdefg", 6), "abc...");
    }

    #[test]
    fn colours_take_no_room_and_end_with_a_line_that_is_cut() {
        let line = "\x1b[31m✖ failed\x1b[0m  scraper-1";
        assert_eq!(painted_width(line), 19);
        assert_eq!(terminal(true).fit_painted(line, 19), line);
        assert_eq!(
            terminal(true).fit_painted(line, 13),
            "\x1b[31m✖ failed\x1b[0m  sc…\x1b[0m"
        );
        assert_eq!(terminal(true).fit_painted("plain text", 6), "plain…");
    }

    #[test]
    fn words_are_wrapped_and_a_long_one_stands_alone() {
        assert_eq!(
            Terminal::wrap("one two threefourfive six", 8),
            ["one two", "threefourfive", "six"]
        );
    }
}
