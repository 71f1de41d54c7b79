//! Whether numbers in /proc mean what they say here, and whether every process of the machine is in it.

use super::read::Reader;
use crate::process::handle::{self, ProcShows};
use heartbeat::verdict::sample::Space;

/// Whether /proc shows the pid namespace of this process: after `unshare --pid` without a new mount it does not.
pub(super) fn space() -> Space {
    match handle::proc_shows() {
        ProcShows::Ours => Space::Own,
        ProcShows::Others => Space::Foreign,
        ProcShows::Unknown => Space::Unknown,
    }
}

/// Whether processes may exist that /proc does not even list: those around a nested pid namespace, or hidden by a mount
/// option.
pub(super) fn hides_processes(reader: &mut Reader) -> bool {
    if !handle::is_of_first_namespace() {
        return true;
    }
    match reader.text("/proc/self/mountinfo") {
        Ok(text) => text.lines().any(|line| is_proc(line) && has_hidepid(line)),
        Err(_) => true,
    }
}

fn is_proc(line: &str) -> bool {
    line.split(' ').nth(4) == Some("/proc")
}

fn has_hidepid(line: &str) -> bool {
    let mut options = line.split([' ', ',']);
    options.any(|option| {
        option
            .strip_prefix("hidepid=")
            .is_some_and(|value| !matches!(value, "0" | "off"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_sees_its_own_namespace() {
        assert_eq!(space(), Space::Own);
    }

    #[test]
    fn a_mount_option_that_hides_processes_is_found() {
        let line = "22 27 0:21 / /proc rw,nosuid - proc proc rw";
        assert!(is_proc(line) && !has_hidepid(line));
        assert!(has_hidepid(&format!("{line},hidepid=invisible")));
        assert!(has_hidepid(&format!("{line},hidepid=2")));
        assert!(!has_hidepid(&format!("{line},hidepid=0")));
    }
}
