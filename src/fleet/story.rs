//! The story of each agent: what the fleet, its incidents and people's requests mean as entries of its timeline.
//!
//! A machine beside the watch: it follows the watch's inputs and effects. What an incident shows is compared with what it
//! showed before, so that a monitor that starts, and reads the incident from the store, writes nothing of it twice.

mod evidence;
mod incident;
mod notices;
mod people;

use crate::base::foreign;
use crate::base::id::AgentId;
use crate::fleet::agent::State;
use crate::fleet::ladder::exchange::RungOutcome;
use crate::fleet::machine::{Change, FleetEffect, FleetInput, Turn};
use crate::fleet::recovery::RecoveryEffect;
use crate::fleet::watch::{Watch, WatchEffect, WatchInput};
use crate::fleet::word::{Tone, Word, reason_text};
use crate::wire::event::{Detail, Event, EventKind};
use crate::wire::incident::{Incident, IncidentId, Notified, Rung};
use crate::wire::notice::Notice;
use crate::wire::order::{Action, DONE, OrderReport};
use crate::wire::timeline::{TimelineEntry, TimelineKind};
use crate::wire::word;
use incident::{acknowledged, began, closed, ended, notified_of, opened};
use std::collections::BTreeMap;
use std::sync::Arc;

/// An entry, and whose timeline it belongs to.
pub type Line = (AgentId, TimelineEntry);

/// The machine.
#[derive(Debug, Default)]
pub struct Story {
    /// Each incident as its entries show it.
    written: BTreeMap<IncidentId, Arc<Incident>>,
    notices: notices::Written,
}

impl Story {
    /// What an input reports, before the watch takes it. `wall_ms`: Unix milliseconds of the store.
    pub fn read(&mut self, input: &WatchInput, wall_ms: u64) -> Option<Line> {
        if let WatchInput::Incidents(records) = input {
            for record in records {
                self.written
                    .entry(record.id.clone())
                    .or_insert_with(|| Arc::new(record.clone()));
            }
        }
        if let WatchInput::Notices(records) = input {
            for record in records {
                self.notices
                    .entry(record.id.clone())
                    .or_insert_with(|| Arc::new(record.clone()));
            }
        }
        if let WatchInput::Fleet(FleetInput::Event(event)) = input {
            let happened = wall_ms.saturating_sub(event.detail.delayed_ms);
            return Some((event.agent.clone(), of_event(event, happened)?));
        }
        None
    }

    /// What an effect reports. The watch has carried its own part out already.
    pub fn follow(&mut self, effect: &WatchEffect, watch: &Watch, wall_ms: u64) -> Vec<Line> {
        match effect {
            WatchEffect::Fleet(FleetEffect::Changed(change)) => {
                let entry = of_change(change, watch, wall_ms);
                Vec::from_iter(entry.map(|entry| (change.agent.clone(), entry)))
            }
            WatchEffect::Fleet(FleetEffect::Turned(turn)) => {
                vec![(turn.agent.clone(), of_turn(turn, wall_ms))]
            }
            WatchEffect::IncidentChanged(change) => self.incident(&change.incident, wall_ms),
            // Who was notified changes the record alone.
            WatchEffect::StoreIncident(incident) => self.incident(incident, wall_ms),
            // Who was notified changes the record alone.
            WatchEffect::StoreNotice(notice) | WatchEffect::NoticeChanged(notice) => {
                self.notice(notice, wall_ms)
            }
            WatchEffect::RemoveNotice(id) => {
                self.notices.remove(id);
                Vec::new()
            }
            WatchEffect::RemoveIncident(id) => {
                self.written.remove(id);
                Vec::new()
            }
            WatchEffect::Recovery(RecoveryEffect::Audit(asked)) => {
                Vec::from_iter(people::of_request(asked))
            }
            WatchEffect::Recovery(RecoveryEffect::StoreSilence(silence)) => {
                people::of_silence(silence, wall_ms)
            }
            WatchEffect::Fleet(
                FleetEffect::Verify(_)
                | FleetEffect::ReadTtl(_)
                | FleetEffect::ReadEvents
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
            | WatchEffect::GateClosed(_)
            | WatchEffect::GateOpened(_)
            | WatchEffect::Recovery(
                RecoveryEffect::Order(..)
                | RecoveryEffect::Forget(_)
                | RecoveryEffect::StorePause(_)
                | RecoveryEffect::RemoveSilence(_)
                | RecoveryEffect::Silences(_)
                | RecoveryEffect::TroubleAcknowledged(..)
                | RecoveryEffect::Answer(..)
                | RecoveryEffect::Claim(..)
                | RecoveryEffect::Begin(..)
                | RecoveryEffect::Perform(_)
                | RecoveryEffect::Release(_)
                | RecoveryEffect::AskSurroundings(..)
                | RecoveryEffect::Page(_),
            ) => Vec::new(),
        }
    }

    /// What is new in a notice.
    fn notice(&mut self, notice: &Arc<Notice>, wall_ms: u64) -> Vec<Line> {
        let before = self.notices.insert(notice.id.clone(), Arc::clone(notice));
        let news = notices::news(before.as_deref(), notice, wall_ms);
        let lines = news.into_iter().map(|entry| (notice.agent.clone(), entry));
        lines.collect()
    }

    /// What is new in an incident, for each of its agents.
    fn incident(&mut self, now: &Arc<Incident>, wall_ms: u64) -> Vec<Line> {
        let before = self.written.insert(now.id.clone(), Arc::clone(now));
        let before = before.as_deref();
        let mut lines = Vec::new();
        let known = before.map_or(0, |before| before.agents.len());
        let joined = now.agents.get(known..).unwrap_or_default().iter();
        lines.extend(joined.map(|agent| (agent.clone(), opened(now, wall_ms))));
        for (place, rung) in now.rungs.iter().enumerate() {
            let Some(agent) = &rung.agent else { continue };
            let earlier = now.rungs.iter().take(place);
            let number = 1 + earlier.filter(|one| one.agent == rung.agent).count();
            let old = before.and_then(|before| before.rungs.iter().find(|old| is_same(old, rung)));
            if old.is_none() {
                lines.push((agent.clone(), began(now, number, rung)));
            }
            if old.is_none_or(|old| old.ended_at.is_none())
                && let Some(ended_at) = rung.ended_at
            {
                lines.push((agent.clone(), ended(now, number, rung, ended_at)));
            }
        }
        let is_new = |one: &&Notified| before.is_none_or(|before| !before.notified.contains(one));
        let notified = now.notified.iter().filter(is_new);
        let mut common: Vec<TimelineEntry> = notified.map(|one| notified_of(now, one)).collect();
        let acked_before = before.and_then(|before| before.acked_by.as_ref());
        if let Some(by) = now.acked_by.as_ref().filter(|by| Some(*by) != acked_before) {
            common.push(acknowledged(now, by, wall_ms));
        }
        if let Some(at) = now
            .closed_at
            .filter(|_| before.is_none_or(|before| !before.is_closed()))
        {
            common.push(closed(now, at));
        }
        for agent in &now.agents {
            lines.extend(common.iter().map(|entry| (agent.clone(), entry.clone())));
        }
        lines
    }
}

/// The colour of an entry; by its codes, never by its words.
pub fn tone(entry: &TimelineEntry) -> Tone {
    let fact = |name: &str| entry.facts.get(name).map(String::as_str);
    match entry.kind {
        TimelineKind::State => match fact("to") {
            Some("healthy") if fact("reason").is_none() => Tone::Ok,
            Some("healthy" | "missing") => Tone::Warn,
            Some("failed") => Tone::Bad,
            Some(_) | None => Tone::Off,
        },
        TimelineKind::Activity => {
            let verdict = fact("to").map(|to| serde_json::Value::String(to.to_owned()));
            let verdict = verdict.and_then(|to| serde_json::from_value(to).ok());
            verdict.map_or(Tone::Off, |verdict| Word::of_verdict(verdict).tone())
        }
        TimelineKind::Process => match (fact("event"), fact("reason")) {
            (Some("exited"), Some(_)) => Tone::Bad,
            (Some("exited"), None) | (None, _) => Tone::Off,
            (Some(_), _) => Tone::Ok,
        },
        TimelineKind::Incident if fact("change") == Some("closed") => Tone::Ok,
        TimelineKind::Incident => Tone::Bad,
        TimelineKind::Rung => match fact("outcome") {
            None => Tone::Wait,
            Some(outcome) if outcome == RungOutcome::Recovered.as_str() => Tone::Ok,
            Some(_) => Tone::Bad,
        },
        TimelineKind::Notified | TimelineKind::Acknowledged | TimelineKind::Asked => Tone::You,
        TimelineKind::Order if fact("outcome") == Some(DONE) => Tone::Ok,
        TimelineKind::Order => Tone::Warn,
        TimelineKind::Evidence | TimelineKind::Unknown => Tone::Off,
    }
}

fn of_change(change: &Change, watch: &Watch, wall_ms: u64) -> Option<TimelineEntry> {
    // A monitor that starts announces the whole fleet: that agents are well is no news.
    if change.from.is_none() && change.to == State::Healthy && change.reason.is_none() {
        return None;
    }
    let to = word(&change.to);
    let mut what = match change.from {
        Some(from) if from != change.to => format!("{} → {to}", word(&from)),
        Some(_) | None => to.clone(),
    };
    if let Some(reason) = change.reason {
        what.push_str(&format!(" ({})", reason_text(reason)));
    }
    let (epoch, incarnation) = watch.run(&change.agent).unwrap_or_default();
    let reason = change.reason.map(|reason| word(&reason));
    let entry = TimelineEntry::new(wall_ms, TimelineKind::State, &what, &change.sentence)
        .fact("to", to)
        .fact("reason", reason.unwrap_or_default())
        .fact("epoch", epoch.to_string())
        .fact("incarnation", incarnation.to_string());
    Some(entry)
}

fn of_turn(turn: &Turn, wall_ms: u64) -> TimelineEntry {
    let text = |verdict| Word::of_verdict(verdict).text();
    let what = match (turn.from.map(text), turn.to.map(text)) {
        (Some(from), Some(to)) => format!("{from} → {to}"),
        (None, Some(to)) => to.to_owned(),
        (Some(from), None) => format!("{from} no longer"),
        (None, None) => "nothing is known of what it does".to_owned(),
    };
    TimelineEntry::new(wall_ms, TimelineKind::Activity, &what, &turn.sentence)
        .fact(
            "from",
            turn.from.map(|verdict| word(&verdict)).unwrap_or_default(),
        )
        .fact(
            "to",
            turn.to.map(|verdict| word(&verdict)).unwrap_or_default(),
        )
}

/// What a sidecar reports of its processes; everything else that it reports shows as a state or a verdict.
fn of_event(event: &Event, at: u64) -> Option<TimelineEntry> {
    let detail = &event.detail;
    if let (EventKind::Order, Some(report)) = (event.kind, &detail.order) {
        return Some(of_order(report, at));
    }
    let what = match event.kind {
        EventKind::Registered => match detail.host.as_deref().map(foreign::visible) {
            Some(host) => format!("registered on {host}"),
            None => "registered".to_owned(),
        },
        EventKind::Restarted => format!("started again{}", pid_text(detail)),
        EventKind::Evidence | EventKind::Hung | EventKind::Stalled | EventKind::WaitingInput => {
            return evidence::of_event(event, at);
        }
        EventKind::Exited => format!("process ended{}{}", exit_text(detail), pid_text(detail)),
        EventKind::Ready
        | EventKind::Recovered
        | EventKind::Stopped
        | EventKind::Fenced
        | EventKind::Order
        | EventKind::CrashLoop
        | EventKind::Unkillable
        | EventKind::Duplicate
        | EventKind::Unknown => return None,
    };
    let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    let message = detail.message.as_deref().map(foreign::visible);
    let exit = detail.exit.as_ref();
    let code = exit.and_then(|exit| exit.code).map(|code| code.to_string());
    let signal = exit.and_then(|exit| exit.signal).map(|n| n.to_string());
    let entry = TimelineEntry::new(
        at,
        TimelineKind::Process,
        &what,
        &message.unwrap_or_default(),
    )
    .fact("event", word(&event.kind))
    .fact("epoch", event.epoch.to_string())
    .fact("incarnation", number(detail.incarnation))
    .fact("pid", number(detail.pid.map(u64::from)))
    .fact("code", code.unwrap_or_default())
    .fact("signal", signal.unwrap_or_default())
    .fact(
        "reason",
        detail
            .reason
            .map(|reason| word(&reason))
            .unwrap_or_default(),
    );
    Some(entry)
}

/// What a sidecar made of an order. One that was carried out shows in the process, too.
fn of_order(report: &OrderReport, at: u64) -> TimelineEntry {
    let (action, outcome) = (report.action.as_str(), foreign::visible(&report.outcome));
    let asked = match report.action {
        Action::Pod => "restart the pod",
        Action::Restart
        | Action::Unblock
        | Action::Hold
        | Action::Capture
        | Action::Stop
        | Action::Ping
        | Action::Unknown => action,
    };
    let what = format!("its sidecar: order to {asked} {outcome}");
    let detail = foreign::visible(&report.detail);
    TimelineEntry::new(at, TimelineKind::Order, &what, &detail)
        .fact("order", report.id.as_str())
        .fact("action", action)
        .fact("outcome", report.outcome.as_str())
}

fn pid_text(detail: &Detail) -> String {
    detail
        .pid
        .map(|pid| format!(", pid {pid}"))
        .unwrap_or_default()
}

fn exit_text(detail: &Detail) -> String {
    let exit = detail.exit.as_ref();
    match exit.map(|exit| (exit.code, exit.signal)) {
        Some((Some(code), _)) => format!(" with code {code}"),
        Some((None, Some(signal))) => format!(" by signal {signal}"),
        Some((None, None)) | None => String::new(),
    }
}

fn is_same(one: &Rung, other: &Rung) -> bool {
    let of = |rung: &Rung| (rung.epoch, rung.incarnation, rung.started_at);
    of(one) == of(other) && (&one.rung, &one.agent) == (&other.rung, &other.agent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::moment::Moment;
    use crate::fleet::incidents::{IncidentChange, IncidentChangeKind};
    use crate::fleet::machine::FleetSettings;

    const WALL_MS: u64 = 1_764_000_000_000;

    fn record(more: &str) -> Arc<Incident> {
        let text = format!(
            r#"{{"id":"i-1","agents":["w1"],"scope":"agent","reason":"exited","openedAt":5{more}}}"#
        );
        Arc::new(Incident::decode(text.as_bytes()).unwrap())
    }

    fn follow(story: &mut Story, incident: Arc<Incident>) -> Vec<String> {
        let watch = Watch::new(FleetSettings::default(), 1, Moment::default());
        let kind = IncidentChangeKind::Updated;
        let effect = WatchEffect::IncidentChanged(IncidentChange { kind, incident });
        let lines = story.follow(&effect, &watch, WALL_MS);
        lines.into_iter().map(|(_, entry)| entry.what).collect()
    }

    fn rung(ended: &str) -> String {
        format!(
            r#","rungs":[{{"rung":"docker","agent":"w1","epoch":7,"incarnation":1,"startedAt":6{ended}}}]"#
        )
    }

    #[test]
    fn what_is_new_in_an_incident_is_written_once() {
        let mut story = Story::default();
        assert_eq!(follow(&mut story, record("")), ["incident opened: exited"]);
        let begun = record(&rung(""));
        assert_eq!(
            follow(&mut story, Arc::clone(&begun)),
            ["rung 1, docker: hb restarts its container"]
        );
        assert_eq!(follow(&mut story, begun), [""; 0]);
        let over = rung(r#","endedAt":3006,"outcome":"no_beat""#);
        let closed = record(&format!(
            r#"{over},"ackedBy":"ann","notified":[{{"receiver":"oncall","at":8,"outcome":"paged"}}],"closedAt":65005"#
        ));
        assert_eq!(
            follow(&mut story, closed),
            [
                "rung 1, docker: no fresh beat came within 3 s",
                "oncall: paged",
                "acknowledged by ann",
                "incident closed, it lasted 1 min 5 s",
            ]
        );
    }

    #[test]
    fn a_page_is_written_with_the_record_that_shows_it() {
        let mut story = Story::default();
        let watch = Watch::new(FleetSettings::default(), 1, Moment::default());
        follow(&mut story, record(""));
        let paged = r#","notified":[{"receiver":"oncall","at":8,"outcome":"paged"}]"#;
        let stored = WatchEffect::StoreIncident(record(paged));
        let mut written = || story.follow(&stored, &watch, WALL_MS).len();
        assert_eq!((written(), written()), (1, 0));
    }

    #[test]
    fn what_the_store_held_at_the_start_is_not_written_again() {
        let mut story = Story::default();
        let held = record(&rung(""));
        let read = WatchInput::Incidents(vec![Incident::clone(&held)]);
        assert_eq!(story.read(&read, WALL_MS), None);
        assert_eq!(follow(&mut story, held), [""; 0]);
    }

    #[test]
    fn what_a_sidecar_made_of_an_order_is_an_entry() {
        let order =
            r#"{"order":{"id":"o-1","action":"restart","outcome":"refused","detail":"not now"}}"#;
        let fields = |name| match name {
            "event" => Some("order"),
            "agent" => Some("w1"),
            "detail" => Some(order),
            _ => Some("5"),
        };
        let event = Event::decode(fields).unwrap();
        let read = WatchInput::Fleet(FleetInput::Event(Box::new(event)));
        let (_, entry) = Story::default().read(&read, WALL_MS).unwrap();
        assert_eq!(
            (entry.kind, &*entry.what, &*entry.detail),
            (
                TimelineKind::Order,
                "its sidecar: order to restart refused",
                "not now"
            )
        );
        assert_eq!(entry.facts["order"], "o-1");
        assert_eq!(tone(&entry), Tone::Warn);
    }

    #[test]
    fn that_the_fleet_is_well_when_a_monitor_starts_is_no_news() {
        let mut story = Story::default();
        let watch = Watch::new(FleetSettings::default(), 1, Moment::default());
        let mut change = Change {
            agent: AgentId::parse("w1").unwrap(),
            from: None,
            to: State::Healthy,
            reason: None,
            sentence: "Its beats come in time.".to_owned(),
            host: None,
            interval: std::time::Duration::from_secs(30),
            evidence: Vec::new(),
        };
        let changed = |change: &Change| WatchEffect::Fleet(FleetEffect::Changed(change.clone()));
        assert_eq!(story.follow(&changed(&change), &watch, WALL_MS), []);
        change.to = State::Missing;
        change.from = Some(State::Healthy);
        let (_, entry) = story.follow(&changed(&change), &watch, WALL_MS).remove(0);
        assert_eq!(
            (entry.what.as_str(), tone(&entry)),
            ("healthy → missing", Tone::Warn)
        );
    }
}
