//! A sidecar and its agent: the real `Lifecycle`, `SlotClock` and `LifeReport`, with a connection that may break.
//!
//! Writes go in batches, in the order events, roster, beat; a batch that was not answered is sent again after the next
//! connection, but for beats, of which only the latest counts.

use crate::random::Random;
use crate::store::{Answer, EPOCH_MS, Registration, Write};
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::supervise::exclusive::{ExclusiveLease, Terms};
use heartbeat::supervise::life_report::{Facts, LifeReport};
use heartbeat::supervise::lifecycle::{
    AFTER_KILL, Effect, Ended, Input, Lifecycle, Outlook, Policy, Restart,
};
use heartbeat::supervise::slots::SlotClock;
use heartbeat::wire::beat::{Beat, Exit, Extension, Metrics, Status};
use heartbeat::wire::event::{Detail, Event, EventKind};
use heartbeat::wire::life::{End, Phase, STALL_AFTER, Standing};
use heartbeat::wire::roster::RosterEntry;
use std::collections::VecDeque;
use std::time::Duration;

const RETRY_MIN: u64 = 200;
const RETRY_MAX: u64 = 7000;
/// How long a connection or an answer may take.
const ANSWER_WITHIN: u64 = 2000;
const EVENTS_MAX: usize = 64;

/// What an agent does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// Runs until it is stopped.
    Runs,
    /// Each incarnation ends with this code after so many milliseconds.
    Exits(u8, u64),
}

/// What a sidecar is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role {
    pub(crate) host: usize,
    /// Between beats, in milliseconds.
    pub(crate) interval: u64,
    pub(crate) script: Script,
    /// At most one copy of its agent may work.
    pub(crate) exclusive: bool,
}

/// Whether the sidecar's process is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    Running,
    /// SIGSTOP, or its host is suspended.
    Paused,
    /// It was killed, or its host lost power.
    Killed,
    /// It has ended by itself.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    None,
    /// Tries until then, and begins another try at the second moment, beside those that last.
    Connecting(u64, u64),
    Up,
}

#[derive(Debug)]
pub(crate) struct Sidecar {
    pub(crate) id: AgentId,
    pub(crate) host: usize,
    pub(crate) interval: u64,
    pub(crate) script: Script,
    /// It takes its id from a living holder: a replacement.
    pub(crate) takes_over: bool,
    /// Whose lease it may break: that of a holder which it knows to be dead.
    pub(crate) breaks: Option<u64>,
    /// Of an exclusive agent.
    lease: Option<ExclusiveLease>,
    /// A process waits for the lease.
    start_waits: bool,
    /// A process of its agent has just begun.
    pub(crate) has_begun: bool,
    /// Another copy was granted the id: it ends its agent, and writes nothing more.
    is_fenced: bool,
    /// When the batch that is under way was sent.
    asked_at: u64,
    /// For so long its machine was frozen: its clock is behind by that.
    lag: u64,
    /// Since when it is frozen.
    pub(crate) frozen_at: Option<u64>,
    pub(crate) process: Process,
    pub(crate) connection: Connection,
    /// Grows with each connection: answers of an older one are void.
    pub(crate) generation: u64,
    /// When the batch that is under way times out.
    pub(crate) answer_by: Option<u64>,
    /// Of this connection.
    answers_within: u64,
    /// When the store carried out or published its last beats, newest first.
    pub(crate) accepted: VecDeque<u64>,
    /// When its agent last started or ended.
    changed_at: u64,
    /// When its process ended by itself.
    pub(crate) ended_at: Option<u64>,
    pub(crate) instance: u64,
    lifecycle: Lifecycle,
    report: LifeReport,
    slots: SlotClock,
    epoch: u64,
    sequence: u64,
    events: VecDeque<(u64, Event)>,
    sent: usize,
    roster_due: bool,
    beat_due: bool,
    failures: u32,
    retry_at: u64,
    exit_at: Option<u64>,
    has_process: bool,
    end: Option<End>,
    /// It ends once this is stored, or at the moment.
    ending_by: Option<u64>,
    stored: bool,
    /// The store refused a write.
    store_refuses: bool,
}

impl Sidecar {
    pub(crate) fn new(id: AgentId, role: Role, now: u64) -> Self {
        let Role {
            host,
            interval,
            script,
            exclusive,
        } = role;
        let policy = Policy {
            restart: Restart::OnFailure,
            restarts_max: 3,
            window: Duration::from_secs(1800),
            backoff: Duration::from_secs(1),
            backoff_max: Duration::from_secs(60),
            grace: Duration::from_secs(2),
            keep_orphans: false,
        };
        let every = Duration::from_millis(interval);
        let terms = Terms {
            interval: every,
            grace: policy.grace,
        };
        Self {
            instance: now.wrapping_mul(31).wrapping_add(host as u64) | 1,
            id,
            host,
            interval,
            script,
            takes_over: false,
            breaks: None,
            lease: exclusive.then(|| ExclusiveLease::new(terms)),
            start_waits: false,
            has_begun: false,
            is_fenced: false,
            asked_at: now,
            lag: 0,
            frozen_at: None,
            process: Process::Running,
            connection: Connection::None,
            generation: 0,
            answer_by: None,
            answers_within: ANSWER_WITHIN,
            accepted: VecDeque::new(),
            changed_at: now,
            ended_at: None,
            lifecycle: Lifecycle::new(policy),
            report: LifeReport::default(),
            slots: SlotClock::new(Moment::from_millis(now), every),
            epoch: 0,
            sequence: 0,
            events: VecDeque::new(),
            sent: 0,
            roster_due: false,
            beat_due: false,
            failures: 0,
            retry_at: now,
            exit_at: None,
            has_process: false,
            end: None,
            ending_by: None,
            stored: false,
            store_refuses: false,
        }
    }

    /// The first process starts.
    pub(crate) fn start(&mut self, now: u64, random: &mut Random) {
        self.carry_out(vec![Effect::Start], now, random);
    }

    /// What an operator must be shown in the end.
    pub(crate) fn standing(&self) -> Standing {
        self.report.life().standing()
    }

    /// Whether its agent started or ended in the last so many milliseconds, or it has not reported that yet.
    pub(crate) fn changed_within(&self, ms: u64, now: u64) -> bool {
        let reports = self.is_beating() && !self.events.is_empty();
        reports || self.local(now) < self.changed_at + ms
    }

    /// Whether a process of its agent may be there. The guard of an exclusive one ends it, also while the sidecar stands still.
    pub(crate) fn may_work(&self, now: u64) -> bool {
        let guard_at = self.lease.as_ref().and_then(ExclusiveLease::guard_at);
        let now = self.local(now);
        let is_guarded = |at: Moment| (at + AFTER_KILL).as_millis() <= now;
        match self.process {
            Process::Running => self.has_process,
            Process::Paused => {
                let is_still = self.frozen_at.is_some();
                self.has_process && !is_still && !guard_at.is_some_and(is_guarded)
            }
            Process::Killed | Process::Ended => false,
        }
    }

    /// How long the store lets its exclusive lease last, in milliseconds.
    pub(crate) fn lease_lasts(&self) -> Option<u64> {
        Some(millis(self.lease.as_ref()?.terms().time_to_live()))
    }

    pub(crate) fn role(&self) -> Role {
        Role {
            host: self.host,
            interval: self.interval,
            script: self.script,
            exclusive: self.lease.is_some(),
        }
    }

    /// When its agent must be asked to end.
    fn fence_at(&self) -> Option<Moment> {
        let lease = self.lease.as_ref();
        let lease = lease.filter(|_| !self.lifecycle.is_stop_requested());
        lease.and_then(ExclusiveLease::fence_at)
    }

    fn may_start(&self, now: u64) -> bool {
        let now = Moment::from_millis(now);
        self.lease.as_ref().is_none_or(|lease| lease.covers(now))
    }

    /// What its machine's clock shows.
    pub(crate) fn local(&self, now: u64) -> u64 {
        now - self.lag
    }

    pub(crate) fn thaw(&mut self, now: u64) {
        if let Some(at) = self.frozen_at.take() {
            self.lag += now - at;
        }
    }

    pub(crate) fn was_frozen(&self) -> bool {
        self.lag > 0
    }

    /// Whether its beats are to be expected.
    pub(crate) fn is_beating(&self) -> bool {
        self.process == Process::Running
    }

    /// Whether all that it had to report of its end was stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored
    }

    pub(crate) fn deadline(&self) -> Option<u64> {
        if self.process != Process::Running {
            return None;
        }
        let connection = match self.connection {
            Connection::None => Some(self.retry_at),
            Connection::Connecting(until, again_at) => Some(until.min(again_at)),
            Connection::Up => self.answer_by,
        };
        let beat = Some(self.slots.deadline().as_millis());
        let life = self.lifecycle.deadline().map(Moment::as_millis);
        let fence = self.fence_at().map(Moment::as_millis);
        [connection, beat, life, self.exit_at, self.ending_by, fence]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether it wants to connect now.
    pub(crate) fn wants_connection(&self, now: u64) -> bool {
        let is_due = match self.connection {
            Connection::None => self.retry_at <= now,
            Connection::Connecting(_, again_at) => again_at <= now,
            Connection::Up => false,
        };
        self.process == Process::Running && is_due
    }

    pub(crate) fn is_connecting(&self) -> bool {
        matches!(self.connection, Connection::Connecting(..))
    }

    /// Time passed.
    pub(crate) fn wake(&mut self, now: u64, random: &mut Random) {
        if self.process != Process::Running {
            return;
        }
        let at = Moment::from_millis(now);
        if self.fence_at().is_some_and(|fence| fence <= at) {
            self.stop(now, random);
        }
        // It stood still, and its guard did not.
        let guard_at = self.lease.as_ref().and_then(ExclusiveLease::guard_at);
        let is_guarded = self.has_process && guard_at.is_some_and(|guard| guard <= at);
        if is_guarded || self.exit_at.is_some_and(|exit| exit <= now) {
            self.exited(now, random);
        }
        if self.lifecycle.deadline().is_some_and(|due| due <= at) {
            let effects = self.lifecycle.handle(Input::Due, at, random.fraction());
            self.carry_out(effects, now, random);
        }
        if self.slots.deadline() <= at {
            self.beat(now);
        }
        match self.connection {
            Connection::Connecting(until, _) if until <= now => self.disconnect(now, random),
            Connection::Up if self.answer_by.is_some_and(|by| by <= now) => {
                self.disconnect(now, random);
            }
            Connection::None | Connection::Connecting(..) | Connection::Up => {}
        }
        if self.ending_by.is_some_and(|by| by <= now) {
            self.process = Process::Ended;
        }
    }

    /// A person asks it to stop.
    pub(crate) fn stop(&mut self, now: u64, random: &mut Random) {
        let at = Moment::from_millis(now);
        let effects = self.lifecycle.handle(Input::Stop, at, random.fraction());
        self.carry_out(effects, now, random);
    }

    /// A slow store is not a dead one: each try waits longer, and others begin meanwhile.
    pub(crate) fn connect(&mut self, now: u64) {
        if let Connection::Connecting(_, again_at) = &mut self.connection {
            *again_at = now + ANSWER_WITHIN;
            return;
        }
        self.answers_within = ANSWER_WITHIN << self.failures.min(2);
        self.connection = Connection::Connecting(now + self.answers_within, now + ANSWER_WITHIN);
    }

    /// By a try that took so long: an answer may take as long as four of them.
    pub(crate) fn connected(&mut self, took: u64) {
        self.answers_within = (took * 4).clamp(ANSWER_WITHIN, self.answers_within);
        self.connection = Connection::Up;
        self.sent = 0;
        self.answer_by = None;
        self.roster_due |= self.epoch > 0;
        self.beat_due |= self.epoch > 0;
    }

    pub(crate) fn disconnect(&mut self, now: u64, random: &mut Random) {
        self.connection = Connection::None;
        self.generation += 1;
        self.answer_by = None;
        self.failures = (self.failures + 1).min(10);
        // A quarter of an interval at most, as the real one: no beat is lost to waiting alone.
        let ceiling = RETRY_MAX.min(self.interval / 4).max(RETRY_MIN);
        let longest = ceiling.min(RETRY_MIN << self.failures);
        self.retry_at = now + 1 + random.below(longest);
    }

    /// What is to be written now; `None` while a batch is under way or nothing is due.
    pub(crate) fn batch(&mut self, now: u64) -> Option<Vec<Write>> {
        let is_ready = self.is_beating() && self.connection == Connection::Up && !self.is_fenced;
        if !is_ready || self.answer_by.is_some() {
            return None;
        }
        let mut batch = Vec::new();
        if self.epoch == 0 {
            batch.push(Write::Register(Box::new(Registration {
                instance: self.instance,
                takes_over: self.takes_over,
                breaks: self.breaks,
                lasts: self.lease_lasts().unwrap_or(0),
                entry: self.entry(),
            })));
        } else {
            self.sent = self.events.len();
            for (queued_at, event) in &self.events {
                let mut event = event.clone();
                let delay = now - queued_at;
                event.detail.delayed_ms = if delay > 1000 { delay } else { 0 };
                batch.push(Write::Event(Box::new(event)));
            }
            if std::mem::take(&mut self.roster_due) {
                batch.push(Write::Roster(Box::new(self.entry())));
            }
            if std::mem::take(&mut self.beat_due) {
                batch.push(Write::Beat(Box::new(self.latest(now))));
                batch.extend(self.renewal());
            }
        }
        if batch.is_empty() {
            if self.ending_by.is_some() {
                self.process = Process::Ended;
                self.ended_at = Some(now + self.lag);
                self.stored = true;
            }
            return None;
        }
        self.asked_at = now;
        self.answer_by = Some(now + self.answers_within);
        Some(batch)
    }

    pub(crate) fn answered(&mut self, answers: &[Answer], now: u64, random: &mut Random) {
        self.answer_by = None;
        self.failures = 0;
        self.store_refuses = answers.contains(&Answer::Refused);
        for answer in answers {
            match answer {
                Answer::Granted(epoch) => {
                    self.epoch = *epoch;
                    self.leased();
                    self.queue(EventKind::Registered, now);
                    self.beat(now);
                }
                Answer::Waits => self.disconnect(now, random),
                Answer::Fenced if self.lease.is_some() && self.has_process => {
                    self.is_fenced = true;
                    self.stop(now, random);
                }
                // Another sidecar has the id: this one ends, and its agent with it.
                Answer::Held | Answer::Fenced => {
                    self.process = Process::Ended;
                    self.has_process = false;
                }
                Answer::Refused => {
                    self.roster_due = true;
                    self.sent = 0;
                }
                Answer::Done => {}
                Answer::Renewed => self.leased(),
            }
        }
        if self.start_waits && self.may_start(now) && self.is_beating() {
            self.start_waits = false;
            self.carry_out(vec![Effect::Start], now, random);
        }
        if answers.contains(&Answer::Refused) && self.epoch == 0 {
            self.disconnect(now, random);
        }
        self.events.drain(..self.sent.min(self.events.len()));
        self.sent = 0;
    }

    /// The lease is renewed with a beat, and given up in the end.
    fn renewal(&self) -> Option<Write> {
        let lasts = self.lease_lasts()?;
        let is_over = self.ending_by.is_some() && !self.has_process;
        Some(if is_over {
            Write::Release(self.instance)
        } else {
            Write::Renew(self.instance, self.epoch, lasts)
        })
    }

    /// The store confirmed what was sent with the last batch.
    fn leased(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.confirmed(Moment::from_millis(self.asked_at));
        }
    }

    /// The store carried a beat of it out, or published it.
    pub(crate) fn accept(&mut self, now: u64) {
        self.accepted.push_front(now);
        self.accepted.truncate(8);
    }

    /// The roster has no entry of it.
    pub(crate) fn enlist_again(&mut self) {
        self.roster_due = true;
    }

    fn carry_out(&mut self, effects: Vec<Effect>, now: u64, random: &mut Random) {
        let at = Moment::from_millis(now);
        let mut todo: VecDeque<Effect> = effects.into();
        let mut kind = None;
        while let Some(effect) = todo.pop_front() {
            match effect {
                Effect::Start if !self.may_start(now) => self.start_waits = true,
                Effect::Start => {
                    self.has_process = true;
                    self.has_begun = true;
                    self.exit_at = match self.script {
                        Script::Runs => None,
                        Script::Exits(_, after) => Some(now + after),
                    };
                    let first = self.lifecycle.incarnation() == 0;
                    kind = Some(if first {
                        EventKind::Ready
                    } else {
                        EventKind::Restarted
                    });
                    todo.extend(self.lifecycle.handle(Input::Started, at, random.fraction()));
                }
                Effect::RequestStop => self.exit_at = Some(now + random.below(1500)),
                Effect::End => {
                    kind = Some(EventKind::Exited);
                    self.ending_by = Some(now + 2000);
                }
                Effect::CleanUp
                | Effect::TakeEvidence
                | Effect::Kill
                | Effect::ReportSurvivors
                | Effect::ReportCrashLoop
                | Effect::ReportCrashLoopOver => {}
                Effect::ReportDelay(_) => kind = Some(EventKind::Exited),
            }
        }
        if let Some(kind) = kind {
            self.report(kind, now);
        } else {
            self.update(now);
        }
    }

    fn exited(&mut self, now: u64, random: &mut Random) {
        self.exit_at = None;
        self.has_process = false;
        if self.is_fenced {
            self.process = Process::Ended;
        }
        let code = match self.script {
            Script::Runs => 0,
            Script::Exits(code, _) => code,
        };
        let exit = Exit {
            code: Some(code),
            signal: None,
        };
        let incarnation = self.lifecycle.incarnation();
        let ended = Ended {
            exit,
            alone: true,
            by_person: false,
            unread: false,
            cut_off: false,
            announced: false,
            by_its_runner: false,
            out_of_memory: false,
        };
        let at = Moment::from_millis(now);
        let effects = self
            .lifecycle
            .handle(Input::Exited(ended), at, random.fraction());
        self.end = Some(End {
            incarnation,
            exit,
            reason: None,
            requested: self.lifecycle.requested(),
            not_started: false,
        });
        // The end is reported before a start that follows at once.
        if effects.contains(&Effect::Start) {
            self.update(now);
            self.queue(EventKind::Exited, now);
        }
        self.carry_out(effects, now, random);
    }

    fn report(&mut self, kind: EventKind, now: u64) {
        if self.update(now) {
            self.changed_at = now;
            self.queue(kind, now);
            self.beat(now);
        }
    }

    fn update(&mut self, now: u64) -> bool {
        let outlook = self.lifecycle.outlook();
        let facts = Facts {
            outlook,
            attempt: self.lifecycle.attempt(),
            has_process: self.has_process,
            starts_agents: true,
            suspended: false,
            detached: false,
            // The first one may wait for the lease.
            incarnation: (self.lifecycle.incarnation())
                .saturating_sub(u64::from(!self.has_process && starts(outlook))),
            end: self.end.clone(),
            trouble: None,
            waits_for: None,
            obstacle: None,
            exclusive: self.lease.is_some(),
            alert_only: false,
            stall_after: STALL_AFTER,
            restarts_stalled: false,
            ends_for_pod: false,
            pod_restart: false,
        };
        self.report.update(facts, EPOCH_MS + now)
    }

    fn queue(&mut self, kind: EventKind, now: u64) {
        let registration = (kind == EventKind::Registered).then(|| Box::new(self.entry()));
        let event = Event {
            kind,
            agent: self.id.clone(),
            epoch: self.epoch,
            at_ms: EPOCH_MS + now,
            detail: Detail {
                life: Some(Box::new(self.report.life().clone())),
                registration,
                ..Detail::default()
            },
        };
        self.roster_due = true;
        // What happened before the registration is in the registration.
        if self.epoch > 0 && self.events.len() < EVENTS_MAX {
            self.events.push_back((now, event));
        }
    }

    fn beat(&mut self, now: u64) {
        self.slots.beat(Moment::from_millis(now));
        self.beat_due = true;
    }

    /// The beat as it is at this moment: latest wins.
    fn latest(&mut self, now: u64) -> Beat {
        self.sequence += 1;
        let life = self.report.life().clone();
        let ended = life.phase == Phase::Ended;
        Beat {
            agent: self.id.clone(),
            agent_type: "t".into(),
            timestamp_ms: EPOCH_MS + now,
            sequence: self.sequence,
            status: if ended {
                Status::Stopped
            } else {
                Status::Healthy
            },
            metrics: Metrics::default(),
            current_task: None,
            task_progress: None,
            hb: Some(Extension {
                interval: Duration::from_millis(self.interval),
                epoch: self.epoch,
                slot: self.slots.last(),
                slot_age: self.slots.age(Moment::from_millis(now)),
                instance: self.instance.to_string(),
                host: format!("h{}", self.host),
                pid: u32::from(life.has_process()),
                started_at_ms: EPOCH_MS,
                restarts: life.incarnation,
                ready: true,
                status_text: None,
                activity: None,
                runtime: None,
                exit: life.end.as_ref().map(|end| end.exit),
                life: Some(life),
                store_refuses: self.store_refuses,
                fenced: false,
                order: None,
            }),
        }
    }

    fn entry(&self) -> RosterEntry {
        RosterEntry {
            agent_type: "t".into(),
            host: format!("h{}", self.host),
            interval_ms: self.interval,
            epoch: self.epoch,
            started_at: EPOCH_MS,
            runtime: None,
            hb_version: None,
            stopped_at: self.report.stopped_at(),
            life: Some(self.report.life().clone()),
        }
    }
}

fn starts(outlook: Outlook) -> bool {
    match outlook {
        Outlook::Restarts(delay) => delay.is_zero(),
        Outlook::Continues | Outlook::Ends => false,
    }
}
