//! The log's way to standard error, which may be a stopped terminal, a pipe without a reader or a full disk: a write there
//! blocks or fails. So a thread of its own writes, and logging neither waits nor ends the program.

use crate::log::Log;
use std::io::{Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that wait to be written; further ones are dropped and counted.
const LINES_MAX: usize = 256;
/// How long the end of the program waits for the last lines.
const LAST_WITHIN: Duration = Duration::from_millis(500);

/// Takes lines and never waits.
#[derive(Clone, Debug)]
pub struct LogWriter {
    /// To the thread that writes; `None` where no thread could be started: then lines are written directly, and may block.
    queue: Option<SyncSender<Order>>,
    lost: Arc<AtomicU64>,
}

enum Order {
    Write(Vec<u8>),
    /// Everything before is written: confirm it.
    Confirm(SyncSender<()>),
}

impl LogWriter {
    /// Starts logging to standard error under the program's name.
    pub fn start(log: Log, program: &'static str) -> Self {
        let lines = Self::start_to(stderr(), program).unwrap_or_else(|_| Self {
            queue: None,
            lost: Arc::default(),
        });
        let queue = lines.clone();
        log.start(move || queue.clone());
        lines
    }

    fn start_to(out: impl Write + Send + 'static, program: &'static str) -> std::io::Result<Self> {
        let (queue, orders) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, program, &orders, &counted))?;
        Ok(Self {
            queue: Some(queue),
            lost,
        })
    }

    /// Waits a moment for what was logged so far.
    pub fn finish(&self) {
        let (confirm, confirmed) = sync_channel(1);
        let sent = self
            .queue
            .as_ref()
            .map(|queue| queue.try_send(Order::Confirm(confirm)));
        if matches!(sent, Some(Ok(()))) {
            let _ = confirmed.recv_timeout(LAST_WITHIN); // a blocked reader: they are lost
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match &self.queue {
            None => {
                let _ = stderr().write_all(line); // there is nowhere to report a log that cannot be written
            }
            Some(queue) => {
                if queue.try_send(Order::Write(line.to_vec())).is_err() {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes one line to standard error, `program: text`, whether or not it can be written; waits half a second at most.
pub fn complain(program: &str, text: &str) {
    let line = format!("{program}: {text}\n");
    let (done, written) = sync_channel(1);
    let write = move || {
        let _ = stderr().write_all(line.as_bytes()); // there is nowhere to report it
        let _ = done.try_send(());
    };
    if std::thread::Builder::new().spawn(write).is_ok() {
        let _ = written.recv_timeout(LAST_WITHIN); // a blocked reader: it is lost
    }
}

fn write(mut out: impl Write, program: &str, orders: &Receiver<Order>, lost: &AtomicU64) {
    while let Ok(order) = orders.recv() {
        match order {
            Order::Write(line) => {
                let before = lost.swap(0, Ordering::Relaxed);
                let report = format!("{program}: {before} log lines could not be written\n");
                let reported = before == 0 || out.write_all(report.as_bytes()).is_ok();
                if !reported {
                    lost.fetch_add(before, Ordering::Relaxed);
                }
                if out.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed); // a full disk: reported once there is space
                }
            }
            Order::Confirm(confirm) => {
                let _ = confirm.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_log_without_a_reader_delays_no_caller_and_counts_what_it_lost() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut lines = LogWriter::start_to(writer, "hb").unwrap();
        let line = [b'x'; 1023];
        // More than the pipe and the queue take together.
        for _ in 0..LINES_MAX + 128 {
            writeln!(lines, "{}", String::from_utf8_lossy(&line)).unwrap();
        }
        // The thread may have taken the count already and wait to write it: only the pipe says it for certain.
        drop(lines);

        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert!(text.contains("log lines could not be written"));
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut lines = LogWriter::start_to(writer, "hb").unwrap();
        lines.write_all(b"the end\n").unwrap();
        lines.finish();
        let mut text = [0; 8];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"the end\n");
    }

    /// A disk that is full for the first writes.
    struct FullDisk {
        refuses: usize,
        then: std::io::PipeWriter,
    }

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.refuses > 0 {
                self.refuses -= 1;
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            self.then.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refused_are_counted_once_there_is_space() {
        let (mut reader, then) = std::io::pipe().unwrap();
        // Line one; the report and line two; then there is space.
        let disk = FullDisk { refuses: 3, then };
        let mut lines = LogWriter::start_to(disk, "hb").unwrap();
        for line in ["one\n", "two\n", "three\n"] {
            lines.write_all(line.as_bytes()).unwrap();
        }
        lines.finish();
        drop(lines);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hb: 2 log lines could not be written\nthree\n");
    }
}
