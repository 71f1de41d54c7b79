//! One agent an id: what a killed sidecar left is adopted or ended before a start, and under `--exclusive` the lease decides.

use super::{Hub, Outcome};
use crate::clock;
use crate::process::guard::Guard;
use crate::process::handle::{self, Process};
use crate::process::instance::Instance;
use crate::process::orphans::{Orphans, Records};
use crate::process::tree::Member;
use heartbeat::base::duration::format_duration;
use heartbeat::base::moment::Moment;
use heartbeat::supervise::exclusive::ExclusiveLease;
use heartbeat::supervise::lifecycle::{AFTER_KILL, Input};
use nix::libc;
use std::ffi::OsStr;
use std::time::Duration;

/// How often it is looked whether processes that were asked to end are gone.
const CHECK: Duration = Duration::from_millis(50);
/// Processes that are named in a message.
const NAMED_MAX: usize = 4;

/// What is needed to keep a second copy of the agent away.
pub(crate) struct Safeguards {
    pub(super) instance: Instance,
    pub(super) guard: Option<Guard>,
}

/// What is done about the agent of a sidecar that was killed.
pub(super) enum Left {
    Nothing,
    /// It is watched from now on.
    Adopted,
    /// It runs on, and a second copy is not started.
    InTheWay(String),
}

impl Hub {
    /// The store confirmed a renewal.
    pub(super) fn renewed(&mut self) {
        let sent = *self.publisher.outbox.leased.borrow();
        let (Some(lease), Some(sent)) = (&mut self.lease, sent) else {
            return;
        };
        lease.confirmed(sent);
        if let (Some(guard), Some(until)) = (&mut self.guard, lease.guard_at()) {
            guard.extend(until);
        }
    }

    /// Whether the lease, where one is needed, covers a start.
    pub(super) fn may_start(&mut self) -> bool {
        self.renewed();
        self.lease
            .as_ref()
            .is_none_or(|lease| lease.covers(clock::now()))
    }

    /// When the agent must be asked to end.
    pub(super) fn fence_at(&self) -> Option<Moment> {
        self.lease
            .as_ref()
            .filter(|_| !self.agent.life.is_stop_requested())
            .and_then(ExclusiveLease::fence_at)
    }

    /// Under `--exclusive` the agent ends before its lease does.
    pub(super) fn check_lease(&mut self, now: Moment) {
        self.renewed();
        if let Some(guard) = &mut self.guard {
            guard.look();
        }
        if let Some(lease) = &self.lease
            && self.fence_at().is_some_and(|at| at <= now)
        {
            let after = format_duration(lease.terms().fence_after());
            tracing::error!(
                "the lease was not renewed for {after}: stopping the agent (--exclusive)"
            );
            self.agent.facts.lease_lost = true;
            self.decide(Input::Stop);
        }
    }

    /// Records the agent's process, for the next sidecar of its id. `mark`: what its environment carries.
    pub(super) fn record(&mut self, mark: &OsStr) {
        if let Some(process) = self.agent.body.process() {
            let agent = (process.pid, process.started);
            self.records.write(&self.instance.id, agent, mark);
        }
    }

    /// Before the first start: an agent whose sidecar was killed is adopted, or ended under `--exclusive`.
    pub(super) async fn take_over_orphans(&mut self) -> anyhow::Result<Left> {
        let id = &self.config.id;
        if let Some(sidecar) = self.records.out_of_sight() {
            tracing::warn!(
                "process {} of another pid namespace was the last hbsidecar of {id} on this machine: if it or its agent still \
                 runs cannot be seen from here, and this one starts its own",
                sidecar.pid
            );
        }
        let Some(orphans) = self.records.orphans() else {
            return Ok(Left::Nothing);
        };
        let named = named(&orphans.members());
        if !self.config.work.starts_agents() {
            let number = orphans.agent.map_or(0, |(pid, _)| pid);
            return Ok(Left::InTheWay(format!(
                "the agent {id} of a sidecar that was killed still runs: {named}; watch it with --pid {number}, or end it"
            )));
        }
        if self.config.exclusive {
            tracing::warn!(
                "a sidecar that was killed has left {named}: ending it first (--exclusive)"
            );
            return Ok(match self.end_orphans(&orphans).await {
                None => Left::Nothing,
                Some(survivors) => Left::InTheWay(format!(
                    "the agent {id} of a sidecar that was killed cannot be ended: {survivors}; end it, then start again"
                )),
            });
        }
        let agent = orphans
            .agent
            .and_then(|(pid, started)| Process::named(pid, started).ok());
        let Some(process) = agent else {
            if !self.config.policy.keep_orphans {
                tracing::warn!(
                    "a sidecar that was killed has left {named}, its agent has ended: ending them"
                );
                self.end_orphans(&orphans).await;
            }
            return Ok(Left::Nothing);
        };
        tracing::warn!(
            "process {} is the agent {id} of a sidecar that was killed: watching it; its next start is by this one",
            process.pid
        );
        self.adopt(process, orphans.mark)?;
        Ok(Left::Adopted)
    }

    /// Stop signal, grace, KILL. The survivors, if there are any, for people.
    async fn end_orphans(&self, orphans: &Orphans) -> Option<String> {
        orphans
            .tree
            .signal(&[self.config.stop_signal, libc::SIGCONT]);
        for (wait, kill) in [(self.config.policy.grace, true), (AFTER_KILL, false)] {
            let until = clock::now() + wait;
            loop {
                if orphans.members().is_empty() {
                    return None;
                }
                if clock::now() >= until {
                    break;
                }
                tokio::time::sleep(CHECK).await;
            }
            if kill {
                orphans.tree.kill();
            }
        }
        Some(named(&orphans.members()))
    }

    /// The end of a loop that has ended its agent: nothing is left that a guard or a record is for.
    pub(super) fn stand_down(&mut self, outcome: Outcome) {
        if let Some(guard) = self.guard.take() {
            guard.release();
        }
        match outcome {
            Outcome::Ended(_) | Outcome::NotStarted(_) | Outcome::PodRestart => {
                self.records.remove();
            }
            Outcome::Taken | Outcome::Detached | Outcome::Interrupted(_) => {}
        }
    }
}

/// The marks and the guard of one sidecar process. The guard is forked here: no thread may exist yet.
pub(crate) fn safeguards(config: &crate::config::Config) -> anyhow::Result<Safeguards> {
    use anyhow::Context;
    let instance = Instance::new(&config.id, &config.host)
        .context("the kernel gives no random bytes (getrandom)")?;
    let guarded = config.exclusive || config.die_with_sidecar;
    if guarded && !handle::proc_is_ours() {
        anyhow::bail!(
            "/proc is of another pid namespace: the agent's processes could not be found and ended (--exclusive, \
             --die-with-sidecar); mount /proc again (unshare --mount-proc)"
        );
    }
    let guard = guarded.then(|| Guard::start(instance.env_marker()));
    Ok(Safeguards {
        guard: guard
            .transpose()
            .context("cannot start the guard process; check the limits of processes (ulimit -u)")?,
        instance,
    })
}

/// The records of this agent's runs on this machine.
pub(super) fn records(config: &crate::config::Config, instance: &Instance) -> Records {
    let fingerprint = config.work.fingerprint();
    Records::of(&config.id, instance.holder.clone(), fingerprint)
}

fn named(members: &[Member]) -> String {
    let first: Vec<String> = members
        .iter()
        .take(NAMED_MAX)
        .map(|member| format!("process {} ({})", member.pid, member.name))
        .collect();
    let more = members.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", first.join(", "))
}
