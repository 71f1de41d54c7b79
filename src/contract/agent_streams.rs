//! Events that agents print anyway, translated into status lines: the event streams of `claude -p --output-format stream-json`
//! (qwen, amp and cursor-agent print the same), of `codex exec --json` and of the other agents (`dialects.rs`), and hooks.
//!
//! Prompts, commands and results are never repeated: what is shown of an agent reaches everybody who watches the fleet.
//! Unknown events are skipped; a line that comes out is one that [`crate::contract::line::Line`] takes.

mod dialects;
mod hooks;

pub use hooks::{hook, turn_tokens};

use crate::contract::line::{EXPECT_MAX, pair};
use crate::wire::lenient;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Events longer than this are not read, in bytes: what matters in them is small.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One event stream, from its beginning.
#[derive(Debug, Default)]
pub struct Events {
    seen: u64,
    /// Tokens that were reported.
    reported: u64,
    /// The present message, and its tokens so far: it comes in several events.
    message: (String, u64),
    rounds: Rounds,
}

/// Calls of tools and what came of them, as fingerprints: nothing of either is kept.
#[derive(Debug, Default)]
struct Rounds {
    call: Option<u64>,
    last: Option<(u64, u64)>,
    /// The last round was the same call with the same result as the one before.
    repeats: bool,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    subtype: Option<String>,
    message: Option<OrOther<Message>>,
    usage: Option<Usage>,
    is_error: Option<bool>,
    item: Option<Item>,
    error: Option<OrOther<Failure>>,
    error_status: Option<Value>,
    retry_delay_ms: Option<Value>,
    request: Option<Request>,
}

/// The same name means other things in events of no interest.
#[derive(Deserialize)]
#[serde(untagged)]
enum OrOther<T> {
    This(T),
    Text(String),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    id: String,
    content: Option<OrOther<Vec<Block>>>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Block {
    r#type: String,
    name: Option<String>,
    input: Option<Value>,
    /// Of a result.
    content: Option<Value>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    cache_creation_input_tokens: u64,
    /// Codex counts them among `input_tokens`.
    cached_input_tokens: u64,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "item_type")]
    r#type: Option<String>,
    server: Option<String>,
    tool: Option<String>,
}

#[derive(Deserialize)]
struct Failure {
    message: Option<String>,
}

#[derive(Deserialize)]
struct Request {
    subtype: Option<String>,
}

impl Usage {
    /// What was read or written; what came from a cache costs next to nothing and is not counted.
    fn tokens(self) -> u64 {
        let input = self.input_tokens.saturating_sub(self.cached_input_tokens);
        input
            .saturating_add(self.output_tokens)
            .saturating_add(self.cache_creation_input_tokens)
    }
}

impl Events {
    /// The status line that an event amounts to, if any.
    pub fn line(&mut self, event: &[u8]) -> Option<String> {
        let event = event.strip_prefix(BYTE_ORDER_MARK).unwrap_or(event);
        if event.len() > EVENT_BYTES_MAX || event.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        // Bytes that are no UTF-8 cost themselves only.
        let text = String::from_utf8_lossy(event);
        if let Some(meaning) = dialects::read(&text) {
            return Some(self.line_of(meaning));
        }
        let event: Event = lenient::parse(&text).ok()?;
        let step = self.step(&event.r#type);
        match (event.r#type.as_str(), event.subtype.as_deref()) {
            ("system", Some("init")) => Some("ready=1 state=waiting_model".to_owned()),
            ("system", Some("api_retry")) => {
                let error = text_of(event.error).unwrap_or_else(|| "retry".to_owned());
                let limited =
                    rate_limit(event.error_status.as_ref(), event.retry_delay_ms.as_ref());
                Some(format!(
                    "state=waiting_model{limited} {}",
                    pair("error", &format!("model: {error}"))
                ))
            }
            ("assistant", _) => self.assistant(event.message, &step),
            ("user", _) => Some(self.answered(event.message, &step)),
            ("item.completed", _) => Some(format!("state=waiting_model {step}")),
            ("stream_event", _) if self.rounds.repeats => Some("state=working".to_owned()),
            ("stream_event", _) => Some(format!("state=working {step}")),
            ("control_request", _) => {
                let asks = event.request.and_then(|request| request.subtype);
                (asks.as_deref() == Some("can_use_tool")).then(|| "state=waiting_input".to_owned())
            }
            ("result", subtype) => {
                let failed = event.is_error == Some(true);
                let error = failed.then(|| format!("ended: {}", subtype.unwrap_or("error")));
                Some(self.end(event.usage, error))
            }
            ("thread.started", _) => Some("ready=1".to_owned()),
            ("turn.started", _) => Some("state=waiting_model".to_owned()),
            ("item.started" | "item.updated", _) => Some(item(event.item, &step)),
            ("turn.completed", _) => Some(self.end(event.usage, None)),
            ("turn.failed", _) => {
                let error = text_of(event.error).unwrap_or_else(|| "turn failed".to_owned());
                Some(self.end(event.usage, Some(error)))
            }
            ("error", _) => text_of(event.message).map(|error| pair("error", &error)),
            _ => None,
        }
    }

    /// Each event of the work itself is a step; its value never repeats, so it counts as progress.
    fn step(&mut self, kind: &str) -> String {
        self.seen += 1;
        pair("step", &format!("{kind} {}", self.seen))
    }

    fn assistant(&mut self, message: Option<OrOther<Message>>, step: &str) -> Option<String> {
        let Some(OrOther::This(message)) = message else {
            return None;
        };
        let tokens = self.tokens_of(&message);
        let Some(OrOther::This(blocks)) = message.content else {
            return Some(format!("state=working {step} tokens={tokens}"));
        };
        let calls: Vec<&Block> = of_type(&blocks, "tool_use").collect();
        self.rounds
            .call(calls.iter().map(|block| (&block.name, &block.input)));
        let task = calls
            .last()
            .and_then(|block| Some(tool(block.name.as_deref()?, block.input.as_ref())));
        // Text that is repeated between two equal calls is no step of the work.
        let step = match &task {
            _ if !self.rounds.repeats => format!(" {step}"),
            Some(task) => format!(" {}", pair("step", &format!("again {task}"))),
            None => String::new(),
        };
        let task = task
            .map(|task| format!(" {}", pair("task", &task)))
            .unwrap_or_default();
        Some(format!("state=working{step} tokens={tokens}{task}"))
    }

    /// Results have come, or a prompt.
    fn answered(&mut self, message: Option<OrOther<Message>>, step: &str) -> String {
        if let Some(OrOther::This(message)) = message
            && let Some(OrOther::This(blocks)) = message.content
        {
            self.rounds
                .result(of_type(&blocks, "tool_result").map(|block| &block.content));
        } else {
            self.rounds = Rounds::default();
        }
        if self.rounds.repeats {
            "state=waiting_model".to_owned()
        } else {
            format!("state=waiting_model {step}")
        }
    }

    /// Tokens of this event that no event before has reported.
    fn tokens_of(&mut self, message: &Message) -> u64 {
        let tokens = message.usage.unwrap_or_default().tokens();
        if self.message.0 != message.id {
            self.message = (message.id.clone(), 0);
        }
        let new = tokens.saturating_sub(self.message.1);
        self.message.1 = self.message.1.max(tokens);
        self.reported = self.reported.saturating_add(new);
        new
    }

    /// The last event sums up: what was not reported yet is reported now.
    fn end(&mut self, usage: Option<Usage>, error: Option<String>) -> String {
        let total = usage.unwrap_or_default().tokens();
        let left = total.saturating_sub(self.reported);
        self.reported = self.reported.max(total);
        let error = error
            .map(|error| format!(" {}", pair("error", &error)))
            .unwrap_or_default();
        format!("task= state=done tokens={left}{error}")
    }
}

/// The pair `limited=SECONDS` of a retry that answers HTTP status 429 and names its delay; empty otherwise. Longer delays
/// than a line may announce are cut.
fn rate_limit(status: Option<&Value>, delay_ms: Option<&Value>) -> String {
    const TOO_MANY_REQUESTS: u64 = 429;
    let limited = status.and_then(Value::as_u64) == Some(TOO_MANY_REQUESTS);
    match delay_ms.and_then(Value::as_f64).filter(|ms| *ms > 0.0) {
        Some(ms) if limited => {
            let seconds = (ms / 1000.0).min(EXPECT_MAX.as_secs_f64());
            format!(" limited={seconds:.3}")
        }
        Some(_) | None => String::new(),
    }
}

impl Rounds {
    /// Another call, or the same once more; no call at all changes nothing.
    fn call(&mut self, calls: impl ExactSizeIterator<Item = impl Hash>) {
        if calls.len() == 0 {
            return;
        }
        let call = Some(fingerprint(calls));
        self.repeats &= self.call == call;
        self.call = call;
    }

    fn result(&mut self, results: impl Iterator<Item = impl Hash>) {
        let round = self.call.map(|call| (call, fingerprint(results)));
        self.repeats = round.is_some() && self.last == round;
        self.last = round;
    }
}

fn fingerprint(parts: impl Iterator<Item = impl Hash>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        part.hash(&mut hasher);
    }
    hasher.finish()
}

fn of_type<'a>(blocks: &'a [Block], kind: &'static str) -> impl Iterator<Item = &'a Block> {
    blocks.iter().filter(move |block| block.r#type == kind)
}

fn item(item: Option<Item>, step: &str) -> String {
    let name = item.and_then(|item| match (item.server, item.tool) {
        (Some(server), Some(tool)) => Some(format!("{server}/{tool}")),
        _ => item.r#type,
    });
    let task = name
        .map(|name| format!(" {}", pair("task", &name)))
        .unwrap_or_default();
    format!("state=working {step}{task}")
}

/// A tool's name, and how the agent describes this use of it in a few words.
fn tool(name: &str, input: Option<&Value>) -> String {
    match input.and_then(|input| input.get("description")?.as_str()) {
        Some(description) => format!("{name}: {description}"),
        None => name.to_owned(),
    }
}

fn text_of<T: Into<Option<String>>>(of: Option<OrOther<T>>) -> Option<String> {
    match of? {
        OrOther::This(this) => this.into(),
        OrOther::Text(text) => Some(text),
        OrOther::Other(_) => None,
    }
}

fn plain(of: Option<OrOther<String>>) -> Option<String> {
    match of? {
        OrOther::This(text) | OrOther::Text(text) => Some(text),
        OrOther::Other(_) => None,
    }
}

impl From<Failure> for Option<String> {
    fn from(failure: Failure) -> Self {
        failure.message
    }
}

impl From<Message> for Option<String> {
    fn from(_: Message) -> Self {
        None
    }
}

#[cfg(test)]
mod tests;
