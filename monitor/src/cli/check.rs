//! `check-config` and `alert test`: what the configuration amounts to, without a running monitor.

use crate::alerts;
use crate::config::Config;
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

/// Sends a marked message to one receiver or to all, and prints what each answered.
pub(crate) fn test(config: Config, only: Option<&str>) -> anyhow::Result<u8> {
    let mut receivers = config.receivers;
    if let Some(only) = only {
        let wanted = ReceiverName::parse(only)?;
        receivers.retain(|receiver| receiver.rule.name == wanted);
        anyhow::ensure!(
            !receivers.is_empty(),
            "there is no receiver {only}; see hbmonitor check-config"
        );
    }
    anyhow::ensure!(
        !receivers.is_empty(),
        "the configuration has no [[receiver]]; add one, or name it with --config"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answers = runtime.block_on(alerts::test(receivers, config.public_url))?;
    let failed = answers.iter().any(|(_, error)| error.is_some());
    let line = |(name, error): &(ReceiverName, Option<String>)| match error {
        None => format!("{name}: delivered"),
        Some(error) => format!("{name}: NOT delivered: {error}"),
    };
    print(&answers.iter().map(line).collect::<Vec<_>>());
    Ok(u8::from(failed))
}

fn print(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}"); // a reader that has gone needs nothing more
    }
}
