//! Prometheus text from a snapshot: a function. Labels have few values, but for the agent's name; nothing that others wrote
//! freely (a task, a sentence) is one.

mod agents;
mod process;
mod text;

use crate::reload::Reading;
use crate::tallies::Figures;
use heartbeat::alerts::exchange::{AlertsView, ReceiverView};
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::fleet::machine::Snapshot;
use heartbeat::wire::incident::GateKind;
use heartbeat::wire::word;
use std::collections::BTreeMap;
use text::{Kind, Page};

/// Kinds of dropped payloads that did not come as beats.
const ELSEWHERE: [&str; 10] = [
    "event",
    "hash",
    "roster",
    "incident",
    "notification",
    "silence",
    "timeline",
    "pause",
    "refused_write",
    "overrun",
];

/// What a page is made of, beside the snapshot.
#[derive(Debug)]
pub(crate) struct Beside<'a> {
    /// Payloads that were dropped, by kind.
    pub(crate) dropped: &'a BTreeMap<&'static str, u64>,
    /// Readers of `/v1/events`.
    pub(crate) readers: usize,
    pub(crate) alerts: &'a AlertsView,
    pub(crate) reading: &'a Reading,
    pub(crate) figures: &'a Figures,
    /// Unix milliseconds.
    pub(crate) wall_ms: u64,
}

/// Every figure of the monitor, in the text format 0.0.4.
pub(crate) fn text(snapshot: &Snapshot, beside: &Beside<'_>) -> String {
    let mut page = Page::default();
    page.family(
        "hb_build_info",
        Kind::Gauge,
        "1, with the version of hbmonitor and the commit that it was built from, where that is known.",
    );
    let built = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", option_env!("HB_REVISION").unwrap_or_default()),
    ];
    page.line("hb_build_info", &built, 1);
    page.counts(snapshot, beside);
    page.store(snapshot, beside.figures);
    page.watch(snapshot, beside.wall_ms);
    page.recovery(beside.figures);
    page.alerts(beside.alerts);
    page.own(beside);
    agents::write(&mut page, snapshot, beside.figures);
    process::write(&mut page);
    page.0
}

/// Payloads of the channel that are no beat.
fn malformed(dropped: &BTreeMap<&'static str, u64>) -> u64 {
    let other = |kind: &str| ELSEWHERE.contains(&kind);
    let beats = dropped.iter().filter(|(kind, _)| !other(kind));
    beats.map(|(_, count)| count).sum()
}

impl Page {
    /// Agents by state, beats by what became of them.
    fn counts(&mut self, snapshot: &Snapshot, beside: &Beside<'_>) {
        let (counts, beats) = (snapshot.counts, snapshot.beats);
        self.family("hb_agents", Kind::Gauge, "Agents by state.");
        for (state, count) in [
            ("healthy", counts.healthy),
            ("missing", counts.missing),
            ("failed", counts.failed),
            ("stopped", counts.stopped),
        ] {
            self.line("hb_agents", &[("state", state)], count);
        }
        self.family(
            "hb_sidecars",
            Kind::Gauge,
            "Agents that have not stopped, by the version of their sidecar; empty where it is not reported.",
        );
        for (version, count) in snapshot.versions.listed() {
            let version = version.map_or_else(String::new, |version| version.to_string());
            self.line("hb_sidecars", &[("version", &version)], count);
        }
        self.family(
            "hb_beats_total",
            Kind::Counter,
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
            self.line("hb_beats_total", &[("result", result)], count);
        }
        self.family(
            "hb_heartbeats_rejected_total",
            Kind::Counter,
            "Beats that changed nothing, by reason (stale: of a replaced epoch, or again; clock_skew: a number that cannot be, or a second producer; malformed; fleet_full).",
        );
        for (reason, count) in [
            ("stale", beats.outdated + beats.duplicate),
            ("clock_skew", beats.implausible),
            ("malformed", malformed(beside.dropped)),
            ("fleet_full", beats.refused),
        ] {
            self.line("hb_heartbeats_rejected_total", &[("reason", reason)], count);
        }
        self.family(
            "hb_dropped_total",
            Kind::Counter,
            "Payloads dropped because they were malformed or a queue was full, by kind.",
        );
        for (kind, count) in beside.dropped {
            self.line("hb_dropped_total", &[("kind", kind)], count);
        }
    }

    fn store(&mut self, snapshot: &Snapshot, figures: &Figures) {
        self.single(
            "hb_store_up",
            Kind::Gauge,
            "1 while hbmonitor is connected to the store, else 0.",
            u8::from(snapshot.link_up),
        );
        self.single(
            "hb_store_errors_total",
            Kind::Counter,
            "Connections to the store that were lost.",
            figures.links_lost,
        );
        let name = "hb_store_operation_duration_seconds";
        self.family(
            name,
            Kind::Histogram,
            "Answers of the store to a batch of questions.",
        );
        self.histogram(name, &[("op", "batch")], &figures.answers);
        let round_trip = snapshot.watch.round_trip.unwrap_or_default();
        self.single(
            "hb_store_round_trip_seconds",
            Kind::Gauge,
            "The time that answers of the store usually take.",
            round_trip.as_secs_f64(),
        );
    }

    /// Gates, incidents, silences and the bounds of the fleet.
    fn watch(&mut self, snapshot: &Snapshot, wall_ms: u64) {
        let (watch, bounds) = (&snapshot.watch, snapshot.bounds);
        let closed = |kind| watch.gates.iter().filter(|gate| gate.gate == kind).count();
        self.family(
            "hb_gate_closed",
            Kind::Gauge,
            "Gates that are closed, by gate; a storm counts once a host and once for the fleet.",
        );
        for kind in [
            GateKind::Tilt,
            GateKind::Blind,
            GateKind::Storm,
            GateKind::MassCrash,
            GateKind::Paused,
        ] {
            self.line("hb_gate_closed", &[("gate", &word(&kind))], closed(kind));
        }
        let in_force = watch.silences.values();
        let in_force = in_force.filter(|one| one.starts_at <= wall_ms && wall_ms < one.ends_at);
        let gauges = [
            ("hb_silences_active", "Silences in force.", in_force.count()),
            (
                "hb_incidents_open",
                "Incidents that are open.",
                watch.incidents.open.len(),
            ),
            (
                "hb_fleet_agents_max",
                "Agents that are kept at most.",
                bounds.agents_max,
            ),
            (
                "hb_fleet_bytes",
                "Estimated memory of all agents.",
                bounds.bytes,
            ),
            ("hb_fleet_bytes_max", "Its limit.", bounds.bytes_max),
        ];
        for (name, help, value) in gauges {
            self.single(name, Kind::Gauge, help, value);
        }
        self.single(
            "hb_fleet_left_total",
            Kind::Counter,
            "Agents that left because their time was over, or for a newcomer.",
            bounds.left,
        );
        self.single(
            "hb_fleet_refused_total",
            Kind::Counter,
            "Messages of new agents that were refused because the fleet was full.",
            snapshot.beats.refused,
        );
    }

    /// Detections and rungs.
    fn recovery(&mut self, figures: &Figures) {
        self.family(
            "hb_detections_total",
            Kind::Counter,
            "Failures and stuck agents, by how they were detected.",
        );
        for (kind, count) in &figures.detections {
            self.line("hb_detections_total", &[("kind", kind)], count);
        }
        let name = "hb_detection_delay_seconds";
        self.family(
            name,
            Kind::Histogram,
            "From the last beat to the failure that its absence means.",
        );
        self.histogram(name, &[("kind", "heartbeat_missed")], &figures.silence);
        let families = [
            (
                "hb_recovery_attempts_total",
                "Rungs of recovery that began.",
                &figures.attempts,
            ),
            (
                "hb_recovery_failures_total",
                "Rungs that did not bring their agent back.",
                &figures.failures,
            ),
        ];
        for (name, help, counts) in families {
            self.family(name, Kind::Counter, help);
            for rung in Rung::ALL.map(Rung::as_str) {
                self.line(
                    name,
                    &[("rung", rung)],
                    counts.get(rung).copied().unwrap_or(0),
                );
            }
        }
        let name = "hb_recovery_duration_seconds";
        self.family(
            name,
            Kind::Histogram,
            "From the beginning of a rung to the beat that proved it.",
        );
        for (rung, durations) in &figures.durations {
            self.histogram(name, &[("rung", rung)], durations);
        }
    }

    /// Receivers and pages.
    fn alerts(&mut self, alerts: &AlertsView) {
        type Figure = fn(&ReceiverView) -> u64;
        let families: [(&str, Kind, &str, Figure); 4] = [
            (
                "hb_notifications_total",
                Kind::Counter,
                "Notifications that a receiver took.",
                |r| r.delivered,
            ),
            (
                "hb_notifications_failed_total",
                Kind::Counter,
                "Attempts that a receiver did not take.",
                |r| r.failed,
            ),
            (
                "hb_notifications_queued",
                Kind::Gauge,
                "Notifications that wait for a receiver.",
                |r| r.queued as u64,
            ),
            (
                "hb_receiver_up",
                Kind::Gauge,
                "1 while a receiver takes notifications, else 0.",
                |r| u64::from(r.error.is_none()),
            ),
        ];
        for (name, kind, help, figure) in families {
            self.family(name, kind, help);
            for receiver in &alerts.receivers {
                let labels = [("receiver", receiver.name.as_str())];
                self.line(name, &labels, figure(receiver));
            }
        }
        let name = "hb_notification_latency_seconds";
        self.family(
            name,
            Kind::Histogram,
            "From when a notification was due to when its receiver took it.",
        );
        for receiver in &alerts.receivers {
            let labels = [("receiver", receiver.name.as_str())];
            self.histogram(name, &labels, &receiver.latency);
        }
        let name = "hb_notifications_suppressed_total";
        self.family(
            name,
            Kind::Counter,
            "Pages, or parts of one, that were not sent, by why.",
        );
        for (why, count) in &alerts.suppressed {
            self.line(name, &[("reason", why.as_str())], count);
        }
        let name = "hb_alerts_firing";
        self.family(
            name,
            Kind::Gauge,
            "Pages that receivers know of and that are not over.",
        );
        for (severity, count) in &alerts.firing {
            self.line(name, &[("severity", &word(severity))], count);
        }
        self.single(
            "hb_pages_held",
            Kind::Gauge,
            "Pages that are held back: grouped, explained by another, acknowledged, flapping or back before they were due.",
            alerts.muted,
        );
    }

    /// hbmonitor itself.
    fn own(&mut self, beside: &Beside<'_>) {
        let reading = beside.reading;
        self.single(
            "hb_config_last_reload_successful",
            Kind::Gauge,
            "1 when the configuration was taken the last time it was read, else 0.",
            u8::from(reading.error.is_none()),
        );
        self.single(
            "hb_config_last_reload_success_timestamp_seconds",
            Kind::Gauge,
            "When a configuration was last taken.",
            reading.taken_at as f64 / 1000.0,
        );
        self.single(
            "hb_sse_clients",
            Kind::Gauge,
            "Readers that follow /v1/events.",
            beside.readers,
        );
        let name = "hb_tick_duration_seconds";
        self.family(
            name,
            Kind::Histogram,
            "The work of one turn of the loop that owns the fleet.",
        );
        self.histogram(name, &[], &beside.figures.ticks);
    }
}
