//! The hub: one loop, one closed set of inputs, the only owner of the agent's state.
//!
//! `select!` picks an [`Input`], [`Hub::handle`] decides, the rooms perform. No arm holds logic, none waits for the store.

use crate::child::{self, Child};
use crate::clock;
use crate::config::Config;
use crate::outbox::{News, Outbox, Registration};
use crate::runtime;
use crate::signals::{self, Heard};
use crate::vitals::Vitals;
use heartbeat::beat::{Beat, Exit, Extension, Metrics, Status, cut};
use heartbeat::event::{Detail, Event, EventKind};
use heartbeat::moment::{Moment, millis};
use heartbeat::roster::RosterEntry;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// How long an end may wait for the store to hear of it. The agent is gone by then; only the caller waits.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(2);

enum Input {
    Tick,
    Signal(Heard),
    News(News),
}

struct Hub {
    config: Config,
    child: Child,
    vitals: Vitals,
    outbox: Outbox,
    runtime: heartbeat::beat::Runtime,
    instance: String,
    started: Moment,
    started_ms: u64,
    epoch: Option<u64>,
    sequence: u64,
    fenced: bool,
    never_reached: bool,
    end_requested: bool,
}

/// Starts the agent and stays until it ends. Returns the exit code.
pub(crate) async fn supervise(config: Config) -> anyhow::Result<u8> {
    let mut heard = signals::listen()?;
    child::adopt_orphans();
    let environment = [
        ("HB_AGENT_ID", config.id.to_string()),
        ("HB_AGENT_TYPE", config.agent_type.clone()),
    ];
    // The agent first: nothing that follows may hold it up.
    let child = Child::start(&config.program, &config.arguments, &environment)?;
    let mut hub = Hub::new(config, child);
    let exit = loop {
        let next_slot = hub.until_next_slot();
        let input = tokio::select! {
            biased;
            Some(heard) = heard.recv() => Input::Signal(heard),
            Some(news) = hub.outbox.news.recv() => Input::News(news),
            () = tokio::time::sleep(next_slot) => Input::Tick,
        };
        if let Some(exit) = hub.handle(input) {
            break exit;
        }
    };
    hub.end(exit).await;
    Ok(child::exit_code(exit))
}

impl Hub {
    fn new(config: Config, child: Child) -> Self {
        let started_ms = clock::wall_ms();
        let runtime = runtime::detect(&config.host);
        let registration = Registration {
            id: config.id.clone(),
            entry: RosterEntry {
                agent_type: config.agent_type.clone(),
                host: config.host.clone(),
                interval_ms: millis(config.interval),
                epoch: 0,
                started_at: started_ms,
                runtime: Some(runtime.clone()),
                stopped_at: None,
            },
            registered_ms: started_ms,
        };
        let outbox = Outbox::open(config.store.clone(), registration);
        let hub = Self {
            child,
            vitals: Vitals::new(),
            outbox,
            runtime,
            instance: Uuid::new_v4().to_string(),
            started: clock::now(),
            started_ms,
            epoch: None,
            sequence: 0,
            fenced: false,
            never_reached: false,
            end_requested: false,
            config,
        };
        hub.tell(EventKind::Registered, Detail::default());
        hub
    }

    /// Takes one input; the agent's end comes back.
    fn handle(&mut self, input: Input) -> Option<Exit> {
        match input {
            Input::Tick => self.beat(None),
            Input::Signal(Heard::Child) => return self.child.reap(),
            Input::Signal(Heard::Forward(signal)) => self.child.signal(signal),
            Input::Signal(Heard::End(signal)) => {
                self.end_requested = true;
                self.child.signal(signal);
            }
            Input::News(News::Connected(epoch)) => {
                self.epoch = Some(epoch);
                self.never_reached = false;
                self.beat(None);
            }
            Input::News(News::Unreachable) => self.never_reached = self.epoch.is_none(),
            Input::News(News::Fenced(holder)) => self.fenced(holder),
        }
        None
    }

    /// Says how it ended: event, hash, last beat. Waits for the store a moment and no longer.
    async fn end(mut self, exit: Exit) {
        let incarnation = Some(0);
        let requested = self.end_requested;
        self.tell(
            EventKind::Exited,
            Detail {
                exit: Some(exit),
                incarnation,
                requested,
                ..Detail::default()
            },
        );
        if requested || exit.code == Some(0) {
            self.tell(
                EventKind::Stopped,
                Detail {
                    requested,
                    ..Detail::default()
                },
            );
        }
        if self.fenced || self.never_reached {
            return; // nobody who would listen is there, and nobody who knows of this agent
        }
        // Not yet registered: the registration may be a moment away, and an end must not be lost.
        let deadline = tokio::time::Instant::now() + LAST_WORDS_WITHIN;
        while self.epoch.is_none() {
            match tokio::time::timeout_at(deadline, self.outbox.news.recv()).await {
                Ok(Some(News::Connected(epoch))) => self.epoch = Some(epoch),
                Ok(Some(News::Unreachable | News::Fenced(_)) | None) | Err(_) => return,
            }
        }
        self.beat(Some(exit));
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !self.outbox.close(left).await {
            tracing::warn!("the store did not hear of the agent's end; its silence will tell");
        }
    }

    fn fenced(&mut self, holder: u64) {
        self.fenced = true;
        tracing::error!(
            "another sidecar holds the id {} with epoch {holder}; this agent runs on, unwatched",
            self.config.id
        );
    }

    fn tell(&self, kind: EventKind, detail: Detail) {
        let command = Path::new(&self.config.program)
            .file_name()
            .map(|name| name.to_string_lossy());
        self.outbox.tell(Event {
            kind,
            agent: self.config.id.clone(),
            epoch: self.epoch.unwrap_or(0),
            at_ms: clock::wall_ms(),
            detail: Detail {
                pid: u32::try_from(self.child.pid()).ok(),
                host: Some(self.config.host.clone()),
                command: command.map(|name| cut(name.into_owned(), 64)),
                ..detail
            },
        });
    }

    fn beat(&mut self, exit: Option<Exit>) {
        let Some(epoch) = self.epoch.filter(|_| !self.fenced) else {
            return;
        };
        let now = clock::now();
        let sample = match exit {
            None => self.vitals.sample(self.child.pid(), now),
            Some(_) => crate::vitals::Sample::default(),
        };
        let metrics = Metrics {
            cpu_percent: sample.cpu_percent,
            memory_mb: sample.memory_mb,
            ..Metrics::default()
        };
        let clean = exit.is_some_and(|exit| self.end_requested || exit.code == Some(0));
        self.sequence += 1;
        self.outbox.offer(Beat {
            agent: self.config.id.clone(),
            agent_type: cut(self.config.agent_type.clone(), 64),
            timestamp_ms: clock::wall_ms(),
            sequence: self.sequence,
            status: if clean {
                Status::Stopped
            } else {
                Status::Healthy
            },
            metrics,
            current_task: None,
            task_progress: None,
            hb: Some(Extension {
                interval: self.config.interval,
                epoch,
                slot: self.slot(now),
                instance: self.instance.clone(),
                host: self.config.host.clone(),
                pid: match exit {
                    None => u32::try_from(self.child.pid()).unwrap_or(0),
                    Some(_) => 0,
                },
                started_at_ms: self.started_ms,
                restarts: 0,
                ready: true,
                activity: None,
                runtime: Some(self.runtime.clone()),
                exit,
                order: None,
            }),
        });
    }

    fn slot(&self, now: Moment) -> u64 {
        millis(now.since(self.started)) / millis(self.config.interval)
    }

    /// Slots stand on a fixed timetable: a late tick does not move the next one.
    fn until_next_slot(&self) -> Duration {
        let interval = millis(self.config.interval);
        let into = millis(clock::now().since(self.started)) % interval;
        Duration::from_millis(interval - into)
    }
}
