//! Who announced the end: a daemon that an agent uses as a tool (PostgreSQL, Redis) announces its own at the same socket.

use crate::process::handle::{self, is_alive};
use heartbeat::base::moment::Moment;
use std::time::Duration;

/// An agent that goes on for longer than this after the end of the process that announced one was not meant.
const ENDS_WITHIN: Duration = Duration::from_secs(2);

/// A process below the agent's first one that announced the end while it lived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announcer {
    pid: i32,
    started: u64,
    /// When it was first seen to be gone.
    gone_at: Option<Moment>,
}

impl Announcer {
    /// `None` where the first process of the agent announced it, or a command that is gone already, whose purpose that was.
    pub(super) fn of(sender: Option<i32>, root: Option<i32>) -> Option<Self> {
        let pid = sender.filter(|_| sender != root)?;
        let stat = handle::stat(pid).filter(is_alive)?;
        Some(Self {
            pid,
            started: stat.starttime,
            gone_at: None,
        })
    }

    /// Notes its end.
    pub(super) fn look(&mut self, now: Moment) {
        let lives = handle::named_stat(self.pid, self.started).is_some_and(|stat| is_alive(&stat));
        if !lives && self.gone_at.is_none() {
            self.gone_at = Some(now);
        }
    }

    /// Whether it announced its own end only: the agent has gone on since.
    pub(super) fn meant_itself(&self, now: Moment) -> bool {
        self.gone_at.is_some_and(|at| now.since(at) > ENDS_WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(at: Moment, seconds: u64) -> Moment {
        at + Duration::from_secs(seconds)
    }

    #[test]
    fn a_tool_that_ended_long_before_the_agent_meant_itself() {
        let mut tool = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = i32::try_from(tool.id()).unwrap();
        let now = Moment::from_millis(1000);
        assert!(Announcer::of(Some(pid), Some(pid)).is_none(), "the agent");
        let mut announcer = Announcer::of(Some(pid), Some(1)).unwrap();
        announcer.look(now);
        assert!(!announcer.meant_itself(after(now, 100)), "it lives");
        tool.kill().unwrap();
        tool.wait().unwrap();
        announcer.look(after(now, 100));
        assert!(!announcer.meant_itself(after(now, 102)));
        assert!(announcer.meant_itself(after(now, 103)));
        assert!(Announcer::of(Some(pid), Some(1)).is_none(), "it is gone");
    }
}
