//! What the agent reports: the contract's sockets and status file, and its output where that is read.

use super::Hub;
use super::announcer::Announcer;
use crate::config::Config;
use crate::contract::{Belongs, Contract, Health, IsOfTree, Settings, StatusLine};
use crate::output_tee::{AgentsEnds, OutputLine, Outputs, Tee};
use crate::process::handle;
use hbshell::runtime;
use heartbeat::contract::report::Worth;
use heartbeat::fleet::ladder::exchange::RuntimeKind;
use heartbeat::supervise::lifecycle::Input;
use heartbeat::wire::event::{Detail, EventKind};
use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Processes between a sender and the agent.
const ANCESTORS_MAX: usize = 4096;
/// How long hbsidecar waits for the agent's last output. The copier passes on the rest, and needs no more than time: but
/// with the first process of a container all others end, and with hbsidecar an init or a script that is that process.
const OUTPUT_WITHIN: Duration = Duration::from_millis(500);
const OUTPUT_OF_CONTAINER_WITHIN: Duration = Duration::from_secs(10);
/// The same when only its last line is waited for: the next incarnation waits too.
const LAST_LINE_WITHIN: Duration = Duration::from_millis(50);

/// Every way in which the agent reports.
pub(super) struct AgentIo {
    contract: Option<Contract>,
    tee: Option<(Tee, AgentsEnds)>,
    /// The root of the agent's tree: senders outside it are refused.
    root: Arc<AtomicI32>,
}

/// What comes from the agent, or from its terminal.
pub(super) enum AgentInput {
    /// It reported something.
    Line(Box<StatusLine>),
    /// Its terminal has another size.
    Resized,
}

impl AgentIo {
    /// Opens what the configuration names. An agent runs without a contract rather than not at all.
    pub(super) fn open(config: &Config, supervises: bool, outputs: Option<Outputs>) -> Self {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let root = Arc::new(AtomicI32::new(if supervises { me } else { 0 }));
        // A default id may turn out to be another agent's.
        let contract = (!config.id_is_default)
            .then(|| contract(config, &root))
            .flatten();
        let tee = outputs
            .zip(config.reads.clone())
            .and_then(|(outputs, reads)| {
                Tee::start(outputs, reads)
                    .inspect_err(|error| tracing::warn!("cannot read the agent's output: {error}"))
                    .ok()
            });
        Self {
            contract,
            tee,
            root,
        }
    }

    /// Opens sockets and file, when that was put off until the id is known.
    pub(super) fn open_contract(&mut self, config: &Config) {
        if config.id_is_default {
            self.contract = contract(config, &self.root);
        }
    }

    /// What comes next from the agent or its terminal.
    pub(super) async fn next(&mut self) -> AgentInput {
        let (lines, resized) = match &mut self.tee {
            Some((tee, _)) => (Some(&mut tee.lines), Some(&mut tee.resized)),
            None => (None, None),
        };
        tokio::select! {
            biased;
            Some(line) = from_contract(&mut self.contract) => AgentInput::Line(Box::new(line)),
            Some(line) = from(lines) => AgentInput::Line(Box::new(line.into())),
            Some(()) = from(resized) => AgentInput::Resized,
            else => std::future::pending().await,
        }
    }

    /// The agent's environment variables for reporting.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        self.contract
            .as_ref()
            .map(Contract::environment)
            .unwrap_or_default()
    }

    /// Descriptors that become the agent's outputs, where these are read.
    pub(super) fn outputs(&self) -> Vec<(RawFd, RawFd)> {
        self.tee
            .as_ref()
            .map(|(_, ends)| ends.pairs())
            .unwrap_or_default()
    }

    /// The agent runs, in a process group of its own.
    pub(super) fn started(&self, pid: i32) {
        if let Some((tee, _)) = &self.tee {
            tee.group.store(pid, Ordering::Relaxed);
        }
    }

    /// A new incarnation is about to start.
    pub(super) fn new_incarnation(&mut self) {
        if let Some(contract) = &self.contract {
            contract.new_incarnation();
        }
    }

    /// The tree of an agent that we start begins with us: orphans of it come to us.
    pub(super) fn starts_below_us(&self) {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        self.root.store(me, Ordering::Relaxed);
    }

    /// The tree of an agent that is not our child begins here.
    pub(super) fn attached_to(&self, pid: i32) {
        self.root.store(pid, Ordering::Relaxed);
    }

    /// Makes sockets again that another program has removed, and lets the agent's user use them.
    pub(super) fn look_after(&mut self, agent: Option<i32>) {
        let Some(contract) = &mut self.contract else {
            return;
        };
        contract.look_after();
        let owner = agent.and_then(|pid| std::fs::metadata(format!("/proc/{pid}")).ok());
        if let Some(owner) = owner.filter(|_| handle::proc_is_ours()) {
            contract.give_to(owner.uid());
        }
    }

    /// The answer to health checks from now on.
    pub(super) fn health(&self, health: Health) {
        if let Some(contract) = &self.contract {
            contract.health.send_if_modified(|known| {
                let changed = *known != health;
                *known = health;
                changed
            });
        }
    }

    /// Lines that an agent sent or printed before it ended, as far as they are not read yet; waits 50 ms at most.
    async fn drain(&mut self) -> Vec<StatusLine> {
        let mut left = Vec::new();
        if let Some((tee, _)) = &mut self.tee {
            tee.caught_up(LAST_LINE_WITHIN).await;
            left.extend(std::iter::from_fn(|| tee.lines.try_recv().ok()).map(StatusLine::from));
        }
        if let Some(contract) = &mut self.contract {
            contract.caught_up().await;
            left.extend(std::iter::from_fn(|| contract.lines.try_recv().ok()));
        }
        left
    }

    /// Passes on the agent's last output and logs how many lines came.
    pub(super) async fn finish(&mut self) {
        if let Some(contract) = &self.contract {
            tracing::info!("status lines: {}", contract.counts());
        }
        if let Some((tee, ends)) = self.tee.take() {
            drop(ends);
            let ends_with_us = std::process::id() == 1 || tee.copies_itself.load(Ordering::Relaxed);
            // Of this process: the agent that we attached to may be in another place.
            let runtime = runtime::detect("", None);
            tee.caught_up(output_within(ends_with_us, &runtime.kind))
                .await;
        }
    }
}

impl Hub {
    /// The agent has ended: its last lines count for this incarnation, not for the next.
    pub(super) async fn drain_agent_io(&mut self) {
        for line in self.io.drain().await {
            self.take_line(line);
        }
    }

    pub(super) fn take_line(&mut self, line: StatusLine) {
        if line.line.stopping {
            self.watch.announcer = Announcer::of(line.sender, self.pid());
        }
        let report = &mut self.watch.report;
        let was_ready = report.ready();
        let worth = report.handle(line.line, &line.raw, line.at);
        let is_ready = report.ready();
        if worth == Worth::Progress {
            self.decide(Input::Progress);
        }
        if is_ready && !was_ready {
            let incarnation = Some(self.agent.life.incarnation());
            self.report_event(
                EventKind::Ready,
                Detail {
                    incarnation,
                    ..Detail::default()
                },
            );
        }
        self.listened();
    }
}

/// How long the rest of the output is waited for, by whether what copies it is known to end with us, and by what we run in.
fn output_within(ends_with_us: bool, runtime: &str) -> Duration {
    let may_end = match RuntimeKind::parse(runtime) {
        // A container that has no name in here is unknown.
        RuntimeKind::Docker
        | RuntimeKind::Podman
        | RuntimeKind::Kubernetes
        | RuntimeKind::Unknown => true,
        RuntimeKind::Systemd | RuntimeKind::Host => ends_with_us,
    };
    if may_end {
        OUTPUT_OF_CONTAINER_WITHIN
    } else {
        OUTPUT_WITHIN
    }
}

fn contract(config: &Config, root: &Arc<AtomicI32>) -> Option<Contract> {
    let settings = Settings {
        id: config.id.clone(),
        socket: config.socket.clone(),
        status_file: config.status_file.clone(),
        is_of_tree: belongs_below(root),
    };
    Contract::open(settings)
        .inspect(|contract| {
            if let Some(socket) = contract.socket() {
                tracing::info!("accepting status lines at {}", socket.display());
            }
        })
        .inspect_err(|error| tracing::warn!("{error}; the agent runs without HB_SOCKET"))
        .ok()
}

async fn from_contract(contract: &mut Option<Contract>) -> Option<StatusLine> {
    contract.as_mut()?.lines.recv().await
}

/// From a channel that may not be there.
async fn from<T>(channel: Option<&mut mpsc::Receiver<T>>) -> Option<T> {
    channel?.recv().await
}

impl From<OutputLine> for StatusLine {
    fn from(read: OutputLine) -> Self {
        let OutputLine { line, raw, at } = read;
        Self {
            line,
            raw,
            at,
            sender: None,
        }
    }
}

/// Whether a process descends from the root, as far as its parents can be followed.
fn belongs_below(root: &Arc<AtomicI32>) -> IsOfTree {
    let root = Arc::clone(root);
    Arc::new(move |sender| {
        let root = root.load(Ordering::Relaxed);
        let mut pid = sender;
        for _ in 0..ANCESTORS_MAX {
            if pid == root {
                return Belongs::Yes;
            }
            match handle::stat(pid) {
                Some(stat) if stat.ppid > 0 => pid = stat.ppid,
                Some(_) => return Belongs::No,
                None => return Belongs::Gone,
            }
        }
        Belongs::No
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_our_end_may_end_the_container_the_last_output_gets_more_time() {
        for kind in ["docker", "podman", "kubernetes", "unknown"] {
            assert_eq!(output_within(false, kind), OUTPUT_OF_CONTAINER_WITHIN);
        }
        for kind in ["host", "systemd"] {
            assert_eq!(output_within(false, kind), OUTPUT_WITHIN, "{kind}");
            assert_eq!(output_within(true, kind), OUTPUT_OF_CONTAINER_WITHIN);
        }
    }
}
