//! Output that goes to a file: whether it grows, and whether it says anything new. Output into a pipe or terminal is not
//! sampled: the probe does not stand between an agent and its reader.

use super::descriptors::Descriptors;
use super::read::open_file;
use crate::process::handle::file::{Attributes, attributes, may_hang};
use heartbeat::verdict::sample::{Kind, Outlet, Output};
use heartbeat::wire::beat::cut;
use rustix::fs::FileType;

/// How much of the file's end is read, in bytes.
const TAIL_BYTES: u64 = 16 * 1024;
const LINE_CHARS_MAX: usize = 200;

/// Reads the end of a file. None when it is not a file, empty or unreadable, or where its server could make us wait.
pub(super) fn output(pid: u32, fd: i32, path: &str) -> Option<Output> {
    // Through /proc it is the same file even where the path means another one here.
    let at = format!("/proc/{pid}/fd/{fd}");
    let known = attributes(&at).ok()?;
    if known.kind != FileType::RegularFile || is_own(&known) || may_hang(pid, &known) {
        return None;
    }
    let file = open_file(&at).ok()?;
    let size = rustix::fs::fstat(&file).ok()?.st_size;
    let length = u64::try_from(size).ok().filter(|n| *n > 0)?;
    let mut bytes = vec![0; usize::try_from(length.min(TAIL_BYTES)).ok()?];
    let read = rustix::io::pread(&file, &mut bytes, length.saturating_sub(TAIL_BYTES)).ok()?;
    bytes.truncate(read);
    let text = String::from_utf8_lossy(&bytes);
    // The first line of a piece from the middle is not whole.
    let whole = if length > TAIL_BYTES {
        text.split_once('\n').map_or("", |(_, rest)| rest)
    } else {
        &text
    };
    let lines: Vec<&str> = whole
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    Some(Output {
        path: path.to_owned(),
        length,
        last: lines.last().map(|line| plain(line)).unwrap_or_default(),
        repeats: repeats(&lines),
        lines: u32::try_from(lines.len()).unwrap_or(u32::MAX),
    })
}

/// Where standard output goes; a terminal on standard error is a screen too.
pub(super) fn outlet(descriptors: &Descriptors) -> Outlet {
    let kind = |fd: i32| descriptors.target(fd as u64).kind;
    let of = |kind: Kind| match kind {
        Kind::Terminal(_) => Outlet::Terminal,
        Kind::Pipe(_) | Kind::Socket(_) => Outlet::Pipe,
        Kind::File(path) if !path.starts_with("/dev/") => Outlet::File,
        Kind::File(_) | Kind::Internal(_) | Kind::Unreadable(_) => Outlet::Other,
    };
    match (of(kind(1)), of(kind(2))) {
        (Outlet::Terminal, _) => Outlet::Terminal,
        (Outlet::Other, Outlet::Terminal) => Outlet::Terminal,
        (outlet, _) => outlet,
    }
}

/// A file that this observer's log goes to as well says nothing about the agent. Its standard output, which it passes on
/// and never writes to, does.
fn is_own(file: &Attributes) -> bool {
    attributes("/proc/self/fd/2")
        .is_ok_and(|own| (own.device, own.inode) == (file.device, file.inode))
}

/// How many of the last lines are the same one or the same two.
fn repeats(lines: &[&str]) -> u32 {
    let mut known: Vec<String> = Vec::new();
    let mut count = 0;
    for line in lines.iter().rev() {
        let line = timeless(line);
        if !known.contains(&line) {
            if known.len() == 2 {
                break;
            }
            known.push(line);
        }
        count += 1;
    }
    count
}

/// A line without control sequences.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // An escape sequence ends with a letter.
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            text.push(c);
        }
    }
    cut(text, LINE_CHARS_MAX)
}

/// A line without dates and clock times: two that differ in nothing else are the same.
fn timeless(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let marks = word.bytes().filter(|b| b":-.TZ+,/[]".contains(b)).count();
        let is_time = digits >= 4 && marks >= 2 && digits + marks == word.len();
        if is_time {
            "<time>".to_owned()
        } else {
            plain(word)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The descriptors of a process that are its output.
pub(super) const OUTPUTS: [i32; 2] = [1, 2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_two_lines_again_and_again_are_counted() {
        let line = ["start", "call", "error 529", "call", "error 529", "call"];
        assert_eq!(repeats(&line), 5);
        assert_eq!(
            repeats(&["10 % done", "status", "20 % done", "status", "30 % done"]),
            2
        );
        assert_eq!(repeats(&[]), 0);
    }

    #[test]
    fn clock_times_do_not_make_a_line_new() {
        let lines = [
            "2026-01-01T10:00:00Z agent running",
            "2026-01-01T10:00:01Z agent running",
        ];
        assert_eq!(timeless(lines[0]), timeless(lines[1]));
        assert_ne!(timeless("step 17"), timeless("step 18"));
    }

    #[test]
    fn colours_are_taken_out() {
        assert_eq!(plain("\u{1b}[1;31mfailed\u{1b}[0m\r"), "failed");
    }
}
