//! What is to be kept, on its way to the disk, and the replies that wait for it.
//!
//! What a client was promised survives the end of this process. A reply to something written waits for the disk, but not
//! longer than a fleet can wait. A reply to something taken away waits until it is gone from the disk, too, or says that it
//! is not: what a person removed must not come back.

use super::Server;
use super::client::Client;
use crate::disk::Kept;
use crate::keeper::{Keeper, Outcome};
use crate::resp::Reply;
use std::time::{Duration, Instant};

/// How long changes are collected before they are written; while the thread writes, the next ones collect by themselves.
const WRITE_AFTER: Duration = Duration::from_millis(2);
/// How long a reply to something written waits for the disk. A disk that is slower gets no second chance until it has
/// written: the fleet's sidecars wait a quarter of their interval, a quarter of a second at the least.
const REPLY_WITHIN: Duration = Duration::from_millis(100);
/// How long a reply to something taken away waits: a disk stands still for longer only when it is broken.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);
/// After a write that failed.
const WRITE_RETRY: Duration = Duration::from_secs(5);

/// The outcome of the batch that is being written; waits without limit when there is none.
pub(super) async fn outcome(keeper: &mut Option<Keeper>) -> Outcome {
    match keeper {
        Some(keeper) => keeper.outcome().await,
        None => std::future::pending().await,
    }
}

/// Commands by which data are taken away on purpose.
fn takes_away(name: &[u8]) -> bool {
    let names: [&[u8]; 4] = [b"DEL", b"UNLINK", b"FLUSHALL", b"FLUSHDB"];
    names.iter().any(|own| name.eq_ignore_ascii_case(own))
}

impl Server {
    /// Takes back what was kept, and keeps what changes from now on.
    pub(super) fn keep(&mut self, kept: Kept) -> std::io::Result<()> {
        let (mut misfits, now) = (0_u64, self.now());
        for (key, part, value) in kept.rows {
            misfits += u64::from(!self.keys.restore(&key, part, value, now));
        }
        if misfits > 0 {
            tracing::warn!("the embedded store left {misfits} rows out that do not fit their keys");
        }
        // A file that could be read and not written gets everything once it can be.
        self.keys.keep(!kept.file.is_open());
        self.keeper = Some(Keeper::start(kept.file)?);
        self.plan_write();
        Ok(())
    }

    /// Changes are collected for a moment before they are written.
    pub(super) fn plan_write(&mut self) {
        if self.keeper.is_some() && self.keys.has_writes() {
            self.write_at
                .get_or_insert_with(|| Instant::now() + WRITE_AFTER);
        }
    }

    pub(super) fn write(&mut self) {
        self.write_at = None;
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| !keeper.is_writing()) {
            keeper.write(self.keys.take_writes());
            self.batch += 1;
        }
    }

    pub(super) fn written(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Written => {
                self.disk_fails = false;
                self.disk_lags = false;
                self.release(self.batch - 1);
                self.plan_write();
            }
            Outcome::Failed => {
                self.disk_fails = true;
                self.release(u64::MAX);
                self.keys.rewrite();
                self.write_at = Some(Instant::now() + WRITE_RETRY);
            }
        }
        self.work_off();
    }

    /// Sends the replies that waited for this batch; the others get as long again. Who waited for the disk goes on.
    fn release(&mut self, written: u64) {
        let mut others = false;
        for client in self.clients.values_mut() {
            others |= client.release(written);
            client.forget_ahead();
        }
        self.wake_waiting();
        self.reply_at = others.then(|| Instant::now() + REPLY_WITHIN);
    }

    fn wake_waiting(&mut self) {
        let with_commands = self
            .clients
            .iter()
            .filter(|(_, client)| !client.backlog.is_empty());
        self.ready.extend(with_commands.map(|(id, _)| *id));
    }

    /// The disk had its time: what can go without it goes.
    pub(super) fn disk_lags(&mut self) {
        self.disk_lags = true;
        self.reply_at = None;
        self.clients.values_mut().for_each(Client::release_hasty);
        self.wake_waiting();
    }

    /// Sends the reply to a command, at once or when the disk has what the command changed.
    pub(super) fn reply(&mut self, id: u64, name: &[u8], reply: Reply) {
        let waits = self.keys.touched_kept() && self.keeper.is_some() && !self.disk_fails;
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let patience = takes_away(name).then(|| Instant::now() + REMOVED_WITHIN);
        if waits {
            client.count_ahead();
        }
        if waits && (patience.is_some() || !self.disk_lags) {
            client.send_after(self.batch, patience, reply);
            self.reply_at
                .get_or_insert_with(|| Instant::now() + REPLY_WITHIN);
        } else {
            client.send(reply);
        }
    }

    pub(super) async fn write_last(&mut self) {
        if self.keeper.as_ref().is_some_and(Keeper::is_writing) {
            let outcome = outcome(&mut self.keeper).await;
            self.written(outcome);
        }
        if self.keeper.is_some() && self.keys.has_writes() {
            self.write();
            let outcome = outcome(&mut self.keeper).await;
            self.written(outcome);
        }
        // The next store finds the file free.
        if let Some(keeper) = self.keeper.take() {
            keeper.close().await;
        }
    }
}
