//! The agent's own word: the contract's sockets and file, what its output tells, and what all that says.

use super::Hub;
use crate::clock;
use crate::config::Config;
use crate::contract::{Belongs, Contract, Health, IsOfTree, Settings, StatusLine};
use crate::output_tee::{OutputLine, Tee};
use crate::process::handle;
use heartbeat::contract::report::{Report, Worth};
use heartbeat::supervise::lifecycle::Input;
use heartbeat::wire::event::{Detail, EventKind};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// Processes between a sender and the agent.
const ANCESTORS_MAX: usize = 64;
/// How long what an agent printed last may take to reach whoever reads us.
const OUTPUT_WITHIN: Duration = Duration::from_millis(500);
/// The same when only its last word is waited for: the next incarnation waits too.
const LAST_WORD_WITHIN: Duration = Duration::from_millis(50);

/// Everything through which the agent speaks.
pub(super) struct AgentIo {
    pub(super) report: Report,
    contract: Option<Contract>,
    tee: Option<(Tee, OwnedFd)>,
    /// Where the agent's tree begins, for whoever asks whether a sender belongs to it.
    root: Arc<AtomicI32>,
}

impl AgentIo {
    /// Opens what is asked for. An agent runs without a contract rather than not at all.
    pub(super) fn open(config: &Config, supervises: bool) -> Self {
        let me = i32::try_from(std::process::id()).unwrap_or(0);
        let root = Arc::new(AtomicI32::new(if supervises { me } else { 0 }));
        let settings = Settings {
            id: config.id.clone(),
            socket: config.socket.clone(),
            status_file: config.status_file.clone(),
            is_of_tree: belongs_below(&root),
        };
        let contract = Contract::open(settings)
            .inspect(|contract| {
                tracing::info!("status lines are taken at {}", contract.socket().display())
            })
            .inspect_err(|error| tracing::warn!("{error}; the agent runs without HB_SOCKET"))
            .ok();
        let tee = config
            .reads
            .clone()
            .filter(|_| supervises)
            .and_then(|reads| {
                let copy = std::io::stdout().as_fd().try_clone_to_owned();
                copy.and_then(|out| Tee::start(out, reads))
                    .inspect_err(|error| tracing::warn!("cannot read the agent's output: {error}"))
                    .ok()
            });
        Self {
            report: Report::default(),
            contract,
            tee,
            root,
        }
    }

    /// The next thing that it says.
    pub(super) async fn next(&mut self) -> StatusLine {
        tokio::select! {
            biased;
            Some(said) = from_contract(&mut self.contract) => said,
            Some(told) = from_output(&mut self.tee) => told,
            else => std::future::pending().await,
        }
    }

    /// What the agent must know to speak.
    pub(super) fn environment(&self) -> Vec<(&'static str, OsString)> {
        self.contract
            .as_ref()
            .map(Contract::environment)
            .unwrap_or_default()
    }

    /// What becomes the agent's standard output, where that is read.
    pub(super) fn output(&self) -> Option<i32> {
        self.tee.as_ref().map(|(_, agents)| agents.as_raw_fd())
    }

    /// A new incarnation is about to speak.
    pub(super) fn new_incarnation(&mut self) {
        self.report.new_incarnation();
        if let Some(contract) = &self.contract {
            contract.new_incarnation();
        }
    }

    /// The tree of an agent that is not our child begins here.
    pub(super) fn attached_to(&self, pid: i32) {
        self.root.store(pid, Ordering::Relaxed);
    }

    /// What a health check is answered from now on.
    pub(super) fn health(&self, health: Health) {
        if let Some(contract) = &self.contract {
            contract.health.send_if_modified(|told| {
                let changed = *told != health;
                *told = health;
                changed
            });
        }
    }

    /// What an agent that is gone has said and printed before, as far as it was not heard yet.
    async fn left(&mut self) -> Vec<StatusLine> {
        let mut left = Vec::new();
        if let Some((tee, _)) = &mut self.tee {
            tee.caught_up(LAST_WORD_WITHIN).await;
            left.extend(std::iter::from_fn(|| tee.told.try_recv().ok()).map(StatusLine::from));
        }
        if let Some(contract) = &mut self.contract {
            contract.caught_up().await;
            left.extend(std::iter::from_fn(|| contract.said.try_recv().ok()));
        }
        left
    }

    /// What the agent printed last goes on; what it said is counted.
    pub(super) async fn finish(&mut self) {
        if let Some(contract) = &self.contract {
            tracing::info!("status lines: {}", contract.counts());
        }
        if let Some((tee, agents)) = self.tee.take() {
            drop(agents);
            tee.caught_up(OUTPUT_WITHIN).await;
        }
    }
}

impl Hub {
    /// The agent is gone: its end is judged by all that it said, and its last word is not the next incarnation's.
    pub(super) async fn drain_agent_output(&mut self) {
        for said in self.word.left().await {
            self.said(said);
        }
    }

    pub(super) fn said(&mut self, said: StatusLine) {
        let was_ready = self.word.report.ready();
        let worth = self.word.report.handle(said.line, &said.raw, said.at);
        if worth == Worth::Progress {
            self.decide(Input::Progress);
        }
        if self.word.report.ready() && !was_ready {
            let incarnation = Some(self.life.incarnation());
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

    /// Whether beats get through.
    pub(super) fn health(&self) -> Health {
        let stored = *self.outbox.stored.borrow();
        match stored {
            _ if self.fenced => Health::NotBeating("another sidecar has the id".to_owned()),
            None => Health::NotBeating("no beat was stored yet".to_owned()),
            Some(stored) => {
                let ago = clock::now().since(stored.at);
                if ago > self.config.interval * 2 {
                    Health::NotBeating(format!(
                        "no beat was stored for {}",
                        heartbeat::base::duration::format_duration(ago)
                    ))
                } else {
                    Health::Beating
                }
            }
        }
    }
}

async fn from_contract(contract: &mut Option<Contract>) -> Option<StatusLine> {
    contract.as_mut()?.said.recv().await
}

async fn from_output(tee: &mut Option<(Tee, OwnedFd)>) -> Option<StatusLine> {
    tee.as_mut()?.0.told.recv().await.map(StatusLine::from)
}

impl From<OutputLine> for StatusLine {
    fn from(told: OutputLine) -> Self {
        let OutputLine { line, raw, at } = told;
        Self { line, raw, at }
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
