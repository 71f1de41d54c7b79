//! Prometheus text from a snapshot: a function.

use crate::reload::Reading;
use heartbeat::alerts::exchange::{AlertsView, ReceiverView};
use heartbeat::fleet::machine::Snapshot;
use heartbeat::wire::incident::GateKind;
use heartbeat::wire::word;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Every figure of the monitor, in the text format 0.0.4.
pub(crate) fn text(
    snapshot: &Snapshot,
    dropped: &BTreeMap<&'static str, u64>,
    readers: usize,
    alerts: &AlertsView,
    reading: &Reading,
) -> String {
    let counts = snapshot.counts;
    let beats = snapshot.beats;
    let mut page = Page::default();
    page.family("hb_agents", "gauge", "Agents by state.");
    for (state, count) in [
        ("healthy", counts.healthy),
        ("missing", counts.missing),
        ("failed", counts.failed),
        ("stopped", counts.stopped),
    ] {
        page.line("hb_agents", "state", state, count as u64);
    }
    page.family(
        "hb_beats_total",
        "counter",
        "Beats received, by result (applied: changed something; doubted: implausible, or of a second producer).",
    );
    for (result, count) in [
        ("applied", beats.applied),
        ("known", beats.known),
        ("duplicate", beats.duplicate),
        ("outdated", beats.outdated),
        ("doubted", beats.implausible),
        ("refused", beats.refused),
    ] {
        page.line("hb_beats_total", "result", result, count);
    }
    page.family(
        "hb_dropped_total",
        "counter",
        "Payloads dropped because they were malformed or a queue was full, by kind.",
    );
    for (kind, count) in dropped {
        page.line("hb_dropped_total", "kind", kind, *count);
    }
    page.family(
        "hb_store_up",
        "gauge",
        "1 while hbmonitor is connected to the store, else 0.",
    );
    page.0.push_str(if snapshot.link_up {
        "hb_store_up 1\n"
    } else {
        "hb_store_up 0\n"
    });
    page.family("hb_sse_clients", "gauge", "Readers that follow /v1/events.");
    let _ = writeln!(page.0, "hb_sse_clients {readers}");
    page.watch(snapshot);
    page.alerts(alerts);
    page.family(
        "hb_config_last_reload_successful",
        "gauge",
        "1 when the configuration was taken the last time it was read, else 0.",
    );
    let taken = u8::from(reading.error.is_none());
    let _ = writeln!(page.0, "hb_config_last_reload_successful {taken}");
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Gates, incidents, the link and the bounds of the fleet.
    fn watch(&mut self, snapshot: &Snapshot) {
        let watch = &snapshot.watch;
        let closed = |kind| watch.gates.iter().filter(|gate| gate.gate == kind).count();
        self.family(
            "hb_gate_closed",
            "gauge",
            "Gates that are closed, by gate; a storm counts once a host and once for the fleet.",
        );
        for kind in [
            GateKind::Tilt,
            GateKind::Blind,
            GateKind::Storm,
            GateKind::MassCrash,
            GateKind::Paused,
        ] {
            self.line("hb_gate_closed", "gate", &word(&kind), closed(kind) as u64);
        }
        let bounds = snapshot.bounds;
        let round_trip = watch.round_trip.unwrap_or_default().as_secs_f64();
        let single: [(&str, &str, &str, f64); 7] = [
            (
                "hb_incidents_open",
                "gauge",
                "Incidents that are open.",
                watch.incidents.open.len() as f64,
            ),
            (
                "hb_store_round_trip_seconds",
                "gauge",
                "The time that answers of the store usually take.",
                round_trip,
            ),
            (
                "hb_fleet_agents_max",
                "gauge",
                "Agents that are kept at most.",
                bounds.agents_max as f64,
            ),
            (
                "hb_fleet_bytes",
                "gauge",
                "Estimated memory of all agents.",
                bounds.bytes as f64,
            ),
            (
                "hb_fleet_bytes_max",
                "gauge",
                "Its limit.",
                bounds.bytes_max as f64,
            ),
            (
                "hb_fleet_left_total",
                "counter",
                "Agents that left because their time was over, or for a newcomer.",
                bounds.left as f64,
            ),
            (
                "hb_fleet_refused_total",
                "counter",
                "Messages of new agents that were refused because the fleet was full.",
                snapshot.beats.refused as f64,
            ),
        ];
        for (name, kind, help, value) in single {
            self.family(name, kind, help);
            let _ = writeln!(self.0, "{name} {value}");
        }
    }

    /// Receivers and pages.
    fn alerts(&mut self, alerts: &AlertsView) {
        type Figure = fn(&ReceiverView) -> u64;
        let families: [(&str, &str, &str, Figure); 4] = [
            (
                "hb_notifications_total",
                "counter",
                "Notifications that a receiver took.",
                |r| r.delivered,
            ),
            (
                "hb_notifications_failed_total",
                "counter",
                "Attempts that a receiver did not take.",
                |r| r.failed,
            ),
            (
                "hb_notifications_queued",
                "gauge",
                "Notifications that wait for a receiver.",
                |r| r.queued as u64,
            ),
            (
                "hb_receiver_up",
                "gauge",
                "1 while a receiver takes notifications, else 0.",
                |r| u64::from(r.error.is_none()),
            ),
        ];
        for (name, kind, help, figure) in families {
            self.family(name, kind, help);
            for receiver in &alerts.receivers {
                self.line(name, "receiver", receiver.name.as_str(), figure(receiver));
            }
        }
        self.family(
            "hb_alerts_firing",
            "gauge",
            "Pages that receivers know of and that are not over.",
        );
        let _ = writeln!(self.0, "hb_alerts_firing {}", alerts.pages);
    }

    fn line(&mut self, name: &str, label: &str, value: &str, count: u64) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {count}");
    }
}
