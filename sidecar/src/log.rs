//! The log's way to standard error. That may be a stopped terminal or a full pipe, perhaps the very one on which the agent
//! hangs: a write there would block. So a thread of its own writes, and logging never waits.

use hbshell::log::Log;
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
pub(crate) struct LogWriter {
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
    /// Starts logging to standard error. The agent's own output is not touched.
    pub(crate) fn start(log: Log) -> Self {
        let lines = Self::start_to(stderr()).unwrap_or_else(|_| Self {
            queue: None,
            lost: Arc::default(),
        });
        let queue = lines.clone();
        log.start(move || queue.clone());
        lines
    }

    fn start_to(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, orders) = sync_channel(LINES_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        // Every signal is blocked already: the thread takes none away.
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &orders, &counted))?;
        Ok(Self {
            queue: Some(queue),
            lost,
        })
    }

    /// Waits a moment for what was logged so far.
    pub(crate) fn finish(&self) {
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
        let Some(queue) = &self.queue else {
            stderr().write_all(line)?;
            return Ok(line.len());
        };
        if queue.try_send(Order::Write(line.to_vec())).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn write(mut out: impl Write, orders: &Receiver<Order>, lost: &AtomicU64) {
    // There is nowhere to report a log that cannot be written.
    while let Ok(order) = orders.recv() {
        match order {
            Order::Write(line) => {
                let _ = out.write_all(&line);
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let _ = writeln!(out, "hbsidecar: {lost} log lines could not be written");
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
        let mut lines = LogWriter::start_to(writer).unwrap();
        let line = [b'x'; 1023];
        // More than the pipe and the queue take together.
        for _ in 0..LINES_MAX + 128 {
            writeln!(lines, "{}", String::from_utf8_lossy(&line)).unwrap();
        }
        assert!(lines.lost.load(Ordering::Relaxed) > 0);

        let mut text = String::new();
        let mut buffer = [0; 65536];
        while !text.contains("log lines could not be written") {
            let length = reader.read(&mut buffer).unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        drop(reader);
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut lines = LogWriter::start_to(writer).unwrap();
        lines.write_all(b"the end\n").unwrap();
        lines.finish();
        let mut text = [0; 8];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"the end\n");
    }
}
