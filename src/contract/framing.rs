//! Splits a byte stream into lines. Memory: at most one line.

use crate::contract::line::LineError;

/// Splits what is fed to it. An empty line's memory is given back: idle senders hold nothing.
#[derive(Debug)]
pub struct LineSplitter {
    bytes_max: usize,
    pending: Vec<u8>,
    /// The present line is dropped up to its end.
    dropping: bool,
}

impl LineSplitter {
    /// For lines of at most this many bytes, their end not counted.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            pending: Vec::new(),
            dropping: false,
        }
    }

    /// Calls `take` with each line that ends within `bytes`, and once with the error of a line that grows too long.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(Result<&[u8], LineError>)) {
        let mut parts = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let ends = parts.peek().is_some();
            self.part(part, ends, &mut take);
        }
        if self.pending.is_empty() && self.pending.capacity() > 0 {
            self.pending = Vec::new(); // idle connections hold nothing
        }
    }

    /// The beginning of a line whose end has not come.
    pub fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Forgets the present line, up to its end if that is still to come.
    pub fn drop_line(&mut self, to_its_end: bool) {
        self.pending = Vec::new();
        self.dropping = to_its_end;
    }

    fn part(&mut self, part: &[u8], ends: bool, take: &mut impl FnMut(Result<&[u8], LineError>)) {
        if !self.dropping
            && self.pending.len() + part.len() > self.bytes_max + usize::from(part.ends_with(b"\r"))
        {
            take(Err(LineError::TooLong));
            self.drop_line(true);
        }
        match (self.dropping, ends) {
            (true, true) => self.dropping = false,
            (true, false) => {}
            (false, true) if self.pending.is_empty() => take(Ok(without_return(part))),
            (false, true) => {
                self.pending.extend_from_slice(part);
                let line = std::mem::take(&mut self.pending);
                take(Ok(without_return(&line)));
            }
            (false, false) => self.pending.extend_from_slice(part),
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::line::LINE_BYTES_MAX;

    fn fed(lines: &mut LineSplitter, bytes: &[u8]) -> Vec<Result<Vec<u8>, LineError>> {
        let mut taken = Vec::new();
        lines.feed(bytes, |line| taken.push(line.map(<[u8]>::to_vec)));
        taken
    }

    #[test]
    fn a_line_may_come_in_pieces_and_several_at_once() {
        let mut lines = LineSplitter::new(LINE_BYTES_MAX);
        assert!(fed(&mut lines, b"a").is_empty());
        assert_eq!(
            fed(&mut lines, b"b\nc\r\n\nd"),
            [Ok(b"ab".to_vec()), Ok(b"c".to_vec()), Ok(vec![])]
        );
        assert_eq!(lines.pending(), b"d");
    }

    #[test]
    fn a_line_without_an_end_is_told_once_and_holds_no_memory() {
        let mut lines = LineSplitter::new(LINE_BYTES_MAX);
        let mut errors = 0;
        for _ in 0..1000 {
            errors += fed(&mut lines, &[b'x'; 10_000]).len();
            assert_eq!((lines.pending.len(), lines.pending.capacity()), (0, 0));
        }
        assert_eq!(errors, 1);
        assert_eq!(
            fed(&mut lines, b"x\nprogress=1\n"),
            [Ok(b"progress=1".to_vec())]
        );
    }

    #[test]
    fn eight_kib_pass_and_one_byte_more_does_not() {
        let mut lines = LineSplitter::new(LINE_BYTES_MAX);
        let mut full = vec![b'x'; LINE_BYTES_MAX];
        full.push(b'\n');
        assert_eq!(fed(&mut lines, &full), [Ok(vec![b'x'; LINE_BYTES_MAX])]);
        full.insert(0, b'x');
        assert_eq!(fed(&mut lines, &full), [Err(LineError::TooLong)]);
        assert_eq!(fed(&mut lines, b"a\n"), [Ok(b"a".to_vec())]);
    }
}
