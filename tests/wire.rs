//! Golden files: what is on the wire today must stay readable, and is written the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "golden files are files")]

use heartbeat::wire::beat::{Beat, Source, Status, Verdict};
use heartbeat::wire::event::{Event, EventKind};
use heartbeat::wire::incident::{GateKind, Incident, Scope};
use heartbeat::wire::life::{Phase, Reason, Standing};
use heartbeat::wire::notice::{Notice, NoticeKind};
use heartbeat::wire::notification::{Notification, Occasion, Severity, Subject};
use heartbeat::wire::order::{Action, Order, Refusal};
use heartbeat::wire::roster::RosterEntry;
use heartbeat::wire::timeline::{TimelineEntry, TimelineKind};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;

fn golden(name: &str) -> String {
    std::fs::read_to_string(format!(
        "{}/tests/wire/{name}.json",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn fields(name: &str) -> BTreeMap<String, String> {
    serde_json::from_str(&golden(name)).unwrap()
}

fn event(name: &str) -> Event {
    let fields = fields(name);
    Event::decode(|name| fields.get(name).map(String::as_str)).unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn the_beat_of_the_contract_is_read_and_written_the_same() {
    let text = golden("beat");
    let beat = Beat::decode(text.as_bytes()).unwrap();
    let hb = beat.hb.as_ref().unwrap();
    assert_eq!(
        (hb.epoch, hb.slot, hb.activity.as_ref().unwrap().verdict),
        (7, 41, Verdict::Working)
    );
    assert_eq!(json(&beat.encode()), json(&text));
}

#[test]
fn an_entry_of_a_timeline_is_read_and_written_the_same() {
    let fields = fields("timeline");
    let entry = TimelineEntry::decode(fields.clone()).unwrap();
    assert_eq!(
        (entry.kind, entry.at),
        (TimelineKind::State, 1_764_000_000_000)
    );
    assert_eq!(entry.facts["incarnation"], "2");
    let written = entry.encode().into_iter();
    let written: BTreeMap<String, String> = written
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(written, fields);
}

#[test]
fn an_entry_of_a_newer_kind_keeps_its_words() {
    let pairs = [
        ("at", "5"),
        ("kind", "dream"),
        ("what", "it dreams"),
        ("mood", "calm"),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let entry = TimelineEntry::decode(pairs).unwrap();
    assert_eq!(
        (entry.kind, entry.what.as_str()),
        (TimelineKind::Unknown, "it dreams")
    );
    assert_eq!(entry.facts["mood"], "calm");
}

#[test]
fn a_notice_is_read_and_written_the_same() {
    let text = golden("notice");
    let notice = Notice::decode(text.as_bytes()).unwrap();
    assert_eq!(notice.kind(), Some(NoticeKind::Suspicion));
    assert_eq!(json(&notice.encode()), json(&text));
    let newer = text.replace("looping", "dreaming");
    let newer = Notice::decode(newer.as_bytes()).unwrap();
    assert_eq!((newer.kind(), &newer.id), (None, &notice.id));
}

#[test]
fn an_incident_is_read_and_written_the_same() {
    let text = golden("incident");
    let incident = Incident::decode(text.as_bytes()).unwrap();
    assert_eq!(
        (incident.scope, incident.gate),
        (Scope::Host, Some(GateKind::Storm))
    );
    assert_eq!(json(&incident.encode()), json(&text));
}

#[test]
fn a_notification_is_read_and_written_the_same() {
    let text = golden("notification");
    let notification = Notification::decode(text.as_bytes()).unwrap();
    let message = &notification.message;
    assert_eq!(
        (message.occasion, message.severity, message.subject),
        (
            Occasion::Firing,
            Severity::Critical,
            Subject::HeartbeatMissed
        )
    );
    assert_eq!(json(&notification.encode()), json(&text));
}

#[test]
fn a_store_that_refuses_writes_is_a_flag_of_the_beat_that_only_then_is_there() {
    let text = golden("beat");
    let mut beat = Beat::decode(text.as_bytes()).unwrap();
    assert!(!text.contains("storeRefuses"));
    beat.hb.as_mut().unwrap().store_refuses = true;
    assert_eq!(json(&beat.encode())["hb"]["storeRefuses"], true);
    assert_eq!(Beat::decode(beat.encode().as_bytes()).unwrap(), beat);
}

#[test]
fn a_beat_of_a_seed_producer_is_read_and_written_without_hb() {
    for name in ["beat_seed_node", "beat_seed_python"] {
        let beat = Beat::decode(golden(name).as_bytes()).unwrap();
        assert_eq!(
            (beat.hb.is_none(), beat.status),
            (true, Status::Healthy),
            "{name}"
        );
        assert!(json(&beat.encode()).get("hb").is_none());
    }
}

#[test]
fn a_last_beat_is_read() {
    let beat = Beat::decode(golden("beat_last").as_bytes()).unwrap();
    let exit = beat.hb.as_ref().unwrap().exit.unwrap();
    assert_eq!(
        (beat.status, exit.code, exit.signal),
        (Status::Stopped, Some(0), None)
    );
}

#[test]
fn a_beat_of_a_newer_version_is_read() {
    let beat = Beat::decode(golden("beat_newer").as_bytes()).unwrap();
    let (status, life, hb) = (beat.status, beat.life(), beat.hb.unwrap());
    let activity = hb.activity.unwrap();
    assert_eq!(
        (status, activity.verdict, activity.evidence[0].source),
        (Status::Healthy, Verdict::Unknown, Source::Observed)
    );
    assert_eq!((hb.slot, life.step, life.phase), (42, 9, Phase::Running));
    assert_eq!(life.standing(), Standing::Troubled(Reason::Unknown));
    assert_eq!(hb.order.unwrap().outcome, "postponed");
}

#[test]
fn an_exit_with_a_reason_of_a_newer_version_is_still_an_exit() {
    let event = event("event_newer");
    let life = event.life().unwrap();
    assert_eq!(
        (event.kind, life.step, life.standing()),
        (EventKind::Exited, 5, Standing::Down(Reason::Exited))
    );
    assert_eq!(life.end.unwrap().exit.code, Some(3));
}

#[test]
fn an_event_of_a_newer_kind_still_reports_where_the_process_is() {
    let event = event("event_newer_kind");
    let life = event.life().unwrap();
    assert_eq!(
        (event.kind, life.standing()),
        (EventKind::Unknown, Standing::Down(Reason::Killed))
    );
}

#[test]
fn a_roster_entry_of_a_newer_version_is_read() {
    let entry = RosterEntry::decode(&golden("roster_newer")).unwrap();
    let standing = entry.life().standing();
    // A reason is given, so the end was no success, whatever its code.
    assert_eq!((entry.epoch, standing), (7, Standing::Down(Reason::Exited)));
}

#[test]
fn an_order_of_a_newer_version_is_refused_and_not_lost() {
    let order = Order::decode(&golden("order_newer")).unwrap();
    assert_eq!(
        (order.id.as_str(), order.check(7, 2, 0)),
        ("o-2", Err(Refusal::Action))
    );
}

#[test]
fn a_roster_entry_is_read_and_written_the_same() {
    let text = golden("roster");
    let entry = RosterEntry::decode(&text).unwrap();
    assert_eq!(
        (entry.epoch, entry.stopped_at),
        (7, Some(1_764_000_000_000))
    );
    assert_eq!(json(&entry.encode()), json(&text));
}

#[test]
fn an_order_is_read_and_written_the_same() {
    let text = golden("order");
    let order = Order::decode(&text).unwrap();
    assert_eq!(
        (order.action, order.epoch, order.incarnation),
        (Action::Restart, 7, 2)
    );
    assert_eq!(json(&order.encode()), json(&text));
}

#[test]
fn an_event_is_read_and_written_the_same() {
    let event = event("event");
    assert_eq!(
        (event.kind, event.detail.exit.unwrap().signal),
        (EventKind::Exited, Some(9))
    );
    let written: BTreeMap<String, String> = event
        .encode()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    assert_eq!(written, fields("event"));
}

#[test]
fn an_event_brings_what_became_of_an_order() {
    let event = event("event_order");
    let order = event.detail.order.clone().unwrap();
    assert_eq!(
        (order.id.as_str(), order.action, order.outcome.as_str()),
        ("o-1", Action::Restart, "refused")
    );
    let written = event.encode().map(|(name, value)| (name.to_owned(), value));
    let (written, golden) = (BTreeMap::from(written), fields("event_order"));
    assert_eq!(json(&written["detail"]), json(&golden["detail"]));
}

#[test]
fn an_event_that_cannot_be_is_refused_with_its_field() {
    let fields = fields("event");
    for (name, value) in [("agent", "a b"), ("epoch", "-1")] {
        let mut wrong = fields.clone();
        wrong.insert(name.to_owned(), value.to_owned());
        let error = Event::decode(|name| wrong.get(name).map(String::as_str)).unwrap_err();
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn what_only_describes_an_event_costs_itself() {
    let mut odd = fields("event");
    odd.insert("at".to_owned(), "yesterday".to_owned());
    odd.insert("detail".to_owned(), "{".to_owned());
    let event = Event::decode(|name| odd.get(name).map(String::as_str)).unwrap();
    assert_eq!(
        event.life().unwrap().standing(),
        Standing::Down(Reason::Exited)
    );
    let detail = r#"{"exit":{"signal":9},"pid":-1,"host":7,"life":3,"incarnation":"x"}"#;
    odd.insert("detail".to_owned(), detail.to_owned());
    let event = Event::decode(|name| odd.get(name).map(String::as_str)).unwrap();
    assert_eq!(
        event.life().unwrap().standing(),
        Standing::Down(Reason::Killed)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Beat::decode(&bytes);
    }

    #[test]
    fn no_damage_to_a_good_beat_makes_decoding_panic(at in 0usize..700, byte in any::<u8>()) {
        let mut bytes = golden("beat").into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(beat) = Beat::decode(&bytes) {
            prop_assert!(Beat::decode(beat.encode().as_bytes()).is_ok());
        }
    }
}
