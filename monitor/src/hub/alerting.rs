//! What of the fleet's life the alerts are fed with, and where their effects go.

use crate::alerts::Dispatch;
use crate::bus::inbox::Request;
use crate::clock;
use crate::hub::troubles::Troubles;
use heartbeat::alerts::Alerts;
use heartbeat::alerts::exchange::{AlertsEffect, AlertsInput, AlertsView, Now, Standing};
use heartbeat::alerts::matter::Matter;
use heartbeat::base::duration::format_duration;
use heartbeat::base::id::AgentId;
use heartbeat::base::moment::Moment;
use heartbeat::fleet::agent::State;
use heartbeat::fleet::gates::Gate;
use heartbeat::fleet::ladder::policy;
use heartbeat::fleet::machine::Change;
use heartbeat::fleet::recovery::RecoveryEffect;
use heartbeat::fleet::watch::{Watch, WatchEffect, WatchInput};
use heartbeat::wire::incident::{GateKind, Incident};
use heartbeat::wire::notice::Notice;
use heartbeat::wire::notification::{Notification, Severity, Subject};
use heartbeat::wire::trouble::{Trouble, TroubleKind};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What readers see of the alerts.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) alerts: AlertsView,
    /// Troubles of hbmonitor itself that last.
    pub(crate) troubles: Vec<Trouble>,
}

/// The readers' end.
pub(crate) type ShownAlerts = watch::Receiver<Arc<Shown>>;

/// People are paged when the store has been unreachable for so long.
const STORE_DOWN_AFTER: Duration = Duration::from_secs(60);
/// Incidents that ended before this are not looked at again.
const CLOSED_WITHIN_MS: u64 = 24 * 3600 * 1000;
const STORE: &str = "store";

/// What the alerts want done about the fleet and the store.
pub(super) enum Wish {
    Ask(Request),
    Watch(WatchInput),
}

/// The dead man's switch is pinged this often.
const PING_EVERY: Duration = Duration::from_secs(60);

/// The alerts as part of the hub.
pub(super) struct Alerting {
    alerts: Alerts,
    pub(super) dispatch: Dispatch,
    /// What HTTP shows of them.
    shown: watch::Sender<Arc<Shown>>,
    /// Something of it changed.
    news: bool,
    /// Since when the store is away, and whether people know.
    store_down: Option<(Moment, bool)>,
    pub(super) troubles: Troubles,
    /// The outbox, until the incidents have been read too.
    outbox: Vec<Notification>,
    /// When the dead man's switch is pinged next.
    ping_at: Moment,
    /// Gates that mean that hbmonitor sees nothing.
    unsighted: BTreeSet<GateKind>,
    /// The store was read.
    is_linked: bool,
    /// It was before, too.
    was_linked: bool,
}

/// Both ends of what readers see of the alerts.
pub(crate) fn shown() -> (watch::Sender<Arc<Shown>>, ShownAlerts) {
    watch::channel(Arc::default())
}

impl Alerting {
    pub(super) fn new(dispatch: Dispatch, shown: watch::Sender<Arc<Shown>>) -> Self {
        let mut alerting = Self {
            alerts: Alerts::new(fastrand::u64(..)),
            dispatch,
            shown,
            news: true,
            store_down: None,
            troubles: Troubles::default(),
            outbox: Vec::new(),
            ping_at: Moment::default(),
            unsighted: BTreeSet::new(),
            is_linked: false,
            was_linked: false,
        };
        alerting.begin_again(clock::now());
        alerting
    }

    /// Forgets every page: the store holds them, and the monitor that leads goes on.
    pub(super) fn begin_again(&mut self, now: Moment) {
        self.alerts = Alerts::new(fastrand::u64(..)).patient(self.dispatch.patience());
        let rules = self.dispatch.rules();
        // Nothing waits yet, so nothing is wished for.
        self.alerts
            .handle(AlertsInput::Receivers(rules), moment(now));
        self.news = true;
    }

    pub(super) fn deadline(&self) -> Option<(Moment, &'static str)> {
        let store = self.store_down.filter(|(_, known)| !known);
        let store = store.map(|(since, _)| (since + self.store_down_after(), "store"));
        let alerts = self.alerts.deadline();
        let ping = self.is_pinging().then_some((self.ping_at, "ping"));
        let troubles = self.troubles.deadline(self.dispatch.patience());
        let all = [store, alerts, ping, troubles];
        let all = all.into_iter().flatten();
        all.min_by_key(|(at, _)| *at)
    }

    fn store_down_after(&self) -> Duration {
        self.dispatch.patience().scale(STORE_DOWN_AFTER)
    }

    /// What the store holds of the outbox; its incidents follow.
    pub(super) fn outbox_read(&mut self, outbox: Vec<Notification>, troubles: Vec<Trouble>) {
        self.outbox = outbox;
        self.troubles.read(troubles);
    }

    pub(super) fn stored(&mut self, id: String, now: Moment) -> Vec<Wish> {
        self.handle(AlertsInput::Stored(id), now)
    }

    /// Deliveries that have ended, and what is due.
    pub(super) fn advance(&mut self, now: Moment) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while let Some(delivered) = self.dispatch.next_report() {
            wishes.append(&mut self.handle(AlertsInput::Delivered(delivered), now));
        }
        while let Some(reread) = self.dispatch.next_configuration() {
            if reread.is_ok() {
                self.news = true;
                let rules = self.dispatch.rules();
                wishes.append(&mut self.handle(AlertsInput::Receivers(rules), now));
                wishes.append(&mut self.end_outdated(false, now));
            }
            let error = reread.err();
            let kind = TroubleKind::Configuration;
            wishes.append(&mut self.trouble(kind, error.as_deref(), now));
        }
        if let Some((since, false)) = self.store_down
            && since + self.store_down_after() <= now
        {
            self.store_down = Some((since, true));
            let mut matter = store_trouble(now, since);
            let lasts = format_duration(self.store_down_after());
            matter.label = format!("blind, the store has not answered for {lasts}");
            "hb cannot reach its store: nothing is known of the agents meanwhile."
                .clone_into(&mut matter.sentence);
            "hb tries again every few seconds.".clone_into(&mut matter.next);
            wishes.append(&mut self.handle(AlertsInput::Matter(Box::new(matter)), now));
        }
        wishes.append(&mut self.troubles_due(now));
        if self.is_pinging() && self.ping_at <= now {
            self.ping_at = now + PING_EVERY;
            self.dispatch.ping();
        }
        if self.alerts.deadline().is_some_and(|(at, _)| at <= now) {
            wishes.append(&mut self.handle(AlertsInput::Tick, now));
        }
        if std::mem::take(&mut self.news) {
            self.shown.send_replace(Arc::new(Shown {
                alerts: self.alerts.view(),
                troubles: self.troubles.all.values().cloned().collect(),
            }));
        }
        wishes
    }

    /// It is the hub that pings: one that stands still, or sees nothing, does not.
    fn is_pinging(&self) -> bool {
        self.dispatch.has_switch() && self.is_linked && self.unsighted.is_empty()
    }

    /// A gate closed or opened.
    fn gate(&mut self, gate: &Gate, closed: bool, now: Moment) -> Vec<Wish> {
        if matches!(gate.gate, GateKind::Blind | GateKind::Tilt) && closed {
            self.unsighted.insert(gate.gate);
        } else if !closed {
            self.unsighted.remove(&gate.gate);
        }
        let input = AlertsInput::Gate(gate.gate, gate.host.clone(), closed);
        self.handle(input, now)
    }

    pub(super) fn link_up(&mut self, watch: &Watch, now: Moment) -> Vec<Wish> {
        self.is_linked = true;
        let mut wishes = self.handle(AlertsInput::LinkUp, now);
        let wall_ms = clock::wall_ms();
        let lately = |incident: &&Arc<Incident>| {
            incident
                .closed_at
                .is_some_and(|at| at.saturating_add(CLOSED_WITHIN_MS) > wall_ms)
        };
        let view = watch.shown();
        let closed = view.incidents.closed.values().filter(lately);
        let all = view.incidents.open.values().chain(closed);
        let incidents = all.map(|incident| matter(incident, watch));
        let notices = view
            .notices
            .open
            .values()
            .chain(view.notices.closed.values());
        let notices = notices.filter_map(|notice| noticed(notice, watch));
        let at_start = !std::mem::replace(&mut self.was_linked, true);
        let (troubles, mut again) = self.troubles_restored();
        wishes.append(&mut again);
        let matters = incidents.chain(notices).chain(troubles).collect();
        let outbox = std::mem::take(&mut self.outbox);
        wishes.append(&mut self.handle(AlertsInput::Restored { matters, outbox }, now));
        wishes.append(&mut self.end_outdated(at_start, now));
        if let Some((since, known)) = self.store_down.take()
            && known
        {
            let mut matter = store_trouble(now, since);
            "the store answers again".clone_into(&mut matter.label);
            matter.closed_at = Some(clock::wall_ms());
            wishes.append(&mut self.handle(AlertsInput::Matter(Box::new(matter)), now));
        }
        wishes
    }

    pub(super) fn link_down(&mut self, now: Moment) -> Vec<Wish> {
        self.is_linked = false;
        self.store_down.get_or_insert((now, false));
        self.handle(AlertsInput::LinkDown, now)
    }

    /// What happened in the fleet, as far as people may have to know.
    pub(super) fn follow(&mut self, effect: &WatchEffect, watch: &Watch, now: Moment) -> Vec<Wish> {
        use heartbeat::fleet::machine::FleetEffect;
        match effect {
            WatchEffect::IncidentChanged(change) => {
                let matter = matter(&change.incident, watch);
                self.handle(AlertsInput::Matter(Box::new(matter)), now)
            }
            WatchEffect::NoticeChanged(notice) => match noticed(notice, watch) {
                Some(matter) => self.handle(AlertsInput::Matter(Box::new(matter)), now),
                None => Vec::new(),
            },
            WatchEffect::Fleet(FleetEffect::Changed(change)) => self.standing(change, now),
            WatchEffect::Recovery(RecoveryEffect::Page(page)) => {
                let view = watch.shown();
                let Some(incident) = view.incidents.open.get(&page.incident) else {
                    return Vec::new();
                };
                let matter = matter(incident, watch);
                self.handle(AlertsInput::Matter(Box::new(matter)), now)
            }
            WatchEffect::Recovery(RecoveryEffect::Silences(silences)) => {
                self.handle(AlertsInput::Silences(silences.clone()), now)
            }
            WatchEffect::Recovery(RecoveryEffect::TroubleAcknowledged(kind, by)) => {
                self.trouble_acknowledged(kind, by, now)
            }
            WatchEffect::GateClosed(gate) => self.gate(gate, true, now),
            WatchEffect::GateOpened(gate) => self.gate(gate, false, now),
            WatchEffect::Fleet(
                FleetEffect::Verify(_)
                | FleetEffect::ReadTtl(_)
                | FleetEffect::ReadEvents
                | FleetEffect::Turned(_)
                | FleetEffect::Left(..)
                | FleetEffect::Enlist(..)
                | FleetEffect::Refused(_),
            )
            | WatchEffect::SendCanary(_)
            | WatchEffect::Reconnect
            | WatchEffect::AskForLead
            | WatchEffect::ReadRecords
            | WatchEffect::TookOver
            | WatchEffect::SteppedDown
            | WatchEffect::Recovery(
                RecoveryEffect::Order(..)
                | RecoveryEffect::Forget(_)
                | RecoveryEffect::StorePause(_)
                | RecoveryEffect::StoreSilence(_)
                | RecoveryEffect::RemoveSilence(_)
                | RecoveryEffect::Audit(_)
                | RecoveryEffect::Answer(..)
                | RecoveryEffect::Claim(..)
                | RecoveryEffect::Begin(..)
                | RecoveryEffect::AskSurroundings(..)
                | RecoveryEffect::Release(_)
                | RecoveryEffect::Perform(_),
            )
            | WatchEffect::StoreIncident(_)
            | WatchEffect::RemoveIncident(_)
            | WatchEffect::StoreNotice(_)
            | WatchEffect::RemoveNotice(_) => Vec::new(),
        }
    }

    fn standing(&mut self, change: &Change, now: Moment) -> Vec<Wish> {
        let well = change.to == State::Healthy && change.reason.is_none();
        let standing = if well { Standing::Up } else { Standing::Down };
        self.handle(AlertsInput::Agent(change.agent.clone(), standing), now)
    }

    pub(super) fn handle(&mut self, input: AlertsInput, now: Moment) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let effects = self.alerts.handle(input, moment(now));
        if effects.is_empty() {
            return wishes;
        }
        for effect in effects {
            match effect {
                AlertsEffect::Store(record) => {
                    wishes.push(Wish::Ask(Request::StoreNotification(record)));
                }
                AlertsEffect::Remove(id) => wishes.push(Wish::Ask(Request::RemoveNotification(id))),
                AlertsEffect::Paged(ids, page) => {
                    wishes.append(&mut self.troubles.paged(&ids, &page));
                    wishes.push(Wish::Watch(WatchInput::Paged(ids, page)));
                }
                AlertsEffect::Notified(ids, notified) => {
                    wishes.append(&mut self.troubles.notified(&ids, &notified));
                    wishes.push(Wish::Watch(WatchInput::Notified(ids, notified)));
                }
                AlertsEffect::Deliver(batch) => self.dispatch.deliver(batch),
                AlertsEffect::Renew(receiver, messages) => self.dispatch.renew(&receiver, messages),
                AlertsEffect::ReceiverChanged(name, error) => {
                    match &error {
                        Some(error) => tracing::error!("receiver {name} takes nothing: {error}"),
                        None => tracing::info!("receiver {name} takes notifications again"),
                    }
                    let kind = TroubleKind::Receiver(name);
                    wishes.append(&mut self.trouble(kind, error.as_deref(), now));
                }
            }
        }
        self.news = true;
        wishes
    }
}

/// Until the recovery ladder is driven no rung is ever coming: people are needed as soon as an incident opens.
fn matter(incident: &Incident, watch: &Watch) -> Matter {
    let kind = |agent: &AgentId| Some((agent.clone(), watch.agent_type(agent)?.to_owned()));
    let needed = watch.people_needed(incident);
    let severity = match needed.unwrap_or_default() {
        policy::Severity::Info => Severity::Info,
        policy::Severity::Warning => Severity::Warning,
        policy::Severity::Critical => Severity::Critical,
    };
    let mut matter = Matter::of(incident, severity, needed.is_some());
    matter.types = incident.agents.iter().filter_map(kind).collect();
    matter
}

fn noticed(notice: &Notice, watch: &Watch) -> Option<Matter> {
    Matter::noticed(notice, watch.agent_type(&notice.agent))
}

fn store_trouble(now: Moment, since: Moment) -> Matter {
    let ago = u64::try_from(now.since(since).as_millis()).unwrap_or(0);
    let at = clock::wall_ms().saturating_sub(ago);
    Matter::trouble(STORE, Subject::StoreUnavailable, Severity::Critical, at)
}

fn moment(now: Moment) -> Now {
    Now {
        at: now,
        wall_ms: clock::wall_ms(),
    }
}
