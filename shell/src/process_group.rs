//! A command of the user with all that it started: it is killed where it takes too long.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The processes of a command that leads its own group, as long as it has not ended: its number cannot belong to others before
/// it is reaped.
#[derive(Debug)]
pub struct ProcessGroup(Option<u32>);

impl ProcessGroup {
    /// That of this leader; it is killed when this value is dropped.
    pub fn of(leader: Option<u32>) -> Self {
        Self(leader)
    }

    /// The command has ended: what it left running stays.
    pub fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL); // it has ended
        }
    }
}
