//! Hooks of agents: what their input says of the turn, and the tokens of a turn from a transcript.

use super::{Block, Event, OrOther, plain, tool};
use crate::contract::line::pair;
use crate::wire::lenient;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Hook {
    hook_event_name: Option<String>,
    #[serde(alias = "toolName")]
    tool_name: Option<String>,
    tool_use_id: Option<String>,
    /// gemini gives its calls no id.
    timestamp: Option<OrOther<String>>,
    #[serde(alias = "toolArgs")]
    tool_input: Option<Value>,
    notification_type: Option<String>,
    message: Option<OrOther<String>>,
    reason: Option<OrOther<String>>,
    error: Option<OrOther<String>>,
}

/// The status line that a hook's input amounts to, if any. `event` is the hook's name where the input does not have it;
/// `turn_tokens` are those of the turn that just ended.
pub fn hook(event: Option<&str>, input: &[u8], turn_tokens: u64) -> Option<String> {
    let hook: Hook = lenient::parse(&String::from_utf8_lossy(input)).ok()?;
    let event = event.or(hook.hook_event_name.as_deref())?;
    let id = hook.tool_use_id.or(plain(hook.timestamp));
    let step = |what: &str| {
        let id = id.as_deref()?;
        Some(format!(" {}", pair("step", &format!("{what} {id}"))))
    };
    match event {
        "SessionStart" | "sessionStart" => Some("ready=1 state=idle".to_owned()),
        "UserPromptSubmit"
        | "userPromptSubmitted"
        | "PreCompact"
        | "BeforeAgent"
        | "PreCompress" => Some("state=waiting_model".to_owned()),
        "PreToolUse" | "BeforeTool" | "preToolUse" => {
            let name = hook.tool_name.as_deref().unwrap_or("tool");
            let asks = matches!(name, "AskUserQuestion" | "ExitPlanMode");
            let state = if asks { "waiting_input" } else { "working" };
            let step = step("use").unwrap_or_default();
            Some(format!(
                "state={state} {}{step}",
                pair("task", &tool(name, hook.tool_input.as_ref()))
            ))
        }
        "PostToolUse" | "PostToolUseFailure" | "SubagentStop" | "AfterTool" | "postToolUse"
        | "postToolUseFailure" | "subagentStop" => Some(format!(
            "state=waiting_model{}",
            step("result").unwrap_or_default()
        )),
        "PermissionRequest" => Some("state=waiting_input".to_owned()),
        "Notification" => Some(notification(
            hook.notification_type.as_deref(),
            hook.message,
        )),
        "Stop" | "AfterAgent" | "agentStop" => {
            Some(format!("task= state=idle tokens={turn_tokens}"))
        }
        "StopFailure" => {
            let error = plain(hook.error).unwrap_or_else(|| "the turn failed".to_owned());
            Some(format!(
                "task= state=idle tokens={turn_tokens} {}",
                pair("error", &error)
            ))
        }
        "SessionEnd" | "sessionEnd" => Some(match plain(hook.reason).as_deref() {
            // The same process continues.
            Some("clear" | "resume") => "task= state=idle".to_owned(),
            // A person ended it, and the exit code does not show it.
            Some("prompt_input_exit" | "logout" | "user_exit") => {
                "task= state=done stopping=1".to_owned()
            }
            // The session is over because the process has ended: its exit code shows how.
            Some(_) | None => "task= state=done".to_owned(),
        }),
        _ => None,
    }
}

/// Tokens of the last turn, from the end of a Claude Code transcript: everything after the last prompt of a person.
pub fn turn_tokens(transcript: &str) -> u64 {
    let (mut sum, mut message) = (0_u64, (String::new(), 0));
    for line in transcript.lines() {
        let Ok(event) = lenient::parse::<Event>(line) else {
            continue; // the first line is cut off, others are none of ours
        };
        let Some(OrOther::This(sent)) = event.message else {
            continue;
        };
        match event.r#type.as_str() {
            "assistant" => {
                let tokens = sent.usage.unwrap_or_default().tokens();
                if message.0 != sent.id {
                    message = (sent.id, 0);
                }
                sum = sum.saturating_add(tokens.saturating_sub(message.1));
                message.1 = message.1.max(tokens);
            }
            "user" if is_prompt(sent.content.as_ref()) => sum = 0,
            _ => {}
        }
    }
    sum
}

fn is_prompt(content: Option<&OrOther<Vec<Block>>>) -> bool {
    match content {
        Some(OrOther::This(blocks)) => blocks.iter().all(|block| block.r#type != "tool_result"),
        Some(OrOther::Text(_) | OrOther::Other(_)) => true,
        None => false,
    }
}

fn notification(kind: Option<&str>, message: Option<OrOther<String>>) -> String {
    let waits = match kind {
        Some(kind) => kind != "idle_prompt",
        // Versions that name no kind: the sentence about waiting comes when nothing is left to do.
        None => plain(message).is_none_or(|message| !message.contains("waiting for your input")),
    };
    format!("state={}", if waits { "waiting_input" } else { "idle" })
}

#[cfg(test)]
mod tests;
