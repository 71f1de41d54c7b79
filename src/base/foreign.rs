//! Text that others wrote (ids, tasks, output), as it is shown to a person: it cannot move the cursor, colour the terminal or
//! turn the direction of what stands beside it.

use std::borrow::Cow;
use std::fmt::Write;

/// The text with control and bidirectional characters as `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c)); // into memory
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// At most so many characters, the last of them `…` when some are left out.
pub fn cut(text: &str, chars_max: usize) -> Cow<'_, str> {
    if text.chars().count() <= chars_max {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    Cow::Owned(kept + "…")
}

fn is_hidden(c: char) -> bool {
    let directs = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let separates = matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
    c.is_control() || directs || separates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_or_turns_the_text_is_shown_by_its_number() {
        assert_eq!(
            visible("a\u{202e}b\x1b[31m\n"),
            "a\\u{202e}b\\u{1b}[31m\\u{a}"
        );
        assert_eq!(visible("Zürich 日本 🦀 <b>"), "Zürich 日本 🦀 <b>");
    }

    #[test]
    fn a_long_text_ends_with_an_ellipsis_inside_its_limit() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abcdefg", 6), "abcde…");
    }
}
