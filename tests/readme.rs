//! What README and docs/ show is true: lines are run as they are written, as agents of the real hbsidecar; settings, flags,
//! `make` targets and links exist.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(
    clippy::panic,
    reason = "a language without an interpreter is a mistake"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use heartbeat::verdict::{RULES, Rule};
use heartbeat::wire::activity::Verdict;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::fleet::{Fleet, path_with_programs};
use support::{clean, program};

const README: &str = include_str!("../README.md");
const ARCHITECTURE: &str = include_str!("../ARCHITECTURE.md");
const DASHBOARD: &str = include_str!("../docs/dashboard.md");
const CLI: &str = include_str!("../docs/cli.md");
const METRICS: &str = include_str!("../docs/metrics.md");
const CONTRACT: &str = include_str!("../docs/contract.md");
const SETTINGS: &str = include_str!("../docs/settings.md");
const ZOO: &str = include_str!("zoo/table.toml");
const VERDICTS: &str = include_str!("../docs/verdicts.md");
const RECOVERY: &str = include_str!("../docs/recovery.md");
const WIRE: &str = include_str!("../docs/wire.md");
const DEVELOPMENT: &str = include_str!("../docs/development.md");
const INSTALL: &str = include_str!("../docs/install.md");
const DOCKER: &str = include_str!("../docs/docker.md");
const SYSTEMD: &str = include_str!("../docs/systemd.md");
const REDIS: &str = include_str!("../docs/redis.md");
const OPERATIONS: &str = include_str!("../docs/operations.md");
const SECURITY: &str = include_str!("../docs/security.md");
const RULES_OF_PROMETHEUS: &str = include_str!("../deploy/prometheus/rules.yaml");
/// Each page with the directory that its links start from.
const PAGES: [(&str, &str); 17] = [
    ("", README),
    ("", ARCHITECTURE),
    ("docs", DASHBOARD),
    ("docs", CLI),
    ("docs", METRICS),
    ("docs", CONTRACT),
    ("docs", SETTINGS),
    ("docs", VERDICTS),
    ("docs", WIRE),
    ("docs", RECOVERY),
    ("docs", DEVELOPMENT),
    ("docs", INSTALL),
    ("docs", DOCKER),
    ("docs", SYSTEMD),
    ("docs", REDIS),
    ("docs", OPERATIONS),
    ("docs", SECURITY),
];

/// The fenced blocks of a text: language and content.
fn blocks(text: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n'))
}

/// The lines that an agent may send, in each language.
fn shown() -> Vec<(&'static str, &'static str)> {
    let section = CONTRACT.split("\n## Send a status line\n").nth(1).unwrap();
    blocks(section.split("\n## ").next().unwrap()).collect()
}

/// The words that run a text of this language.
fn words(language: &str, text: &str, directory: &Path) -> Vec<String> {
    let interpreter: &[&str] = match language {
        "sh" => &["sh", "-c"],
        "python" => &["python3", "-c"],
        "js" => &["node", "-e"],
        "perl" => &["perl", "-e"],
        "ruby" => &["ruby", "-e"],
        "c" => {
            let (source, program) = (directory.join("agent.c"), directory.join("agent"));
            std::fs::write(&source, text).unwrap();
            let mut cc = Command::new("cc");
            cc.args(["-Wall", "-Werror", "-o"])
                .arg(&program)
                .arg(source);
            assert!(cc.status().unwrap().success());
            return vec![program.to_str().unwrap().to_owned()];
        }
        other => panic!("no interpreter for {other}"),
    };
    let words = interpreter.iter().copied().chain([text]);
    words.map(str::to_owned).collect()
}

#[test]
fn every_line_that_is_shown_is_in_the_beat_of_the_agent_that_sends_it() {
    let fleet = Fleet::start();
    let (mut languages, mut programs) = (BTreeSet::new(), BTreeSet::new());
    for (number, (language, text)) in shown().into_iter().enumerate() {
        let id = format!("{language}-{number}");
        let status = fleet.path(&id);
        let words = words(language, text, fleet.place.path());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let flags = ["--status-file", status.to_str().unwrap()];
        let mut agent = fleet.agent(&id, &flags, &words);
        assert_eq!(agent.0.exit_code(), Some(0), "{text}");
        let expected = json!({"lastTask": "build", "lastTaskProgress": 10.0, "state": "stopped"});
        fleet.tells(&id, &expected);
        languages.insert(language);
        programs.extend(text.split_whitespace().next());
    }
    let all = ["c", "js", "perl", "python", "ruby", "sh"];
    assert_eq!(languages.into_iter().collect::<Vec<_>>(), all);
    for program in ["hbsidecar", "systemd-notify"] {
        assert!(programs.contains(program), "{program} is not shown");
    }
}

/// What a program's help says of each flag, in one line.
fn flags(of: &str) -> Vec<(String, String)> {
    let help = clean(&program(of)).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let flag = line.split_whitespace().find(|word| word.starts_with("--"));
        let is_flag = line.trim_start().starts_with('-') && line.starts_with("  ");
        match (flag.filter(|_| is_flag), flags.last_mut()) {
            (Some(flag), _) => {
                let flag = flag.trim_end_matches([',', '.']);
                flags.push((flag.to_owned(), line.to_owned()));
            }
            (None, Some((_, text))) => *text += line,
            (None, None) => {}
        }
    }
    flags.retain(|(flag, _)| !["--help", "--version"].contains(&flag.as_str()));
    assert!(flags.len() > 4, "{of}: {flags:?}");
    flags
}

/// A word that help gives in brackets: of the environment, or a default.
fn in_brackets<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let words = text
        .split(&format!("[{what}: "))
        .nth(1)?
        .split(']')
        .next()?;
    let word = words.split([',', '=']).next()?;
    (!word.contains(' ')).then_some(word)
}

fn missing(of: &str, settings: &str) -> Vec<String> {
    let table = settings.split(&format!("\n| {of} | environment |")).nth(1);
    let table = table.unwrap().split("\n\n").next().unwrap();
    let missing = |(flag, text): (String, String)| {
        let flag = format!("`{flag}`");
        let Some(row) = table.lines().find(|row| row.contains(&flag)) else {
            return Some(format!("{of}: {flag} is not in the table"));
        };
        let words = ["env", "default"].map(|what| in_brackets(&text, what));
        let word = words
            .into_iter()
            .flatten()
            .find(|word| !row.contains(&format!("`{word}`")))?;
        Some(format!("{of}: {flag} is without {word}"))
    };
    flags(of).into_iter().filter_map(missing).collect()
}

#[test]
fn every_flag_is_in_the_table_of_settings_with_its_variable_and_its_default() {
    assert_eq!(missing("hbsidecar", SETTINGS), [""; 0]);
    assert_eq!(missing("hbmonitor", SETTINGS), [""; 0]);
    assert_eq!(
        missing("hbmonitor", &SETTINGS.replace("`--listen`", "")).len(),
        1
    );
}

/// What no page may name because it does not exist: (the page's directory and text) to faults.
fn faults((directory, text): (&str, &str), targets: &str, flags: &[String]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    for link in text.split("](").skip(1) {
        let link = link.split([')', '#']).next().unwrap();
        if !link.is_empty() && !root.join(directory).join(link).exists() {
            faults.push(format!("the link {link} leads nowhere"));
        }
    }
    for target in text
        .split("`make ")
        .skip(1)
        .chain(text.split("\nmake ").skip(1))
    {
        let target = target.split([' ', '`', '\n']).next().unwrap();
        if !targets.contains(&format!("\n{target}:")) {
            faults.push(format!("make {target} is no target"));
        }
    }
    for flag in text.split("`--").skip(1) {
        let name = flag
            .split(|c: char| !c.is_ascii_lowercase() && c != '-')
            .next();
        let flag = format!("--{}", name.unwrap());
        if !flags.contains(&flag) {
            faults.push(format!("{flag} is no flag"));
        }
    }
    faults
}

#[test]
fn every_link_leads_somewhere_and_every_target_and_flag_exists() {
    let makefile = include_str!("../Makefile");
    let commands: [&[&str]; 15] = [
        &["hbsidecar"],
        &["hbsidecar", "notify"],
        &["hbsidecar", "diagnose"],
        &["hbsidecar", "healthcheck"],
        &["hbsidecar", "hooks"],
        &["hbmonitor"],
        &["hbmonitor", "demo"],
        &["hbmonitor", "ls"],
        &["hbmonitor", "show"],
        &["hbmonitor", "events"],
        &["hbmonitor", "incidents"],
        &["hbmonitor", "restart"],
        &["hbmonitor", "recover"],
        &["hbmonitor", "pause"],
        &["hbmonitor", "silence"],
    ];
    let mut flags = vec!["--help".to_owned()];
    for words in commands {
        let mut command = clean(&program(words[0]));
        let help = command.args(&words[1..]).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        flags.extend(help.split_whitespace().filter_map(|word| {
            let name = word.trim_matches(|c: char| "[]().,".contains(c));
            let name = name.trim_end_matches('…').trim_end_matches("...");
            name.starts_with("--").then(|| name.to_owned())
        }));
    }
    let all: Vec<String> = PAGES
        .into_iter()
        .flat_map(|page| faults(page, makefile, &flags))
        .collect();
    assert_eq!(all, [""; 0]);
    let planted = "[x](nowhere.md) `make nothing` `--no-such-flag`";
    assert_eq!(faults(("", planted), makefile, &flags).len(), 3);
}

/// Every place that shows JSON of the wire format shows what the types accept.
#[test]
fn every_alert_has_its_row_in_the_page_of_operations() {
    let names = RULES_OF_PROMETHEUS.lines();
    let names = names.filter_map(|line| line.trim().strip_prefix("- alert: "));
    let without: Vec<&str> = names
        .filter(|name| !OPERATIONS.contains(&format!("| `{name}` |")))
        .collect();
    assert_eq!(without, [""; 0]);
}

/// What a person would type, without what only the person has.
#[test]
fn every_command_of_the_runbooks_is_one() {
    let fleet = Fleet::start();
    let _agent = fleet.agent("writer-1", &[], &["sleep", "1000"]);
    fleet.tells("writer-1", &json!({"state": "healthy"}));
    let lines = blocks(OPERATIONS).flat_map(|(_, text)| text.lines());
    let lines: Vec<&str> = lines.filter(|line| !line.contains("# needs ")).collect();
    assert!(lines.len() > 10, "{lines:?}");
    for line in lines {
        let mut sh = clean("sh".as_ref());
        sh.args(["-c", &line.replace("ID", "writer-1")]);
        sh.env("PATH", path_with_programs());
        sh.env("HB_URL", format!("http://{}", fleet.monitor.address));
        let output = sh.stdin(std::process::Stdio::null()).output().unwrap();
        let code = output.status.code();
        let words = String::from_utf8_lossy(&output.stderr);
        // An agent that is well has no incident: what is asked of one is refused with 1.
        assert!(matches!(code, Some(0 | 1)), "{line}: {code:?} {words}");
        assert!(!words.contains("Usage"), "{line}: {words}");
    }
}

#[test]
fn every_record_that_the_page_of_the_wire_format_shows_can_be_read() {
    let json: Vec<&str> = blocks(WIRE)
        .filter(|(language, _)| *language == "json")
        .map(|(_, text)| text)
        .collect();
    let [beat, order, incident, notice] = json[..] else {
        panic!(
            "a beat, an order, an incident and a notice, not {} blocks",
            json.len()
        );
    };
    let beat = heartbeat::wire::beat::Beat::decode(beat.as_bytes()).unwrap();
    assert_eq!(beat.life().step, 3);
    heartbeat::wire::order::Order::decode(order).unwrap();
    heartbeat::wire::incident::Incident::decode(incident.as_bytes()).unwrap();
    heartbeat::wire::notice::Notice::decode(notice.as_bytes()).unwrap();
}

/// A rule as docs/verdicts.md states it: name, verdict, confidence, promise.
fn stated(rule: &Rule) -> [String; 4] {
    let seconds = rule.after.as_secs();
    let within = match seconds {
        0 => "at once".to_owned(),
        n if n >= 60 && n.is_multiple_of(60) => format!("{} min", n / 60),
        n => format!("{n} s"),
    };
    let verdict = serde_json::to_value(rule.verdict).unwrap();
    let verdict = format!("`{}`", verdict.as_str().unwrap());
    let name = format!("`{}`", rule.id.as_str());
    [name, verdict, rule.confidence().as_str().to_owned(), within]
}

#[test]
fn the_table_of_verdicts_is_the_table_of_rules() {
    let table = VERDICTS.split("\n## What each rule sees\n").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let documented: Vec<[String; 4]> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            [cells[0], cells[2], cells[3], cells[4]].map(str::to_owned)
        })
        .collect();
    let rules: Vec<[String; 4]> = RULES.iter().map(stated).collect();
    assert_eq!(documented, rules);
}

/// Rules that still wait for a program of the zoo. The list may only shrink. Where the kernel shows everything, a proof comes
/// before the second half of them; `tests/verdict` plays those.
const WITHOUT_A_ROW: &[&str] = &[
    "asks-person",
    "pager",
    "background-job",
    "mutex-ring",
    "deadlock",
    "dead-child",
    "held-input",
    "tool-late",
    "same-report-again",
];

#[test]
fn every_rule_that_needs_attention_is_played_by_a_program_of_the_zoo() {
    let played = |rule: &str| ZOO.contains(&format!("\ncause = \"{rule}\"\n"));
    let matters = |rule: &&Rule| rule.verdict.is_flag() || rule.verdict == Verdict::WaitingInput;
    let names = RULES.iter().filter(matters).map(|rule| rule.id.as_str());
    let missing: Vec<&str> = names.filter(|name| !played(name)).collect();
    assert_eq!(
        missing, WITHOUT_A_ROW,
        "rows of tests/zoo/table.toml name them as `cause`"
    );
}
