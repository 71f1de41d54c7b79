//! `check-config` and `alert test`: what the configuration amounts to, without a running monitor.

use crate::config::Config;
use crate::config::receivers::Receiver;
use heartbeat::wire::notification::ReceiverName;
use std::io::Write;

/// Prints each file, key and receiver that is used.
pub(crate) fn config(config: &Config) -> u8 {
    let mut lines = vec![match &config.file {
        Some(file) => format!("file      {}", file.display()),
        None => "file      none: flags, environment and defaults".to_owned(),
    }];
    lines.push(format!("listen    {}", config.listen));
    if let Some(url) = &config.public_url {
        lines.push(format!("url       {url}"));
    }
    lines.push(match &config.state_dir {
        Some(dir) => format!("state     {}", dir.display()),
        None => "state     no directory: an embedded store keeps nothing".to_owned(),
    });
    if config.receivers.is_empty() {
        lines.push("receiver  none: no one is notified".to_owned());
    }
    for receiver in &config.receivers {
        let rule = &receiver.rule;
        let severities: Vec<&str> = rule.severities.iter().map(|s| s.as_str()).collect();
        let fallback = rule.fallback.as_ref();
        let fallback = fallback.map_or_else(String::new, |name| format!(", then {name}"));
        let (name, kind) = (&rule.name, receiver.kind.word());
        lines.push(format!(
            "receiver  {name}: {kind}, {}{fallback}",
            severities.join(" ")
        ));
    }
    print(&lines);
    0
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
