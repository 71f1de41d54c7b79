//! The hub: one thread, the only owner of the fleet. It reads the connection of the beats itself; everything else comes as
//! inputs. Effects are performed, a snapshot is made when a reader asks.
//!
//! A thread and not a task: at a real rate nearly every beat is a packet of its own, and being woken costs more than the beat.
//! So the hub waits for [`GATHER`] after each read and takes all that has come.

mod alerting;
pub(crate) mod crew;
mod held;
mod log;
mod outputs;
mod recovery;
mod story;
mod troubles;

use crate::alerts::Dispatch;
use crate::asks::Asks;
use crate::bus::inbox::{Counters, Inbox, Input, LinkReport, OVERRUN};
use crate::bus::push::{Message, Push};
use crate::clock;
use crate::config::policy::RecoverySettings;
use crate::events::Events;
use crate::snapshots::Showcase;
use crate::tallies::Tallies;
use crate::wake::Sleeper;
use alerting::{Alerting, Wish};
pub(crate) use alerting::{Shown, ShownAlerts, shown};
use crew::Crew;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::machine::{Change, FleetInput, FleetSettings, TICK_MAX};
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::wire::beat::{BeatError, view};
use held::Held;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use outputs::Outputs;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use story::Chronicle;
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
    chronicle: Chronicle,
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
    pub(crate) show: watch::Sender<Arc<Shown>>,
    pub(crate) tallies: Tallies,
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
            tallies,
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
                questions: inbox.questions,
                reconnect: inbox.reconnect,
                changes,
                crew,
                events,
            },
            chronicle: Chronicle::new(tallies),
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
            if self.asks.is_waited_for() {
                self.showcase.outdate();
            }
            self.perform(&mut effects, now);
            self.showcase.serve(now, || self.watch.view());
            self.chronicle.ticked(clock::now().since(now));
        }
    }

    /// Carries out what the fleet wants, then what the alerts want of it, until neither wants more.
    fn perform(&mut self, effects: &mut Vec<WatchEffect>, now: Moment) {
        let mut wishes = Vec::new();
        if self.watch.may_alert(now) {
            wishes = self.alerting.advance(now);
        }
        loop {
            self.write_story(effects, now);
            for effect in effects.drain(..) {
                self.remember_container(&effect);
                wishes.append(&mut self.follow(&effect, now));
                self.outputs.perform(effect, &mut self.asks);
            }
            if wishes.is_empty() {
                return;
            }
            self.grant(std::mem::take(&mut wishes), now, effects);
        }
    }

    /// What the alerts make of an effect: those of the monitor that leads, or of each one where the store lets none lead.
    fn follow(&mut self, effect: &WatchEffect, now: Moment) -> Vec<Wish> {
        if *effect == WatchEffect::SteppedDown {
            self.alerting.begin_again(now);
        }
        if !self.watch.may_alert(now) {
            return Vec::new();
        }
        if *effect == WatchEffect::TookOver {
            return self.alerting.link_up(&self.watch, now);
        }
        self.alerting.follow(effect, &self.watch, now)
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
        let within = match gather {
            Duration::ZERO => tick,
            gather => gather.min(tick),
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
                    self.note_input(&input, now);
                    effects.append(&mut self.watch.handle(input, now));
                    if is_up {
                        self.beats.up(&mut self.watch, now, effects);
                        if self.watch.may_alert(now) {
                            let wishes = self.alerting.link_up(&self.watch, now);
                            self.grant(wishes, now, effects);
                        }
                    } else if is_down {
                        self.beats.end();
                        let wishes = self.alerting.link_down(now);
                        self.grant(wishes, now, effects);
                    }
                }
                Ok(Input::Outbox(records, troubles)) => {
                    self.alerting.outbox_read(records, troubles);
                }
                Ok(Input::DiskFails(fails)) => {
                    let wishes = self.alerting.disk(fails, now);
                    self.grant(wishes, now, effects);
                }
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
        let alerting = self.alerting.deadline();
        let alerting = alerting.filter(|_| self.watch.may_alert(self.last_tick));
        let machines = [self.watch.deadline(), alerting];
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
