//! Which senders may report for the agent: processes of its tree.

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
    /// Whether it runs as we do, or as root.
    fn is_of_our_user(&self) -> bool {
        self.uid == geteuid().as_raw() || self.uid == 0
    }

    /// Why it may not report for the agent. A process of our own user may have ended already, or have no number here because
    /// it is of another pid namespace. One of another user must be of the agent's tree: the agent has changed its user.
    pub(super) fn refusal(&self, is_of_tree: &IsOfTree) -> Option<String> {
        let ours = self.is_of_our_user();
        match self
            .pid
            .filter(|pid| *pid > 0)
            .map(|pid| (pid, is_of_tree(pid)))
        {
            Some((_, Belongs::Yes)) => None,
            Some((_, Belongs::Gone)) | None if ours => None,
            Some((pid, Belongs::No)) if ours => {
                Some(format!("process {pid} is not of this agent's tree"))
            }
            Some(_) | None => Some(format!("user {} may not speak for this agent", self.uid)),
        }
    }

    /// Why this user is refused before it has sent anything: as [`Sender::refusal`].
    pub(super) fn refusal_of_user(&self, is_of_tree: &IsOfTree) -> Option<String> {
        (!self.is_of_our_user())
            .then(|| self.refusal(is_of_tree))
            .flatten()
    }
}
