//! `check-config` and `alert test`: what the configuration amounts to, without a running monitor.

use crate::config::receivers::Receiver;
use crate::config::{CheckArgs, Config, exit};
use heartbeat::base::id::AgentId;
use heartbeat::base::patience::Patience;
use heartbeat::fleet::ladder::policy::{Policy, Severity};
use heartbeat::fleet::ladder::rung::Rung;
use heartbeat::wire::notification::ReceiverName;
use std::io::Write;

/// Why a rung cannot act from here, given the command of its policy.
pub(crate) type Obstacle<'a> = &'a dyn Fn(Rung, &[String]) -> Option<String>;

/// Prints each file, key and receiver that is used, and what the agent that is asked about gets.
/// `obstacle`: why a rung can act on no agent from here, with this command of a policy.
pub(crate) fn config(config: &Config, asked: &CheckArgs, obstacle: Obstacle<'_>) -> u8 {
    let mut lines = vec![match &config.file {
        Some(file) => format!("file      {}", file.display()),
        None => "file      none: flags, environment and defaults".to_owned(),
    }];
    lines.push(match &config.store {
        Some(store) => format!("store     {store}"),
        None => "store     Redis on 127.0.0.1:6379 when it answers, else embedded".to_owned(),
    });
    lines.push(format!("listen    {}", config.listen));
    if let Some(url) = &config.public_url {
        lines.push(format!("url       {url}"));
    }
    lines.push(match &config.state_dir {
        Some(dir) => format!("state     {}", dir.display()),
        None => "state     no directory: an embedded store keeps nothing".to_owned(),
    });
    if let Some(deadman) = &config.deadman {
        lines.push(format!("deadman   {}, each minute", deadman.target));
    }
    if config.alert_patience != Patience::ONE {
        lines.push(format!(
            "patience  {} times the waiting times of alerts",
            config.alert_patience
        ));
    }
    if config.receivers.is_empty() {
        lines.push("receiver  none: no one is notified".to_owned());
    }
    lines.extend(config.receivers.iter().map(described));
    for (place, policy) in config.recovery.policies.iter().enumerate() {
        lines.extend(
            faults(policy, obstacle).map(|fault| format!("policy    {}: {fault}", place + 1)),
        );
    }
    match asked.agent.as_deref().map(AgentId::parse) {
        None => {}
        Some(Ok(agent)) => lines.extend(agent_lines(config, &agent, asked)),
        Some(Err(error)) => {
            hbshell::log_writer::complain("hbmonitor", &format!("--agent: {error}"));
            return exit::USAGE;
        }
    }
    print(&lines);
    exit::SUCCESS
}

/// `receiver  oncall: pagerduty, critical, then team-slack; routing key in /etc/hb/pagerduty`.
fn described(receiver: &Receiver) -> String {
    let rule = &receiver.rule;
    let severities: Vec<&str> = rule.severities.iter().map(|s| s.as_str()).collect();
    let fallback = rule.fallback.as_ref();
    let fallback = fallback.map_or_else(String::new, |name| format!(", then {name}"));
    let (name, kind) = (&rule.name, receiver.kind.word());
    let files = receiver.kind.files();
    let files = match &*files {
        [] => String::new(),
        files => format!("; reads {}", files.join(", ")),
    };
    format!(
        "receiver  {name}: {kind}, {}{fallback}{files}",
        severities.join(" ")
    )
}

/// The rungs that this policy names and that cannot be carried out from here.
fn faults(policy: &Policy, obstacle: Obstacle<'_>) -> impl Iterator<Item = String> {
    // Not named: every rung that applies to an agent.
    let named = policy.ladder != Rung::ALL;
    let ladder = policy.ladder.iter().filter(move |_| named);
    let fault = |rung: &Rung| Some((rung.as_str(), obstacle(*rung, &policy.exec)?));
    let found: Vec<_> = ladder.filter_map(fault).collect();
    found
        .into_iter()
        .map(|(rung, why)| format!("its rung {rung} cannot act: {why}"))
}

/// What an agent gets.
fn agent_lines(config: &Config, agent: &AgentId, asked: &CheckArgs) -> Vec<String> {
    let (kind, host) = (asked.kind.as_deref(), asked.host.as_deref());
    let given = |name: &str, value: Option<&str>| match value {
        Some(value) => format!("{name} {value}"),
        None => format!("{name} not given"),
    };
    let policies = &config.recovery.policies;
    let (known_kind, known_host) = (kind.unwrap_or_default(), host.unwrap_or_default());
    let place = policies.place(agent.as_str(), known_kind, known_host);
    let policy = policies.of(agent.as_str(), known_kind, known_host);
    let mut lines = vec![
        format!(
            "agent     {agent}, {}, {}",
            given("type", kind),
            given("host", host)
        ),
        match place {
            Some(place) => format!("policy    {} of the file", place + 1),
            None => "policy    the default".to_owned(),
        },
    ];
    for (earlier, other) in policies
        .iter()
        .enumerate()
        .take(place.unwrap_or(usize::MAX))
    {
        let depends = [
            (other.matcher.kind.is_some() && kind.is_none(), "--type"),
            (other.matcher.host.is_some() && host.is_none(), "--host"),
        ];
        let wanted: Vec<&str> = depends
            .iter()
            .filter(|(is, _)| *is)
            .map(|(_, flag)| *flag)
            .collect();
        let may = other
            .matcher
            .id
            .as_ref()
            .is_none_or(|id| id.matches(agent.as_str()));
        if may && !wanted.is_empty() {
            lines.push(format!(
                "policy    {} of the file may come first; say {}",
                earlier + 1,
                wanted.join(" and ")
            ));
        }
    }
    lines.extend(deeds(policy));
    lines.extend(recipients(config, policy.severity));
    lines
}

/// What is done for an agent of this policy.
fn deeds(policy: &Policy) -> [String; 3] {
    let ladder: Vec<&str> = policy.ladder.iter().map(|rung| rung.as_str()).collect();
    let auto = match policy.auto {
        true => "hb acts by itself",
        false => "hb proposes, and a person decides (auto = false)",
    };
    let stalled = match policy.restarts_stalled {
        true => "a notice, then a restart",
        false => "a notice",
    };
    [
        format!("ladder    {}", ladder.join(" ")),
        format!("auto      {auto}"),
        format!("stalled   {stalled}"),
    ]
}

/// Who gets a page of this severity, and who gets notices.
fn recipients(config: &Config, page: Severity) -> [String; 3] {
    let gets = |severity: Severity| {
        let all = config.receivers.iter().map(|receiver| &receiver.rule);
        let names: Vec<&str> = all
            .filter(|rule| rule.severities.contains(&severity))
            .map(|rule| rule.name.as_str())
            .collect();
        match &*names {
            [] => "no one".to_owned(),
            names => names.join(" "),
        }
    };
    [
        format!("page      {}: {}", page.as_str(), gets(page)),
        format!("notice    warning: {}", gets(Severity::Warning)),
        format!("notice    info: {}", gets(Severity::Info)),
    ]
}

/// The receivers that are to be tried: this one, or all.
///
/// # Errors
/// There is none.
pub(crate) fn chosen(mut all: Vec<Receiver>, only: Option<&str>) -> anyhow::Result<Vec<Receiver>> {
    if let Some(only) = only {
        all.retain(|receiver| receiver.rule.name.as_str() == only);
        anyhow::ensure!(
            !all.is_empty(),
            "there is no receiver {only}; see hbmonitor check-config"
        );
    }
    anyhow::ensure!(
        !all.is_empty(),
        "the configuration has no [[receiver]]; add one, or name the file with --config"
    );
    Ok(all)
}

/// Prints what each receiver answered to a test; the error of each that did not take it.
pub(crate) fn answers(answers: &[(ReceiverName, Option<String>)]) -> u8 {
    let line = |(name, error): &(ReceiverName, Option<String>)| match error {
        None => format!("{name}: delivered"),
        Some(error) => format!("{name}: NOT delivered: {error}"),
    };
    print(&answers.iter().map(line).collect::<Vec<_>>());
    u8::from(answers.iter().any(|(_, error)| error.is_some()))
}

fn print(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}"); // a reader that has gone needs nothing more
    }
}
