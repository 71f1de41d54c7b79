//! A real terminal with a real shell in it: typed into, read from, resized.

use super::{SOON, program};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcgetpgrp, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const CTRL_C: char = '\x03';
pub(crate) const CTRL_Z: char = '\x1a';
pub(crate) const CTRL_BACKSLASH: char = '\x1c';

/// What the shell prints when it waits for a command. Nothing that is typed contains it.
const PROMPT: &str = "hb-prompt> ";

/// An interactive bash with job control, session leader on a terminal of its own.
pub(crate) struct Terminal {
    shell: Child,
    keyboard: Option<File>,
    /// All that was written to the terminal and read from it.
    screen: Vec<u8>,
    /// How much of the screen was waited for already.
    seen: usize,
    dir: tempfile::TempDir,
}

impl Terminal {
    /// 24 rows of 80 columns; the shell waits for a command.
    pub(crate) fn start() -> Self {
        let shell = ["bash", "--norc", "--noprofile", "--noediting", "-i"];
        let mut terminal = Self::open(&shell.map(String::from), &[]);
        terminal.wait_for_prompt();
        terminal
    }

    /// A window without a shell, as of a terminal multiplexer: only this command, and files that it needs.
    pub(crate) fn open(command: &[String], files: &[(&str, &str)]) -> Self {
        let keyboard =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        rustix::io::ioctl_fionbio(&keyboard, true).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap())
            .unwrap();
        let keyboard = File::from(keyboard);
        resize(&keyboard, 24, 80);
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        // setsid makes the shell a session leader and the terminal its own, before there is a shell.
        let shell = super::clean("setsid".as_ref())
            .arg("--ctty")
            .args(command)
            .env("PS1", PROMPT)
            .env("TERM", "xterm")
            .env("XDG_RUNTIME_DIR", dir.path())
            .env_remove("PROMPT_COMMAND")
            .env_remove("BASH_ENV")
            .env_remove("LESS")
            .current_dir(dir.path())
            .stdin(Stdio::from(line.try_clone().unwrap()))
            .stdout(Stdio::from(line.try_clone().unwrap()))
            .stderr(Stdio::from(line))
            .spawn()
            .expect("setsid of util-linux is needed");
        Self {
            shell,
            keyboard: Some(keyboard),
            screen: Vec::new(),
            seen: 0,
            dir,
        }
    }

    /// The words that start hbsidecar: no store, nothing logged.
    pub(crate) fn sidecar() -> String {
        let sidecar = program("hbsidecar");
        format!("{} -q --redis-url redis://127.0.0.1:1", sidecar.display())
    }

    /// A place in the shell's directory, which is also its runtime directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file into the shell's directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        assert!(!line.contains(PROMPT));
        self.keys(&format!("{line}\n"));
    }

    pub(crate) fn press(&mut self, key: char) {
        self.keys(&key.to_string());
    }

    /// Waits until this text comes, behind everything waited for before; returns what came up to it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(at) = find(&self.screen[self.seen..], text.as_bytes()) {
                let before = &self.screen[self.seen..self.seen + at];
                let before = String::from_utf8_lossy(before).into_owned();
                self.seen += at + text.len();
                return before;
            }
            assert!(
                Instant::now() < deadline,
                "waited {SOON:?} for {text:?}; the terminal shows {:?}",
                String::from_utf8_lossy(&self.screen[self.seen..])
            );
            if !self.read() {
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }
    }

    /// Waits until the shell wants a command; returns what came up to it.
    pub(crate) fn wait_for_prompt(&mut self) -> String {
        self.wait_for(PROMPT)
    }

    /// The exit code of the last command, as the shell sees it.
    pub(crate) fn last_code(&mut self) -> i32 {
        self.type_line("echo \"code=$?;\"");
        self.wait_for("code=$?;");
        self.wait_for("code=");
        let code = self.wait_for(";").parse().unwrap();
        self.wait_for_prompt();
        code
    }

    /// The shell itself answers: the terminal is its own.
    pub(crate) fn assert_shell_has_it(&mut self) {
        let shell = i32::try_from(self.shell.id()).unwrap();
        assert_eq!(self.foreground(), shell, "the terminal is not the shell's");
        self.type_line("echo alive=$((20 + 1))");
        self.wait_for("alive=21");
        self.wait_for_prompt();
    }

    /// A window of another size; the kernel tells the foreground group.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        resize(self.keyboard.as_ref().unwrap(), rows, columns);
    }

    /// The process group that the keyboard belongs to.
    pub(crate) fn foreground(&self) -> i32 {
        let group = tcgetpgrp(self.keyboard.as_ref().unwrap()).unwrap();
        group.as_raw_nonzero().get()
    }

    /// The settings of the line: echo, canonical input, which keys are signals.
    pub(crate) fn settings(&self) -> String {
        let settings = tcgetattr(self.keyboard.as_ref().unwrap()).unwrap();
        format!(
            "{:?} {:?} {:?}",
            settings.input_modes, settings.output_modes, settings.local_modes
        )
    }

    /// The number of the session that all of it is in.
    pub(crate) fn session(&self) -> String {
        self.shell.id().to_string()
    }

    /// The window is closed, whatever runs in it.
    pub(crate) fn close(&mut self) {
        self.keyboard = None;
    }

    /// Takes what the terminal has to show; says whether there was anything.
    fn read(&mut self) -> bool {
        let mut some = [0; 4096];
        let keyboard = self.keyboard.as_mut().unwrap();
        let read = keyboard.read(&mut some);
        if let Err(error) = &read
            && error.kind() == ErrorKind::WouldBlock
        {
            return false;
        }
        let length = read.expect("the terminal is there");
        assert!(length > 0, "the terminal is gone");
        self.screen.extend_from_slice(&some[..length]);
        true
    }

    fn keys(&mut self, keys: &str) {
        let keyboard = self.keyboard.as_mut().unwrap();
        keyboard.write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let all = ["-KILL", "-s", &self.session()];
        let _ = Command::new("pkill").args(all).status();
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}
