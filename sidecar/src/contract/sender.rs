//! Which senders may report for the agent: processes of its tree, under our own user.

use rustix::process::geteuid;
use std::sync::Arc;

/// Whether a process is of the agent's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Belongs {
    /// It is.
    Yes,
    /// It is another's.
    No,
    /// It has ended already, as short-lived senders do. The socket is the agent's own, so its line is accepted.
    Gone,
}

/// Answers that for a process id, at once.
pub(crate) type IsOfTree = Arc<dyn Fn(i32) -> Belongs + Send + Sync>;

/// A sender as the kernel names it; nothing of it can be made up by the sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    pub(super) pid: Option<i32>,
    pub(super) uid: u32,
}

impl Sender {
    /// Why this user is refused.
    pub(super) fn refusal_of_user(&self) -> Option<String> {
        let fits = self.uid == geteuid().as_raw() || self.uid == 0;
        (!fits).then(|| format!("user {} may not speak for this agent", self.uid))
    }

    /// Why this process may not report for the agent. A process of another pid namespace has no number here.
    pub(super) fn refusal_of_process(&self, is_of_tree: &IsOfTree) -> Option<String> {
        let pid = self.pid.filter(|pid| *pid > 0)?;
        match is_of_tree(pid) {
            Belongs::Yes | Belongs::Gone => None,
            Belongs::No => Some(format!("process {pid} is not of this agent's tree")),
        }
    }
}
