//! The hub: one thread, the only owner of the fleet. It reads the connection of the beats itself; everything else comes as
//! inputs. Effects are performed, a snapshot is made when a reader asks.
//!
//! A thread and not a task: at a real rate nearly every beat is a packet of its own, and being woken costs more than the beat.
//! So the hub waits for [`GATHER`] after each read and takes all that has come.

mod alerting;
pub(crate) mod crew;
mod held;
mod log;
mod recovery;

use crate::alerts::Dispatch;
use crate::asks::Asks;
use crate::bus::inbox::{Counters, Inbox, Input, LinkReport, OVERRUN, Request};
use crate::bus::push::{Message, Push};
use crate::clock;
use crate::config::policy::RecoverySettings;
use crate::events::Events;
use crate::snapshots::Showcase;
use crate::wake::Sleeper;
use alerting::{Alerting, Wish};
pub(crate) use alerting::{ShownAlerts, shown};
use crew::Crew;
use heartbeat::alerts::exchange::AlertsView;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::machine::{Change, FleetEffect, FleetInput, FleetSettings, TICK_MAX};
use heartbeat::fleet::notices::NoticesEffect;
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::wire::beat::{BeatError, view};
use heartbeat::wire::life::Reason;
use heartbeat::wire::word;
use held::Held;
use log::{log_incident, log_notice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{broadcast, mpsc, watch};

/// The shortest time between two ticks: deadlines of a large fleet are handled together.
const TICK_MIN: Duration = Duration::from_millis(10);
/// For so long beats gather before they are read. The slack of every deadline is at least 100 ms.
const GATHER: Duration = Duration::from_millis(2);
/// Inputs taken before the beats are read again.
const BATCH: usize = 1024;

/// The hub and what it owns.
pub(crate) struct Hub {
    watch: Watch,
    inputs: mpsc::Receiver<Input>,
    sleeper: Sleeper,
    beats: Beats,
    showcase: Showcase,
    alerting: Alerting,
    asks: Asks,
    outputs: Outputs,
    last_tick: Moment,
}

/// The hub's ends of what it is connected with.
pub(crate) struct Ends {
    pub(crate) showcase: Showcase,
    pub(crate) asks: Asks,
    pub(crate) changes: broadcast::Sender<Change>,
    pub(crate) crew: Crew,
    pub(crate) events: Events,
    pub(crate) dispatch: Dispatch,
    pub(crate) show: watch::Sender<Arc<AlertsView>>,
}

/// Where effects go.
struct Outputs {
    requests: mpsc::Sender<Request>,
    reconnect: watch::Sender<()>,
    changes: broadcast::Sender<Change>,
    crew: Crew,
    events: Events,
}

/// The connection of the beats.
struct Beats {
    link: Option<(Box<Push>, mpsc::Sender<LinkReport>)>,
    /// Beats that came before the link was up.
    held: Held,
    is_up: bool,
    counters: Counters,
    /// No read before this.
    gather_until: Instant,
}

impl Hub {
    pub(crate) fn new(
        settings: FleetSettings,
        recovery: RecoverySettings,
        inbox: Inbox,
        ends: Ends,
    ) -> Self {
        let now = clock::now();
        let Ends {
            showcase,
            asks,
            changes,
            crew,
            events,
            dispatch,
            show,
        } = ends;
        let watch = Watch::new(settings, fastrand::u64(..), now);
        Self {
            watch: watch.recovering(recovery.policies, recovery.times),
            inputs: inbox.inputs,
            sleeper: inbox.sleeper,
            beats: Beats {
                link: None,
                held: Held::default(),
                is_up: false,
                counters: inbox.counters,
                gather_until: Instant::now(),
            },
            showcase,
            alerting: Alerting::new(dispatch, show),
            asks,
            outputs: Outputs {
                requests: inbox.requests,
                reconnect: inbox.reconnect,
                changes,
                crew,
                events,
            },
            last_tick: now,
        }
    }

    /// Runs until the inbox ends, which it does with the program.
    ///
    /// # Errors
    /// The kernel refuses to wait.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let mut effects = Vec::new();
        loop {
            let is_woken = self.wait()?;
            let now = clock::now();
            self.sleeper.clear(is_woken);
            self.note_pause(now, &mut effects);
            if !self.take_inputs(now, &mut effects) {
                return Ok(());
            }
            self.take_asks(now, &mut effects);
            self.beats.read(&mut self.watch, now, &mut effects);
            if self.next_tick() <= now {
                effects.append(&mut self.watch.handle(FleetInput::Tick.into(), now));
                self.last_tick = now;
            }
            self.perform(&mut effects, now);
            self.showcase.serve(now, || self.watch.view());
        }
    }

    /// Carries out what the fleet wants, then what the alerts want of it, until neither wants more.
    fn perform(&mut self, effects: &mut Vec<WatchEffect>, now: Moment) {
        let mut wishes = self.alerting.advance(now);
        loop {
            for effect in effects.drain(..) {
                self.remember_container(&effect);
                wishes.append(&mut self.alerting.follow(&effect, &self.watch, now));
                self.outputs.perform(effect, &mut self.asks);
            }
            if wishes.is_empty() {
                return;
            }
            self.grant(std::mem::take(&mut wishes), now, effects);
        }
    }

    fn grant(&mut self, wishes: Vec<Wish>, now: Moment, effects: &mut Vec<WatchEffect>) {
        for wish in wishes {
            match wish {
                Wish::Ask(request) => self.outputs.request(request),
                Wish::Watch(input) => effects.append(&mut self.watch.handle(input, now)),
            }
        }
    }

    /// Until there is an input, a beat that may be read, or a tick. True for an input.
    fn wait(&self) -> anyhow::Result<bool> {
        let gather = self
            .beats
            .gather_until
            .saturating_duration_since(Instant::now());
        let tick = self.next_tick().since(clock::now());
        let woken = PollFd::new(self.sleeper.as_fd(), PollFlags::POLLIN);
        let link = self.beats.link.as_ref().filter(|_| gather.is_zero());
        let readable = link.map(|(push, _)| PollFd::new(push.as_fd(), PollFlags::POLLIN));
        let within = if gather.is_zero() {
            tick
        } else {
            gather.min(tick)
        };
        // Rounded up: a tick that is early changes nothing.
        let within = PollTimeout::try_from(within.as_micros().div_ceil(1000))?;
        let mut polled = Vec::from_iter([Some(woken), readable].into_iter().flatten());
        match poll(&mut polled, within) {
            Ok(_) => Ok(polled[0].any().unwrap_or(true)),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// This program stood still: known before what waited meanwhile is read, for it is as late.
    fn note_pause(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) {
        let pause = now.since(self.last_tick + TICK_MAX);
        if !pause.is_zero() {
            effects.append(&mut self.watch.handle(FleetInput::Gap(pause).into(), now));
        }
    }

    /// False when no more inputs will come.
    fn take_inputs(&mut self, now: Moment, effects: &mut Vec<WatchEffect>) -> bool {
        for _ in 0..BATCH {
            match self.inputs.try_recv() {
                Ok(Input::Subscribed(push, reports)) => self.beats.begin(push, reports),
                Ok(Input::Watch(input)) => {
                    let is_up = matches!(input, WatchInput::Fleet(FleetInput::LinkUp));
                    let is_down = matches!(input, WatchInput::Fleet(FleetInput::LinkDown));
                    effects.append(&mut self.watch.handle(input, now));
                    if is_up {
                        self.beats.up(&mut self.watch, now, effects);
                        let wishes = self.alerting.link_up(&self.watch, now);
                        self.grant(wishes, now, effects);
                    } else if is_down {
                        self.beats.end();
                        let wishes = self.alerting.link_down(now);
                        self.grant(wishes, now, effects);
                    }
                }
                Ok(Input::Outbox(records)) => self.alerting.outbox_read(records),
                Ok(Input::NotificationStored(id)) => {
                    let wishes = self.alerting.stored(id, now);
                    self.grant(wishes, now, effects);
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        self.sleeper.stay_awake();
        true
    }

    /// The fleet's next deadline, [`TICK_MIN`] to [`TICK_MAX`] after the last tick.
    fn next_tick(&self) -> Moment {
        let latest = self.last_tick + TICK_MAX;
        let machines = [self.watch.deadline(), self.alerting.deadline()];
        match machines.into_iter().flatten().min_by_key(|(at, _)| *at) {
            Some((at, _)) if at < latest => at.max(self.last_tick + TICK_MIN),
            Some(_) | None => latest,
        }
    }
}

impl Beats {
    fn begin(&mut self, push: Box<Push>, reports: mpsc::Sender<LinkReport>) {
        self.end();
        self.link = Some((push, reports));
    }

    fn up(&mut self, watch: &mut Watch, now: Moment, effects: &mut Vec<WatchEffect>) {
        self.is_up = true;
        for payload in std::mem::take(&mut self.held).payloads() {
            apply(watch, payload, &self.counters, now, effects);
        }
    }

    fn end(&mut self) {
        self.is_up = false;
        self.link = None;
        self.held = Held::default();
    }

    /// Reads what has arrived and applies it. A connection that is lost is reported.
    fn read(&mut self, watch: &mut Watch, now: Moment, effects: &mut Vec<WatchEffect>) {
        if self.gather_until > Instant::now() {
            return;
        }
        let Some((mut push, reports)) = self.link.take() else {
            return;
        };
        match self.messages(&mut push, &reports, watch, now, effects) {
            Ok(()) => self.link = Some((push, reports)),
            Err(error) => {
                // A full queue: the receiver sees that it is closed.
                let _ = reports.try_send(LinkReport::Lost(error));
            }
        }
    }

    fn messages(
        &mut self,
        push: &mut Push,
        reports: &mpsc::Sender<LinkReport>,
        watch: &mut Watch,
        now: Moment,
        effects: &mut Vec<WatchEffect>,
    ) -> anyhow::Result<()> {
        let is_full = push.read(now)?;
        let mut has_beats = false;
        while let Some(message) = push.next()? {
            has_beats = true;
            match message {
                Message::Beat(payload) if self.is_up => {
                    apply(watch, payload, &self.counters, now, effects);
                }
                Message::Beat(payload) => {
                    if !self.held.push(payload) {
                        let why = "loading what the store holds takes too long";
                        self.counters.count(OVERRUN, &why);
                    }
                }
                Message::Canary(number) => {
                    effects.append(&mut watch.handle(WatchInput::CanaryBack(number), now));
                }
                Message::Shared(payload) => shared(payload, reports, &self.counters),
                Message::TooLarge(length) => {
                    let error = BeatError::TooLarge(length);
                    self.counters.count(error.kind(), &error);
                }
            }
        }
        if has_beats && !is_full {
            self.gather_until = Instant::now() + GATHER;
        }
        push.keep_alive(now)
    }
}

fn apply(
    watch: &mut Watch,
    payload: &[u8],
    counters: &Counters,
    now: Moment,
    effects: &mut Vec<WatchEffect>,
) {
    let mut owned = None;
    match view::read(payload, &mut owned) {
        Ok(beat) => watch.beat(&beat, now, effects),
        Err(error) => counters.count(error.kind(), &error),
    }
}

/// A sidecar's beat on the shared channel is of another database: it publishes on the channel of its own.
fn shared(payload: &[u8], reports: &mpsc::Sender<LinkReport>, counters: &Counters) {
    let mut owned = None;
    let beat = match view::read(payload, &mut owned) {
        Ok(beat) if beat.hb.is_none() => beat.to_owned(),
        Ok(_) => None,
        // Most likely of another database, whose monitor counts it.
        Err(error) => {
            return tracing::debug!("ignored a malformed message on the shared channel: {error}");
        }
    };
    let sent = beat.map(|beat| reports.try_send(LinkReport::Shared(beat)));
    if let Some(Err(TrySendError::Full(_))) = sent {
        let why = "the store answers too slowly which database they belong to";
        counters.count(OVERRUN, &why);
    }
}

impl Outputs {
    fn perform(&self, effect: WatchEffect, asks: &mut Asks) {
        match effect {
            WatchEffect::Fleet(FleetEffect::Verify(id)) => self.request(Request::Verify(id)),
            WatchEffect::Fleet(FleetEffect::ReadTtl(id)) => self.request(Request::ReadTtl(id)),
            WatchEffect::Fleet(FleetEffect::ReadEvents) => self.request(Request::ReadEvents),
            WatchEffect::Fleet(FleetEffect::Changed(change)) => self.announce(change),
            WatchEffect::Fleet(FleetEffect::Turned(turn)) => self.events.notice(&turn),
            WatchEffect::Fleet(FleetEffect::Left(id, _)) => {
                tracing::info!("{id} leaves the fleet: it is over, or the fleet is full");
                self.request(Request::Leave(id));
            }
            WatchEffect::Fleet(FleetEffect::Refused(count)) => tracing::warn!(
                "the fleet is full, {count} messages of new agents were refused up to now; see hb_fleet_bytes and hb_fleet_agents_max"
            ),
            WatchEffect::SendCanary(number) => self.request(Request::Canary(number)),
            WatchEffect::Reconnect => {
                tracing::error!("the store does not answer; connecting again");
                let _ = self.reconnect.send(()); // no receiver: the inbox has ended, and so does the hub
            }
            WatchEffect::StoreIncident(incident) => self.request(Request::StoreIncident(incident)),
            WatchEffect::RemoveIncident(id) => self.request(Request::RemoveIncident(id)),
            WatchEffect::Notice(NoticesEffect::Store(notice)) => {
                self.request(Request::StoreNotice(notice));
            }
            WatchEffect::Notice(NoticesEffect::Remove(id)) => {
                self.request(Request::RemoveNotice(id));
            }
            WatchEffect::Notice(NoticesEffect::Changed(notice)) => log_notice(&notice),
            WatchEffect::IncidentChanged(change) => {
                log_incident(&change);
                self.events.incident(&change);
            }
            WatchEffect::GateClosed(gate) => {
                tracing::warn!("gate {} closed: {}", word(&gate.gate), gate.sentence);
                self.events.gate(&gate, true);
            }
            WatchEffect::GateOpened(gate) => {
                tracing::info!("gate {} opened", word(&gate.gate));
                self.events.gate(&gate, false);
            }
            WatchEffect::Recovery(effect) => self.recover(effect, asks),
        }
    }

    /// What is not answered is asked again; a full queue is one of the causes.
    fn request(&self, request: Request) {
        if let Err(error) = self.requests.try_send(request) {
            tracing::debug!("dropped a request to the store, the queue is full: {error}");
        }
    }

    fn announce(&self, change: Change) {
        let Change {
            agent,
            from,
            to,
            sentence,
            ..
        } = &change;
        match to {
            State::Failed if *from == Some(State::Failed) => {
                tracing::error!("{agent} still failed: {sentence}");
            }
            State::Healthy if change.reason == Some(Reason::Duplicate) => {
                tracing::warn!("duplicate id {agent}: {sentence}");
            }
            State::Healthy => tracing::info!("{agent} is healthy: {sentence}"),
            State::Stopped => tracing::info!("{agent} is stopped: {sentence}"),
            State::Missing => tracing::warn!("{agent} is missing: {sentence}"),
            State::Failed => tracing::error!("{agent} failed: {sentence}"),
        }
        self.events.state(&change);
        let _ = self.changes.send(change); // no receiver: the change is logged all the same
    }
}
