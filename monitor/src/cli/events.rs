//! `hbmonitor events`: what changed, and with `-f` what changes.

use super::client::{Client, ClientError};
use super::terminal::{Terminal, hint, plain, print, reader_has_gone};
use heartbeat::fleet::ladder::exchange::RungOutcome;
use heartbeat::fleet::word::{Word, code, reason_text};
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::life::Reason;
use serde_json::Value;
use std::time::Duration;

/// Events that stand before those that come.
const RECENT: usize = 100;
/// Between two tries to reach a monitor that does not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Columns of a name, so that most lines stand below each other.
const NAME_COLUMNS: usize = 16;

/// Which events are printed, and how.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) follows: bool,
    pub(super) agent: Option<String>,
    pub(super) as_json: bool,
}

/// One event of the stream.
#[derive(Debug, Default)]
struct Event {
    id: Option<u64>,
    kind: String,
    data: Value,
}

/// Takes the stream apart, line by line.
#[derive(Debug, Default)]
struct Reader {
    text: Vec<u8>,
    event: Event,
}

enum Item {
    Event(Event),
    /// What was there before the request is complete.
    Live,
}

/// Prints events; with `follows` until it is interrupted.
pub(super) async fn run(client: &Client, wanted: &Wanted) -> Result<(), ClientError> {
    let terminal = Terminal::detect(false);
    let mut last = None;
    let mut lost_at: Option<String> = None;
    loop {
        let outcome = read(client, wanted, &terminal, &mut last, &mut lost_at).await;
        match outcome {
            Ok(()) if !wanted.follows => return Ok(()),
            _ if reader_has_gone() => return Ok(()),
            Err(error) if last.is_none() => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if lost_at.is_none() {
            let now = clock();
            hint(&format!("{now}  hbmonitor does not answer, trying again"));
            lost_at = Some(now);
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

async fn read(
    client: &Client,
    wanted: &Wanted,
    terminal: &Terminal,
    last: &mut Option<u64>,
    lost_at: &mut Option<String>,
) -> Result<(), ClientError> {
    let path = format!("/v1/events?recent={RECENT}");
    let mut stream = client.stream(&path, *last, "events").await?;
    let mut reader = Reader::default();
    let mut caught_up = 0;
    while let Some(bytes) = stream.next().await {
        // The monitor's comments come when nothing else does, so it is noticed within 15 s.
        if reader_has_gone() {
            return Ok(());
        }
        for item in reader.take(&bytes) {
            match item {
                Item::Live if !wanted.follows => return Ok(()),
                Item::Live => {
                    last.get_or_insert(0);
                    if lost_at.take().is_some() {
                        hint(&format!(
                            "{}  connected again, {caught_up} events caught up",
                            clock()
                        ));
                    }
                }
                Item::Event(event) => {
                    *last = event.id.or(*last);
                    if event.kind == "reset" {
                        let from = lost_at.take().unwrap_or_default();
                        let now = clock();
                        hint(&format!(
                            "{now}  events between {from} and {now} are lost (buffer of 10,000)"
                        ));
                        continue;
                    }
                    caught_up += 1;
                    show(&event, wanted, terminal);
                }
            }
        }
    }
    Ok(())
}

fn show(event: &Event, wanted: &Wanted, terminal: &Terminal) {
    if !wanted
        .agent
        .as_ref()
        .is_none_or(|agent| concerns(event, agent))
    {
        return;
    }
    if wanted.as_json {
        let mut json = event.data.clone();
        json["event"] = event.kind.clone().into();
        json["number"] = event.id.into();
        print(&json.to_string());
    } else if let Some(line) = line(event, terminal) {
        print(&line);
    }
}

fn concerns(event: &Event, agent: &str) -> bool {
    let named = event.data["agents"].as_array();
    event.data["agentId"] == agent
        || named.is_some_and(|agents| agents.iter().any(|one| one == agent))
}

fn line(event: &Event, terminal: &Terminal) -> Option<String> {
    let data = &event.data;
    let text = |name: &str| plain(data[name].as_str().unwrap_or_default());
    let at = terminal.time(data["at"].as_u64()?);
    let (word, name, what) = match event.kind.as_str() {
        "state" => {
            let reason: Option<Reason> = serde_json::from_value(data["reason"].clone()).ok();
            let reason =
                reason.map_or_else(String::new, |reason| format!(" ({})", reason_text(reason)));
            let from = data["from"].as_str().unwrap_or("new");
            let word = match data["to"].as_str() {
                Some("failed") => Word::Failed,
                Some("missing") => Word::Missing,
                Some("stopped") => Word::Stopped,
                Some(_) | None => Word::Healthy,
            };
            let arrow = if terminal.is_unicode() { "→" } else { "->" };
            let what = format!(
                "{from} {arrow} {}{reason}: {}",
                text("to"),
                text("sentence")
            );
            (word, text("agentId"), what)
        }
        "notice" => {
            let verdict: Option<Verdict> = serde_json::from_value(data["to"].clone()).ok();
            let word = verdict.map_or(Word::Healthy, Word::of_verdict);
            (
                word,
                text("agentId"),
                format!("{}: {}", word.text(), text("sentence")),
            )
        }
        "incident" if is_shown(data) => {
            let word = if data["change"] == "closed" {
                Word::Healthy
            } else {
                Word::Failed
            };
            let what = format!("incident {}: {}", text("change"), text("sentence"));
            (word, super::incidents::subject(data), what)
        }
        "rung" => (rung_word(data), text("agentId"), rung_text(data)),
        "gate" => {
            let word = if data["change"] == "closed" {
                Word::Paused
            } else {
                Word::Healthy
            };
            let gate = code(&text("gate")).to_uppercase().replace('_', " ");
            (
                word,
                gate,
                format!("gate {}: {}", text("change"), text("sentence")),
            )
        }
        _ => return None, // shown by other lines, or of a newer monitor
    };
    let mark = terminal.paint(word, &terminal.glyph(word).to_string());
    Some(format!(
        "{at}  {mark} {}  {what}",
        super::terminal::left(&name, NAME_COLUMNS)
    ))
}

/// The states and rungs of an agent say what happens to it; an incident of several is one line when it opens and closes.
fn is_shown(incident: &Value) -> bool {
    incident["agentCount"] != 1 && incident["change"] != "updated"
}

/// A turning arrow while it is under way, then how it ended.
fn rung_word(data: &Value) -> Word {
    match data["outcome"].as_str() {
        None => Word::Returning,
        Some(outcome) if outcome == RungOutcome::Recovered.as_str() => Word::Healthy,
        Some(_) => Word::Failed,
    }
}

fn rung_text(data: &Value) -> String {
    let text = |name: &str| plain(data[name].as_str().unwrap_or_default());
    let (sentence, detail) = (text("sentence"), text("detail"));
    if detail.is_empty() {
        return sentence;
    }
    format!("{sentence}: {detail}")
}

fn clock() -> String {
    let terminal = Terminal::detect(false);
    terminal.time(terminal.now_ms)
}

impl Reader {
    fn take(&mut self, bytes: &[u8]) -> Vec<Item> {
        self.text.extend_from_slice(bytes);
        let mut items = Vec::new();
        while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(':') {
                Some(("", comment)) if comment.trim() == "live" => items.push(Item::Live),
                Some(("event", kind)) => self.event.kind = kind.trim().to_owned(),
                Some(("id", id)) => self.event.id = id.trim().parse().ok(),
                Some(("data", data)) => {
                    self.event.data = serde_json::from_str(data).unwrap_or_default()
                }
                Some(_) => {}
                None if self.event.kind.is_empty() => {}
                None => items.push(Item::Event(std::mem::take(&mut self.event))),
            }
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rung_is_a_line_when_it_begins_and_when_it_ends() {
        let of = |outcome: Value, sentence: &str, detail: &str| {
            let data = json!({"at": 0, "agentId": "w1", "outcome": outcome, "sentence": sentence, "detail": detail});
            let event = Event {
                id: Some(1),
                kind: "rung".to_owned(),
                data,
            };
            let line = line(&event, &Terminal::plain_at(0)).unwrap();
            line.split_once("  ").unwrap().1.to_owned()
        };
        assert_eq!(
            of(Value::Null, "rung 1, docker: hb restarts its container", ""),
            "↻ w1                rung 1, docker: hb restarts its container"
        );
        assert_eq!(
            of(
                "failed".into(),
                "rung 1, docker: did not help after 58 s",
                "no \u{1b}[31m"
            ),
            "✖ w1                rung 1, docker: did not help after 58 s: no \\u{1b}[31m"
        );
        let back = of("recovered".into(), "rung 2, exec: it is back after 4 s", "");
        assert!(back.starts_with("● w1 "), "{back}");
    }

    #[test]
    fn an_incident_is_a_line_where_it_has_several_agents() {
        let is_line = |agents: u64, change: &str| {
            let data = json!({"at": 0, "agents": ["w1"], "agentCount": agents, "change": change, "sentence": "No beat."});
            let event = Event {
                id: Some(1),
                kind: "incident".to_owned(),
                data,
            };
            line(&event, &Terminal::plain_at(0)).is_some()
        };
        assert!(is_line(3, "opened") && is_line(3, "closed"));
        assert!(!is_line(1, "opened") && !is_line(3, "updated"));
    }

    #[test]
    fn events_are_whole_wherever_the_stream_is_cut() {
        let text = b": live\n\nevent: state\nid: 7\ndata: {\"to\":\"failed\"}\n\n: keep-alive\n\n";
        for size in [1, 7, 100] {
            let mut reader = Reader::default();
            let items: Vec<Item> = text
                .chunks(size)
                .flat_map(|part| reader.take(part))
                .collect();
            let [Item::Live, Item::Event(event)] = items.as_slice() else {
                panic!("{} items", items.len());
            };
            assert_eq!(
                (event.id, &*event.kind, &event.data["to"]),
                (Some(7), "state", &"failed".into())
            );
        }
    }
}
