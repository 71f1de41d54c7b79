//! The log's ways out: standard error, and a file while standard error is a terminal that the agent uses.
//!
//! A full-screen agent's screen is its own: nothing of ours is written there until it has ended. Standard error may also be
//! a stopped terminal or a full pipe, perhaps the very one on which the agent hangs: a write there would block. So a thread
//! of its own writes, and logging never waits: lines beyond a bound are dropped and counted.

mod file;

use crate::clock;
use file::LogFile;
use hbshell::log::{ByLevel, Log};
use heartbeat::base::moment::Moment;
use heartbeat::wire::beat::cut;
use std::io::{IsTerminal, Write, stderr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tracing::Level;

/// Lines that wait to be written; further ones are dropped and counted.
const LINES_MAX: usize = 256;
/// How long the end of the program waits for the last lines.
const LAST_WITHIN: Duration = Duration::from_millis(500);
/// How long a beat repeats a line that no terminal showed.
const SHOWN_FOR: Duration = Duration::from_secs(300);
/// The longest such line, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// Where lines go.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    /// A file of the user's: every line goes there. Else the one for a time without a terminal.
    pub(crate) file: Option<PathBuf>,
    pub(crate) usual_file: Option<PathBuf>,
    /// Standard error leads nowhere: it is not the user's.
    pub(crate) has_no_stderr: bool,
    /// An agent is about to be started.
    pub(crate) awaits_agent: bool,
}

/// Takes lines and never waits.
#[derive(Clone, Debug)]
pub(crate) struct LogWriter {
    /// To the thread that writes; `None` where no thread could be started: then lines are written directly until an agent
    /// runs, and dropped from then on.
    queue: Option<SyncSender<Order>>,
    shared: Arc<Shared>,
}

/// Whose standard error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Screen {
    Ours,
    /// A terminal, and the agent that will use it is not started yet: lines are kept until that is certain.
    Undecided,
    /// A terminal that the agent uses.
    Agents,
}

#[derive(Debug, Default)]
struct Shared {
    /// A [`Screen`].
    screen: AtomicU8,
    has_agent: AtomicBool,
    lost: AtomicU64,
    /// Of what no terminal showed: warnings, errors, and the last of them.
    warnings: AtomicU64,
    errors: AtomicU64,
    last: Mutex<Option<(Moment, String)>>,
}

enum Order {
    /// A line, and what the screen was when it was logged: what belongs to the agent's time never comes on the screen.
    Write(Vec<u8>, Screen),
    /// Everything before is written: confirm it.
    Confirm(SyncSender<()>),
    /// The agent has ended, well or not, and the terminal is the user's again; it was the agent's before, or no agent was
    /// started.
    Summarise(Screen, bool),
}

/// One line's writer.
struct LineWriter {
    to: LogWriter,
    level: Level,
}

impl LogWriter {
    /// Starts logging. The agent's own output is not touched.
    pub(crate) fn start(log: Log, to: Destination) -> Self {
        let is_undecided = to.awaits_agent && stderr().is_terminal();
        let lines = Self::start_to(stderr(), to).unwrap_or_default();
        if is_undecided {
            lines.shared.set_screen(Screen::Undecided);
        }
        let writer = lines.clone();
        log.start(ByLevel(move |level| LineWriter {
            to: writer.clone(),
            level,
        }));
        let panics = lines.clone();
        std::panic::set_hook(Box::new(move |panic| {
            tracing::error!("{panic}");
            panics.wait();
        }));
        lines
    }

    fn start_to(out: impl Write + Send + 'static, to: Destination) -> std::io::Result<Self> {
        let (queue, orders) = sync_channel(LINES_MAX);
        let shared = Arc::new(Shared::default());
        let ways = Ways {
            screen: out,
            has_screen: !to.has_no_stderr,
            kept: Vec::new(),
            is_always_file: to.file.is_some() || to.has_no_stderr,
            file: to
                .file
                .map(LogFile::named)
                .or(to.usual_file.map(LogFile::usual)),
            file_refused: false,
            shared: Arc::clone(&shared),
        };
        // Every signal is blocked already: the thread takes none away.
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || ways.run(&orders))?;
        Ok(Self {
            queue: Some(queue),
            shared,
        })
    }

    /// An agent runs. From now on the terminal on standard error is the agent's, if it is one.
    pub(crate) fn leave_screen(&self) {
        self.shared.has_agent.store(true, Ordering::Relaxed);
        if stderr().is_terminal() {
            self.shared.set_screen(Screen::Agents);
        }
    }

    /// The last warning or error that no terminal showed, if it is not long ago.
    pub(crate) fn unseen(&self, now: Moment) -> Option<String> {
        let last = self
            .shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (at, line) = last.as_ref()?;
        (now.since(*at) < SHOWN_FOR).then(|| line.clone())
    }

    /// The agent has ended: one line says what its terminal did not show, and the usual file of a run that ended well goes
    /// unless that line refers to it. Waits a moment for what was logged so far.
    pub(crate) fn finish(&self, ended_well: bool) {
        let was = self.shared.screen();
        self.shared.set_screen(Screen::Ours);
        if let Some(queue) = &self.queue {
            let _ = queue.try_send(Order::Summarise(was, ended_well)); // nothing is read there: it would not be either
        }
        self.wait();
    }

    fn wait(&self) {
        let (confirm, confirmed) = sync_channel(1);
        let sent = self
            .queue
            .as_ref()
            .map(|queue| queue.try_send(Order::Confirm(confirm)));
        if matches!(sent, Some(Ok(()))) {
            let _ = confirmed.recv_timeout(LAST_WITHIN); // a blocked reader: they are lost
        }
    }

    fn take(&self, line: &[u8], level: Level) {
        let taken = match &self.queue {
            Some(queue) => queue
                .try_send(Order::Write(line.to_vec(), self.shared.screen()))
                .is_ok(),
            None if self.shared.has_agent.load(Ordering::Relaxed) => false,
            None => stderr().write_all(line).is_ok(),
        };
        if !taken {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
        let text = String::from_utf8_lossy(line);
        let message = text
            .split_once(level.as_str())
            .map_or(&*text, |(_, message)| message);
        self.shared.note(message, level);
    }
}

impl Shared {
    /// A warning or error that no terminal shows is shown with the agent.
    fn note(&self, message: &str, level: Level) {
        if level > Level::WARN || self.screen() == Screen::Ours {
            return;
        }
        let count = if level == Level::ERROR {
            &self.errors
        } else {
            &self.warnings
        };
        count.fetch_add(1, Ordering::Relaxed);
        let shown = cut(message.trim().to_owned(), SHOWN_CHARS_MAX);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((clock::now(), shown));
    }

    fn screen(&self) -> Screen {
        let screens = [Screen::Ours, Screen::Undecided, Screen::Agents];
        let now = usize::from(self.screen.load(Ordering::Relaxed));
        screens.get(now).copied().unwrap_or(Screen::Agents)
    }

    fn set_screen(&self, screen: Screen) {
        self.screen.store(screen as u8, Ordering::Relaxed);
    }
}

impl Default for LogWriter {
    /// No thread could be started.
    fn default() -> Self {
        Self {
            queue: None,
            shared: Arc::default(),
        }
    }
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.to.take(line, self.level);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The thread that writes.
struct Ways<W> {
    screen: W,
    has_screen: bool,
    /// Lines from before the agent's start, at most [`LINES_MAX`].
    kept: Vec<Vec<u8>>,
    is_always_file: bool,
    file: Option<LogFile>,
    /// The file refused the last line.
    file_refused: bool,
    shared: Arc<Shared>,
}

impl<W: Write> Ways<W> {
    fn run(mut self, orders: &Receiver<Order>) {
        // A file that the user named is made at once: that it cannot be is reported before it matters.
        if self.file.as_ref().is_some_and(|file| !file.is_usual()) {
            self.write(b"", true);
        }
        while let Ok(order) = orders.recv() {
            match order {
                Order::Write(line, screen) => {
                    self.line(&line, screen);
                    let lost = self.shared.lost.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        self.line(
                            format!("hbsidecar: {lost} log lines could not be written\n")
                                .as_bytes(),
                            screen,
                        );
                    }
                }
                Order::Confirm(confirm) => {
                    let _ = confirm.try_send(());
                }
                Order::Summarise(was, ended_well) => {
                    let refers = self.summarise(was);
                    if let Some(file) = self.file.as_ref().filter(|_| ended_well && !refers) {
                        file.remove_if_usual();
                    }
                }
            }
        }
    }

    fn line(&mut self, line: &[u8], when_logged: Screen) {
        if self.is_always_file {
            return self.write(line, true);
        }
        let screen = match when_logged {
            Screen::Agents => Screen::Agents,
            Screen::Ours | Screen::Undecided => self.shared.screen(),
        };
        match screen {
            Screen::Ours => self.write(line, false),
            Screen::Undecided if self.kept.len() < LINES_MAX => self.kept.push(line.to_vec()),
            Screen::Undecided => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
            }
            Screen::Agents => {
                self.write_kept(true);
                self.write(line, true);
            }
        }
    }

    fn write_kept(&mut self, to_file: bool) {
        for line in std::mem::take(&mut self.kept) {
            self.write(&line, to_file);
        }
    }

    fn write(&mut self, line: &[u8], to_file: bool) {
        let refused = match &mut self.file {
            Some(file) if to_file => match file.write(line) {
                Ok(()) => {
                    self.file_refused = false;
                    return;
                }
                Err(error) => Some(format!("cannot log to {}: {error}", file.path().display())),
            },
            Some(_) | None => None,
        };
        if let Some(refused) = refused
            && !std::mem::replace(&mut self.file_refused, true)
        {
            self.shared.note(&refused, Level::WARN);
            self.screen(format!("hbsidecar: {refused}; logging to standard error\n").as_bytes());
        }
        self.screen(line);
    }

    /// There is nowhere to report a log that cannot be written.
    fn screen(&mut self, line: &[u8]) {
        if self.has_screen && self.shared.screen() != Screen::Agents {
            let _ = self.screen.write_all(line);
        }
    }

    /// True when a line refers to the file.
    fn summarise(&mut self, was: Screen) -> bool {
        self.write_kept(was == Screen::Agents);
        let [errors, warnings] = [&self.shared.errors, &self.shared.warnings]
            .map(|count| count.swap(0, Ordering::Relaxed));
        if was != Screen::Agents || !self.has_screen || errors + warnings == 0 {
            return false;
        }
        let counted = |count: u64, what: &str| match count {
            0 => None,
            1 => Some(format!("1 {what}")),
            count => Some(format!("{count} {what}s")),
        };
        let counts = [counted(errors, "error"), counted(warnings, "warning")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let last = self
            .shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let last = last.map_or(String::new(), |(_, line)| format!(", the last: {line}"));
        let written = self.file.as_ref().filter(|_| !self.file_refused);
        let place = written.map(LogFile::path);
        let place = place.map_or(String::new(), |path| format!("; see {}", path.display()));
        let _ = writeln!(
            self.screen,
            "hbsidecar: {} while the agent had the terminal{last}{place}",
            counts.join(", ")
        );
        true
    }
}

#[cfg(test)]
mod tests;
