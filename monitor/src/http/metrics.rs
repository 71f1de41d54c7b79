//! Prometheus text from a snapshot: a function.

use heartbeat::fleet::machine::Snapshot;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Every figure of the monitor, in the text format 0.0.4.
pub(crate) fn text(snapshot: &Snapshot, dropped: &BTreeMap<&'static str, u64>) -> String {
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
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, label: &str, value: &str, count: u64) {
        let _ = writeln!(self.0, "{name}{{{label}=\"{value}\"}} {count}");
    }
}
