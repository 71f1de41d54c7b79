//! The log: its level, its format, and where its lines are written.

use std::io::{IsTerminal, stderr};
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Levels from the quietest: `--quiet` selects the first, each `-v` moves one up from the program's default.
const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// What is logged, and in which format.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    format: LogFormat,
    level: Level,
    colours: bool,
}

impl Log {
    /// `default` is the program's level without a flag; `verbose` counts `-v`.
    pub fn new(format: LogFormat, default: Level, verbose: u8, quiet: bool) -> Self {
        let at = LEVELS.iter().position(|level| *level == default);
        let up = at.unwrap_or(0) + usize::from(verbose);
        let level = if quiet {
            Level::ERROR
        } else {
            LEVELS.get(up).copied().unwrap_or(Level::TRACE)
        };
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            format,
            level,
            colours: colours && stderr().is_terminal(),
        }
    }

    /// The format of its lines.
    pub fn format(self) -> LogFormat {
        self.format
    }

    /// Without colours: the lines may go to a file.
    pub fn plain(self) -> Self {
        Self {
            colours: false,
            ..self
        }
    }

    /// Starts logging through `writer`. Colours only when standard error is a terminal and `NO_COLOR` is not set.
    pub fn start<W>(self, writer: W)
    where
        W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
    {
        let log = tracing_subscriber::fmt()
            .with_max_level(self.level)
            .with_target(false)
            .with_ansi(self.colours)
            .with_writer(writer);
        match self.format {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().init(),
        }
    }
}

/// Gives each line a writer that knows the line's level.
pub struct ByLevel<F>(pub F);

impl<'w, W: std::io::Write, F: Fn(Level) -> W> MakeWriter<'w> for ByLevel<F> {
    type Writer = W;

    fn make_writer(&'w self) -> W {
        self.0(Level::INFO)
    }

    fn make_writer_for(&'w self, of: &tracing::Metadata<'_>) -> W {
        self.0(*of.level())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_moves_one_level_up_and_quiet_leaves_errors() {
        let level =
            |default, verbose, quiet| Log::new(LogFormat::Text, default, verbose, quiet).level;
        assert_eq!(level(Level::WARN, 0, false), Level::WARN);
        assert_eq!(level(Level::WARN, 2, false), Level::DEBUG);
        assert_eq!(level(Level::INFO, 9, false), Level::TRACE);
        assert_eq!(level(Level::INFO, 0, true), Level::ERROR);
    }
}
