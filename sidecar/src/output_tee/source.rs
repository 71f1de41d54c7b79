//! What stands between the agent and its outputs: a pipe, or a terminal where the agent had one.

use super::copier::{Channel, Copier};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, Winsize,
    isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// Room between the agent and its reader: it can write on while the copier waits.
const PIPE_BYTES: usize = 1024 * 1024;

/// The agent's outputs that are read.
#[derive(Debug)]
pub(crate) struct Outputs {
    pub(super) sources: Vec<Source>,
}

/// One output, or several that go to the same place: then their order stays.
#[derive(Debug)]
pub(super) struct Source {
    /// What becomes the agent's descriptors.
    pub(super) agents: OwnedFd,
    pub(super) outputs: Vec<RawFd>,
    pub(super) ours: Ours,
}

/// Our side of an output. The copier has the same.
#[derive(Debug)]
pub(super) struct Ours {
    /// Kept for the case that the copier is killed: then the agent's output still has a reader.
    pub(super) from: OwnedFd,
    pub(super) to: OwnedFd,
    pub(super) tap: OwnedFd,
    screen: Option<Screen>,
}

/// A terminal of ours in the place of the real one.
#[derive(Debug)]
struct Screen {
    size: Winsize,
    modes: Option<Modes>,
}

/// What an agent may set of its terminal: input and what keys do. Output is processed by the real terminal alone.
#[derive(Clone, Debug, PartialEq)]
struct Modes {
    input: InputModes,
    local: LocalModes,
    keys: [u8; KEYS.len()],
}

const KEYS: [SpecialCodeIndex; 10] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VTIME,
];

impl Outputs {
    /// Stands between the agent and these descriptors: the agent's number, and where it goes. `split` makes the copier a
    /// process. Nothing to read: `None`.
    pub(crate) fn open(
        outputs: Vec<(RawFd, OwnedFd)>,
        split: impl FnOnce(Copier) -> io::Result<()>,
    ) -> io::Result<Option<Self>> {
        let mut sources: Vec<Source> = Vec::new();
        let mut channels = Vec::new();
        for (output, to) in outputs {
            if let Some(same) = sources
                .iter_mut()
                .find(|source| source.ours.goes_where(&to))
            {
                same.outputs.push(output);
                continue;
            }
            let (source, channel) = Source::open(output, to)?;
            sources.push(source);
            channels.push(channel);
        }
        if channels.is_empty() {
            return Ok(None);
        }
        split(Copier { channels })?;
        Ok(Some(Self { sources }))
    }
}

impl Source {
    fn open(output: RawFd, to: OwnedFd) -> io::Result<(Self, Channel)> {
        let (from, agents, screen) = if isatty(&to) { terminal(&to)? } else { pipe()? };
        let (tap, copiers) = tap()?;
        let channel = Channel {
            from: from.try_clone()?,
            to: to.try_clone()?,
            tap: copiers,
        };
        let source = Self {
            agents,
            outputs: vec![output],
            ours: Ours {
                from,
                to,
                tap,
                screen,
            },
        };
        Ok((source, channel))
    }
}

/// Our end and the copier's. Packets keep their bounds.
fn tap() -> io::Result<(OwnedFd, OwnedFd)> {
    let kind = SocketType::SEQPACKET;
    Ok(socketpair(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

impl Ours {
    /// A copier in place of one that was killed.
    pub(super) fn replace_copier(&mut self) -> io::Result<Channel> {
        let (tap, copiers) = tap()?;
        self.tap = tap;
        Ok(Channel {
            from: self.from.try_clone()?,
            to: self.to.try_clone()?,
            tap: copiers,
        })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.screen.is_some()
    }

    fn goes_where(&self, to: &OwnedFd) -> bool {
        let place = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let mine = rustix::fs::fstat(&self.to).map(place);
        mine.is_ok() && mine == rustix::fs::fstat(to).map(place)
    }

    /// The real terminal has another size: ours gets it. True when it changed.
    pub(super) fn follow_size(&mut self) -> bool {
        let Some(screen) = &mut self.screen else {
            return false;
        };
        let Ok(size) = tcgetwinsize(&self.to) else {
            return false;
        };
        let same = (size.ws_row, size.ws_col) == (screen.size.ws_row, screen.size.ws_col);
        screen.size = size;
        !same && tcsetwinsize(&self.from, size).is_ok()
    }

    /// The agent has set its terminal's modes through its output: the real one, which has the keyboard, gets them.
    pub(super) fn follow_modes(&mut self, keyboard: BorrowedFd<'_>) {
        let Some(screen) = &mut self.screen else {
            return;
        };
        let Ok(set) = tcgetattr(&self.from) else {
            return;
        };
        let modes = Some(Modes::of(&set));
        if screen.modes == modes {
            return;
        }
        screen.modes = modes;
        if let Ok(mut real) = tcgetattr(keyboard) {
            real.input_modes = set.input_modes;
            real.local_modes = set.local_modes;
            real.special_codes = set.special_codes.clone();
            let _ = tcsetattr(keyboard, OptionalActions::Now, &real); // it hung up: there is nothing to set
        }
    }
}

impl Modes {
    fn of(set: &Termios) -> Self {
        Self {
            input: set.input_modes,
            local: set.local_modes,
            keys: KEYS.map(|key| set.special_codes[key]),
        }
    }
}

type Between = (OwnedFd, OwnedFd, Option<Screen>);

fn pipe() -> io::Result<Between> {
    let (from, agents) = pipe_with(PipeFlags::CLOEXEC)?;
    let _ = fcntl_setpipe_size(&from, PIPE_BYTES); // a user's limit may forbid it: then it stays as it was
    Ok((from, agents, None))
}

fn terminal(real: &OwnedFd) -> io::Result<Between> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let from = openpt(flags)?;
    grantpt(&from)?;
    unlockpt(&from)?;
    let agents = ioctl_tiocgptpeer(&from, flags)?;
    let size = tcgetwinsize(real)?;
    let mut set = tcgetattr(real)?;
    // Bytes come out as they went in; the real terminal does to them what it is set to.
    set.output_modes.remove(OutputModes::OPOST);
    tcsetattr(&agents, OptionalActions::Now, &set)?;
    tcsetwinsize(&from, size)?;
    let screen = Screen {
        size,
        modes: Some(Modes::of(&tcgetattr(&from)?)),
    };
    Ok((from, agents, Some(screen)))
}
