//! What metrics have of the alerts.

use super::*;
use crate::alerts::exchange::Suppressed;
use crate::wire::silence::{Matcher, Silence};

fn not_sent(stage: &Stage, why: Suppressed) -> u64 {
    stage.alerts.view().suppressed[&why]
}

#[test]
fn every_reason_and_severity_is_there_from_the_start() {
    let view = Stage::new(vec![receiver("team")]).alerts.view();
    assert_eq!(view.suppressed.len(), Suppressed::ALL.len());
    assert_eq!(
        (view.suppressed.values().sum::<u64>(), view.firing.len()),
        (0, 3)
    );
}

#[test]
fn what_was_not_sent_is_counted_once_by_why() {
    let mut stage = Stage::new(vec![receiver("team")]);
    let back = stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.closes(&back);
    let cared_for = stage.opens(2, "h2", Reason::Exited, &["a2"]);
    stage.incidents.get_mut(&cared_for).unwrap().acked_by = Some("ann".to_owned());
    stage.reports(&cared_for);
    stage.run(60);
    stage.closes(&cared_for);
    let wall_ms = stage.now().wall_ms;
    stage.input(AlertsInput::Silences(vec![Silence {
        id: IncidentId::new(wall_ms, 9),
        matchers: vec![Matcher::equal("agent", "a3")],
        starts_at: wall_ms,
        ends_at: wall_ms + 600_000,
        created_by: "ann".to_owned(),
        comment: String::new(),
    }]));
    let silenced = stage.opens(3, "h3", Reason::Exited, &["a3"]);
    stage.run(60);
    stage.closes(&silenced);
    assert!(stage.got.is_empty());
    for why in [
        Suppressed::Recovered,
        Suppressed::Acknowledged,
        Suppressed::Silenced,
    ] {
        assert_eq!(not_sent(&stage, why), 1, "{why:?}");
    }
    stage.opens(4, "h4", Reason::Exited, &["a4"]);
    stage.opens(5, "h4", Reason::Exited, &["a5"]);
    stage.run(60);
    assert_eq!(stage.occasions("team"), [Occasion::Firing]);
    assert_eq!(not_sent(&stage, Suppressed::Grouped), 1);
    assert_eq!(stage.alerts.view().firing[&Severity::Critical], 1);
}

#[test]
fn a_delivery_is_as_late_as_its_receiver_was_away() {
    let mut stage = Stage::new(vec![receiver("team")]);
    stage.sick.insert("team", failed());
    stage.opens(1, "h1", Reason::Exited, &["a1"]);
    stage.run(40);
    stage.sick.clear();
    stage.run(120);
    let (_, count, sum) = stage.alerts.view().receivers[0].latency.read();
    assert_eq!(count, 1);
    assert!((30.0..150.0).contains(&sum), "{sum} s");
}
