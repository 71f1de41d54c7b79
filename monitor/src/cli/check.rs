//! `hbmonitor check`: one line and an exit code, as Nagios reads them.

use super::agents::Shown;
use super::terminal::Terminal;
use heartbeat::base::duration::format_duration;
use heartbeat::base::duration::format_short;
use heartbeat::fleet::word::{Rank, Word};
use serde_json::Value;
use std::time::Duration;

/// Agents and incidents that are named.
const NAMED: usize = 5;

/// What a check found: the exit code and the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) code: u8,
    pub(super) line: String,
}

/// The monitor cannot say.
pub(super) fn unknown(why: &str) -> Finding {
    let why = why.lines().next().unwrap_or_default();
    Finding {
        code: 3,
        line: format!("UNKNOWN: {why}"),
    }
}

/// What the agents, the open incidents and the gates amount to.
pub(super) fn finding(
    agents: &[Shown],
    incidents: &Value,
    status: &Value,
    terminal: &Terminal,
) -> Finding {
    let now = terminal.now_ms;
    let gates = status["gates"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let blind = gates
        .iter()
        .find(|gate| gate["gate"] == "blind" && gate["until"].is_null());
    if let Some(gate) = blind {
        let since = now.saturating_sub(gate["since"].as_u64().unwrap_or(now));
        let since = format_duration(Duration::from_secs(since / 1000));
        return unknown(&format!(
            "hb is BLIND, the store has not answered for {since}"
        ));
    }
    let notices: Vec<&Shown> = agents.iter().filter(|agent| is_notice(agent)).collect();
    let open = incidents["incidents"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let figures = figures(agents, notices.len());
    let counted = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    if !open.is_empty() {
        let named = open.iter().take(NAMED).map(|one| incident(one, now));
        let named: Vec<String> = named.collect();
        let more = match notices.len() {
            0 => String::new(),
            n => format!("; {}", counted(n, "notice")),
        };
        let line = format!(
            "CRITICAL: {}: {}{more} | {figures}",
            counted(open.len(), "incident"),
            named.join(", ")
        );
        return Finding { code: 2, line };
    }
    let failed = agents
        .iter()
        .filter(|agent| agent.json["state"] == "failed")
        .count();
    if failed > 0 {
        let line = format!("CRITICAL: {} failed | {figures}", counted(failed, "agent"));
        return Finding { code: 2, line };
    }
    if !notices.is_empty() {
        let named = notices.iter().take(NAMED).map(|agent| {
            let age = format_short(agent.age(now));
            format!("{} {} {age}", agent.id, agent.word.text())
        });
        let named: Vec<String> = named.collect();
        let line = format!(
            "WARNING: {}: {} | {figures}",
            counted(notices.len(), "notice"),
            named.join(", ")
        );
        return Finding { code: 1, line };
    }
    let line = format!(
        "OK: {}, all well | {figures}",
        counted(agents.len(), "agent")
    );
    Finding { code: 0, line }
}

/// What a person should see while the beats come, or one late beat.
fn is_notice(agent: &Shown) -> bool {
    match agent.word.rank() {
        Rank::NeedsYou => agent.json["state"] == "healthy",
        Rank::OnIt => agent.word == Word::Missing,
        Rank::Unknown | Rank::AtWork | Rank::AtRest | Rank::Stopped => false,
    }
}

fn figures(agents: &[Shown], notices: usize) -> String {
    let count = |state: &str| {
        agents
            .iter()
            .filter(|agent| agent.json["state"] == state)
            .count()
    };
    format!(
        "healthy={} missing={} failed={} stopped={} notices={notices}",
        count("healthy"),
        count("missing"),
        count("failed"),
        count("stopped")
    )
}

/// `billing-sync hung 1 min`.
fn incident(one: &Value, now_ms: u64) -> String {
    let age = now_ms.saturating_sub(one["openedAt"].as_u64().unwrap_or(now_ms));
    let age = format_short(Duration::from_millis(age));
    format!(
        "{} {} {age}",
        super::incidents::subject(one),
        super::incidents::reason(one)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(agents: &[Value], incidents: Value, status: Value) -> Finding {
        let agents: Vec<Shown> = agents.iter().cloned().map(Shown::of).collect();
        finding(&agents, &incidents, &status, &Terminal::plain_at(1_000_000))
    }

    fn agent(id: &str, verdict: &str, attention: Value) -> Value {
        json!({"agentId": id, "state": "healthy", "attention": attention,
               "activity": {"verdict": verdict, "since": 640_000}})
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst() {
        let calm = agent("a", "working", Value::Null);
        let stalled = agent("indexer-2", "stalled", "you".into());
        let fine = check(std::slice::from_ref(&calm), json!({}), json!({}));
        assert_eq!(
            fine.line,
            "OK: 1 agent, all well | healthy=1 missing=0 failed=0 stopped=0 notices=0"
        );
        let warned = check(&[calm, stalled.clone()], json!({}), json!({}));
        assert_eq!(
            (warned.code, &*warned.line),
            (
                1,
                "WARNING: 1 notice: indexer-2 stalled 6 min | healthy=2 missing=0 failed=0 stopped=0 notices=1"
            )
        );
        let open = json!({"incidents": [{"agents": ["scraper-1"], "scope": "agent", "reason": "crash_loop", "openedAt": 340_000}]});
        let critical = check(&[stalled], open, json!({}));
        assert_eq!(
            (critical.code, &*critical.line),
            (
                2,
                "CRITICAL: 1 incident: scraper-1 crash loop 11 min; 1 notice | healthy=1 missing=0 failed=0 stopped=0 notices=1"
            )
        );
        let blind = json!({"gates": [{"gate": "blind", "since": 959_000}]});
        let unknown = check(&[], json!({}), blind);
        assert_eq!(
            (unknown.code, &*unknown.line),
            (
                3,
                "UNKNOWN: hb is BLIND, the store has not answered for 41 s"
            )
        );
    }
}
