//! The screen: taken while it is used, given back as it was. Only lines that changed are written, so nothing flickers.

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{Write, stdin, stdout};

/// The alternate screen without a cursor, on which what is too long is cut and not wrapped; and back.
const TAKE: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const GIVE_BACK: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// A terminal that knows it shows the writes between both at once.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// The terminal of this process.
#[derive(Debug)]
pub(super) struct Screen {
    before: Termios,
    /// What it shows.
    lines: Vec<String>,
    size: (usize, usize),
}

impl Screen {
    /// Takes it.
    pub(super) fn open() -> std::io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        write!(stdout(), "{TAKE}")?;
        Ok(Self {
            before,
            lines: Vec::new(),
            size: (0, 0),
        })
    }

    /// Columns and rows; at least one of each.
    pub(super) fn size() -> (usize, usize) {
        let size = tcgetwinsize(stdout()).ok();
        size.map_or((80, 24), |size| {
            (
                usize::from(size.ws_col).max(1),
                usize::from(size.ws_row).max(1),
            )
        })
    }

    /// Shows these lines, one a row.
    pub(super) fn show(&mut self, lines: Vec<String>, size: (usize, usize)) -> std::io::Result<()> {
        let mut out = String::from(BEGIN);
        if self.size != size {
            out.push_str("\x1b[2J");
            self.lines.clear();
            self.size = size;
        }
        for (row, line) in lines.iter().enumerate() {
            if self.lines.get(row) != Some(line) {
                // Erased first: behind a line that fills the row the cursor still stands on its last character.
                out.push_str(&format!("\x1b[{};1H\x1b[K{line}\x1b[0m", row + 1));
            }
        }
        out.push_str(END);
        self.lines = lines;
        let mut screen = stdout().lock();
        screen.write_all(out.as_bytes())?;
        screen.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone: then there is nothing to give back.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
        let _ = write!(stdout(), "{GIVE_BACK}");
        let _ = stdout().flush();
    }
}
