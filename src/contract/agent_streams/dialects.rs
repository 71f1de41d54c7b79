//! Event streams of gemini, opencode, pi, copilot and cline: what an event means.
//!
//! As the programs print them (gemini 0.61, opencode 1.18, pi 0.87, copilot 1.0.102, cline 3.0). An event that is not here is
//! skipped; those of claude, qwen and codex are read elsewhere.

use super::{Events, Usage, tool};
use crate::contract::line::pair;
use crate::wire::lenient;
use serde::Deserialize;
use serde_json::Value;

/// What an event says of the work.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// The session has begun.
    Ready,
    /// The model is asked.
    Asks,
    /// A part of an answer has come.
    Answers,
    /// A tool begins.
    Calls { tool: String, input: Value },
    /// A tool has ended.
    Called { output: Value },
    /// A tool has ended whose begin was not shown.
    CallsAndCalled {
        tool: String,
        input: Value,
        output: Value,
    },
    /// So many tokens were used.
    Tokens(u64),
    /// Something failed; the work may go on.
    Fails(String),
    /// The work is over. Tokens of the whole run, and why it failed.
    Ends { tokens: u64, error: Option<String> },
}

/// An event with what any of these dialects says.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Event {
    r#type: String,
    /// gemini
    #[serde(rename = "session_id")]
    session: Option<String>,
    role: Option<String>,
    #[serde(rename = "tool_name")]
    gemini_tool: Option<String>,
    #[serde(rename = "tool_id")]
    tool_id: Option<String>,
    parameters: Value,
    status: Option<String>,
    output: Value,
    stats: Value,
    /// opencode
    #[serde(rename = "sessionID")]
    opencode_session: Option<String>,
    part: Value,
    /// pi
    version: Option<Value>,
    tool_name: Option<String>,
    args: Value,
    result: Value,
    message: Value,
    /// copilot
    data: Value,
    exit_code: Option<i64>,
    /// cline
    event: Value,
    finish_reason: Option<String>,
    usage: Value,
    error: Value,
}

/// The meaning of an event, if it is one of these dialects and says anything.
pub(super) fn read(text: &str) -> Option<Meaning> {
    let event: Event = lenient::parse(text).ok()?;
    if event.opencode_session.is_some() {
        return opencode(event);
    }
    match event.r#type.as_str() {
        kind if kind.contains('.') => copilot(event),
        "init" | "message" | "tool_use" | "tool_result" => gemini(event),
        "result" if event.exit_code.is_some() => copilot(event),
        "result" if event.status.is_some() => gemini(event),
        "agent_event" | "run_result" => cline(event),
        _ => pi(event),
    }
}

impl Events {
    /// The status line that it amounts to.
    pub(super) fn line_of(&mut self, meaning: Meaning) -> String {
        let step = self.step("event");
        match meaning {
            Meaning::Ready => "ready=1 state=waiting_model".to_owned(),
            Meaning::Asks if self.rounds.repeats => "state=waiting_model".to_owned(),
            Meaning::Asks => format!("state=waiting_model {step}"),
            Meaning::Answers if self.rounds.repeats => "state=working".to_owned(),
            Meaning::Answers => format!("state=working {step}"),
            Meaning::Calls { tool, input } => self.calls(&tool, &input, &step),
            Meaning::Called { output } => {
                self.rounds.result(std::iter::once(&output));
                "state=waiting_model".to_owned()
            }
            Meaning::CallsAndCalled {
                tool,
                input,
                output,
            } => {
                let line = self.calls(&tool, &input, &step);
                self.rounds.result(std::iter::once(&output));
                line
            }
            Meaning::Tokens(tokens) => {
                self.reported = self.reported.saturating_add(tokens);
                format!("tokens={tokens}")
            }
            Meaning::Fails(error) => pair("error", &error),
            Meaning::Ends { tokens, error } => {
                let total = Usage {
                    input_tokens: tokens,
                    ..Usage::default()
                };
                self.end(Some(total), error)
            }
        }
    }

    fn calls(&mut self, name: &str, input: &Value, step: &str) -> String {
        self.rounds.call(std::iter::once((name, input)));
        let task = tool(name, Some(input));
        let again = pair("step", &format!("again {task}"));
        let step = if self.rounds.repeats { &again } else { step };
        format!("state=working {step} {}", pair("task", &task))
    }
}

fn gemini(event: Event) -> Option<Meaning> {
    match event.r#type.as_str() {
        "init" => event.session.map(|_| Meaning::Ready),
        "message" if event.role.as_deref() == Some("assistant") => Some(Meaning::Answers),
        "message" if event.role.is_some() => Some(Meaning::Asks),
        "tool_use" => event.gemini_tool.map(|tool| Meaning::Calls {
            tool,
            input: event.parameters,
        }),
        "tool_result" => event.tool_id.map(|_| Meaning::Called {
            output: event.output,
        }),
        "result" => {
            let failed = event.status.as_deref() != Some("success");
            let error = failed.then(|| {
                text(&event.error, "/message").unwrap_or_else(|| "the run failed".to_owned())
            });
            Some(Meaning::Ends {
                tokens: number(&event.stats, "/total_tokens"),
                error,
            })
        }
        _ => None,
    }
}

fn opencode(event: Event) -> Option<Meaning> {
    match event.r#type.as_str() {
        "step_start" => Some(Meaning::Asks),
        "text" | "reasoning" => Some(Meaning::Answers),
        "tool_use" => Some(Meaning::CallsAndCalled {
            tool: text(&event.part, "/tool")?,
            input: part(&event.part, "/state/input"),
            output: part(&event.part, "/state/output"),
        }),
        "step_finish" => {
            let of = |name: &str| number(&event.part, &format!("/tokens/{name}"));
            let tokens = of("input")
                .saturating_add(of("output"))
                .saturating_add(of("reasoning"));
            match text(&event.part, "/reason").as_deref() {
                Some("tool-calls") => Some(Meaning::Tokens(tokens)),
                // Of this step: those before it were reported.
                Some(_) | None => Some(Meaning::Ends {
                    tokens: 0,
                    error: None,
                }),
            }
        }
        "error" => {
            let message =
                text(&event.error, "/data/message").or_else(|| text(&event.error, "/name"));
            Some(Meaning::Fails(message?))
        }
        _ => None,
    }
}

fn pi(event: Event) -> Option<Meaning> {
    match event.r#type.as_str() {
        "session" => event.version.map(|_| Meaning::Ready),
        "turn_start" => Some(Meaning::Asks),
        "message_update" => Some(Meaning::Answers),
        "message_end" if text(&event.message, "/role").as_deref() == Some("assistant") => {
            match text(&event.message, "/errorMessage") {
                Some(error) => Some(Meaning::Fails(error)),
                None => Some(Meaning::Tokens(
                    number(&event.message, "/usage/input")
                        .saturating_add(number(&event.message, "/usage/output")),
                )),
            }
        }
        "tool_execution_start" => event.tool_name.map(|tool| Meaning::Calls {
            tool,
            input: event.args,
        }),
        "tool_execution_end" => Some(Meaning::Called {
            output: event.result,
        }),
        "agent_settled" => Some(Meaning::Ends {
            tokens: 0,
            error: None,
        }),
        _ => None,
    }
}

fn copilot(event: Event) -> Option<Meaning> {
    match event.r#type.as_str() {
        "session.tools_updated" => Some(Meaning::Ready),
        "model.call_start" => Some(Meaning::Asks),
        "assistant.message_delta" | "assistant.tool_call_delta" | "assistant.reasoning_delta" => {
            Some(Meaning::Answers)
        }
        "tool.execution_start" => Some(Meaning::Calls {
            tool: text(&event.data, "/toolName")?,
            input: part(&event.data, "/arguments"),
        }),
        "tool.execution_complete" => Some(Meaning::Called {
            output: part(&event.data, "/result"),
        }),
        "session.error" => Some(Meaning::Fails(
            text(&event.data, "/message").or_else(|| text(&event.data, "/errorType"))?,
        )),
        "result" => {
            let error = event
                .exit_code
                .filter(|code| *code != 0)
                .map(|code| format!("ended: exit code {code}"));
            Some(Meaning::Ends { tokens: 0, error })
        }
        _ => None,
    }
}

fn cline(event: Event) -> Option<Meaning> {
    if event.r#type == "run_result" {
        let reason = event.finish_reason?;
        let tokens = number(&event.usage, "/inputTokens")
            .saturating_add(number(&event.usage, "/outputTokens"));
        let error = (reason != "completed").then(|| format!("ended: {reason}"));
        return Some(Meaning::Ends { tokens, error });
    }
    let is_tool = text(&event.event, "/contentType").as_deref() == Some("tool");
    match (text(&event.event, "/type")?.as_str(), is_tool) {
        ("iteration_start", _) => Some(Meaning::Asks),
        ("content_start", true) => Some(Meaning::Calls {
            tool: text(&event.event, "/toolName")?,
            input: part(&event.event, "/input"),
        }),
        ("content_end", true) => Some(Meaning::Called {
            output: part(&event.event, "/output"),
        }),
        ("content_start" | "content_end", false) => Some(Meaning::Answers),
        ("usage", _) => Some(Meaning::Tokens(
            number(&event.event, "/inputTokens")
                .saturating_add(number(&event.event, "/outputTokens")),
        )),
        ("error", _) => Some(Meaning::Fails(text(&event.event, "/message")?)),
        (_, _) => None,
    }
}

fn part(of: &Value, at: &str) -> Value {
    of.pointer(at).cloned().unwrap_or_default()
}

fn text(of: &Value, at: &str) -> Option<String> {
    of.pointer(at)?.as_str().map(str::to_owned)
}

fn number(of: &Value, at: &str) -> u64 {
    of.pointer(at).and_then(Value::as_u64).unwrap_or(0)
}
