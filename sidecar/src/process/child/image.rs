//! What a process becomes: made before the fork, since nothing may be allocated between fork and exec.

use crate::process::child::{Start, StartError};
use crate::process::inherited::Inherited;
use nix::libc;
use std::ffi::{CStr, CString, OsStr, OsString, c_char};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::{null, null_mut};

/// Variables of a supervisor above us, another hbsidecar among them: they describe our process, not the agent.
const NOT_FOR_THE_AGENT: [&str; 5] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "HB_SOCKET",
    "HB_STATUS_FILE",
];
/// Descriptors handed over by a listener belong to the process of this number; the agent's is not known before the fork.
const LISTEN_PID: &str = "LISTEN_PID";
/// Room for any process number and the NUL behind it.
const PID_BYTES: usize = 11;
const SHELL: &CStr = c"/bin/sh";
/// A program that was written a moment ago may still be open for writing; tries, and the time between two of them.
const BUSY_TRIES: u32 = 40;
static BUSY_PAUSE: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

pub(super) struct Image {
    /// Where the program may be, in the order of PATH.
    paths: Vec<CString>,
    arguments: Pointers,
    /// For a script without a first line that names its interpreter: what shells and `execvp` make of it.
    shell_arguments: Pointers,
    environment: Pointers,
    /// `LISTEN_PID=` and room for a number, when the variable named us.
    listen_pid: Option<Box<[u8]>>,
    inherited: Inherited,
    /// The terminal that becomes its own.
    terminal: Option<i32>,
    outputs: Vec<(RawFd, RawFd)>,
    /// Our number, when it must not outlive us.
    dies_with: Option<i32>,
}

/// Texts, and the list of pointers to them that `execve` wants.
struct Pointers {
    _texts: Vec<CString>,
    list: Vec<*const c_char>,
}

impl Image {
    pub(super) fn new(start: &Start<'_>) -> Result<Self, StartError> {
        let pointers =
            |texts| Pointers::new(texts).ok_or_else(|| StartError::Nul(start.program.to_owned()));
        let paths = paths(start.program);
        let paths: Result<_, _> = paths
            .into_iter()
            .map(|path| CString::new(path.into_vec()))
            .collect();
        let program = start.program.to_owned();
        let ours = std::env::var(LISTEN_PID).is_ok_and(|pid| pid == std::process::id().to_string());
        let mut environment = pointers(environment(start.environment, ours))?;
        let listen_pid: Option<Box<[u8]>> = ours.then(|| {
            [LISTEN_PID.as_bytes(), b"=", &[0; PID_BYTES]]
                .concat()
                .into_boxed_slice()
        });
        if let Some(variable) = &listen_pid {
            environment.list.insert(0, variable.as_ptr().cast());
        }
        Ok(Self {
            paths: paths.map_err(|_| StartError::Nul(start.program.to_owned()))?,
            arguments: pointers([&[program], start.arguments].concat())?,
            shell_arguments: pointers([&["sh".into(), OsString::new()], start.arguments].concat())?,
            environment,
            listen_pid,
            inherited: start.inherited,
            terminal: start.terminal,
            outputs: start.outputs.clone(),
            dies_with: start
                .dies_with_us
                .then(|| i32::try_from(std::process::id()).unwrap_or(0)),
        })
    }

    /// The child's side of a fork. Every signal is still blocked: giving the terminal to ourselves stops no process.
    pub(super) fn become_agent(&mut self, error_pipe: i32) -> ! {
        #[expect(
            unsafe_code,
            reason = "between fork and exec there are only system calls"
        )]
        // SAFETY: async-signal-safe calls on numbers and on memory that was made before the fork.
        unsafe {
            if let Some(parent) = self.dies_with {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() != parent {
                    libc::_exit(127); // it died before it could be named
                }
            }
            libc::setpgid(0, 0);
            if let Some(terminal) = self.terminal {
                libc::tcsetpgrp(terminal, libc::getpid());
            }
            for (from, output) in &self.outputs {
                libc::dup2(*from, *output);
            }
            if let Some(variable) = &mut self.listen_pid {
                write_number(&mut variable[LISTEN_PID.len() + 1..], libc::getpid());
            }
        }
        let failed = self.exec();
        let error = failed.to_ne_bytes();
        #[expect(
            unsafe_code,
            reason = "between fork and exec there are only system calls"
        )]
        // SAFETY: the pointer is to a local; nothing runs after _exit.
        unsafe {
            libc::signal(libc::SIGPIPE, libc::SIG_IGN); // nothing reads any more of a start that took too long
            libc::write(error_pipe, error.as_ptr().cast(), error.len());
            libc::_exit(if failed == libc::ENOENT { 127 } else { 126 })
        }
    }

    /// Becomes the agent as `execvp` would; the error number comes back when that fails.
    pub(super) fn exec(&mut self) -> i32 {
        self.inherited.give_back();
        let mut error = libc::ENOENT;
        for path in &self.paths {
            match execute(path, &self.arguments.list, &self.environment.list) {
                libc::ENOENT | libc::ENOTDIR => {}
                // It exists: a later one of the same name may still be runnable.
                libc::EACCES => error = libc::EACCES,
                libc::ENOEXEC => {
                    self.shell_arguments.list[1] = path.as_ptr();
                    return execute(SHELL, &self.shell_arguments.list, &self.environment.list);
                }
                other => return other,
            }
        }
        error
    }
}

impl Pointers {
    fn new(texts: Vec<OsString>) -> Option<Self> {
        let texts: Result<Vec<CString>, _> = texts
            .into_iter()
            .map(|text| CString::new(text.into_vec()))
            .collect();
        let texts = texts.ok()?;
        let list = texts
            .iter()
            .map(|text| text.as_ptr())
            .chain([null()])
            .collect();
        Some(Self {
            _texts: texts,
            list,
        })
    }
}

fn execute(path: &CStr, arguments: &[*const c_char], environment: &[*const c_char]) -> i32 {
    let mut error = libc::ETXTBSY;
    for _ in 0..BUSY_TRIES {
        #[expect(unsafe_code, reason = "no library execs without allocating")]
        // SAFETY: both lists end with null and point to texts that live as long as they do.
        unsafe {
            libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            error = *libc::__errno_location();
            if error != libc::ETXTBSY {
                break;
            }
            libc::nanosleep(&raw const BUSY_PAUSE, null_mut());
        }
    }
    error
}

/// Decimal digits and a NUL.
fn write_number(room: &mut [u8], mut number: i32) {
    let mut digits = [0; PID_BYTES];
    let mut count = 0;
    while count < PID_BYTES - 1 && (number > 0 || count == 0) {
        digits[count] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        count += 1;
    }
    for (at, byte) in room.iter_mut().enumerate().take(count + 1) {
        *byte = if at < count {
            digits[count - 1 - at]
        } else {
            0
        };
    }
}

/// The paths that a shell would try.
pub(super) fn paths(program: &OsStr) -> Vec<OsString> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.to_owned()];
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    std::env::split_paths(&path)
        .map(|dir| dir.join(program).into_os_string())
        .collect()
}

/// Our environment without what describes us, plus the agent's variables.
fn environment(more: &[(&'static str, OsString)], without_listen_pid: bool) -> Vec<OsString> {
    let is_ours = |name: &OsStr| {
        NOT_FOR_THE_AGENT
            .iter()
            .chain(more.iter().map(|(name, _)| name))
            .any(|ours| name == *ours)
            || (without_listen_pid && name == LISTEN_PID)
    };
    let variable =
        |name: &OsStr, value: &OsStr| [name, OsStr::new("="), value].into_iter().collect();
    std::env::vars_os()
        .filter(|(name, _)| !is_ours(name))
        .map(|(name, value)| variable(&name, &value))
        .chain(
            more.iter()
                .map(|(name, value)| variable(OsStr::new(name), value)),
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_without_allocating() {
        for number in [0, 7, 10, 4_194_304, i32::MAX] {
            let mut room = [b'x'; PID_BYTES];
            write_number(&mut room, number);
            let text = CStr::from_bytes_until_nul(&room).unwrap();
            assert_eq!(text.to_str().unwrap(), number.to_string());
        }
    }

    #[test]
    fn a_name_with_a_slash_is_not_looked_for() {
        assert_eq!(paths(OsStr::new("./agent")), ["./agent"]);
        assert!(paths(OsStr::new("sh")).len() > 1);
    }
}
