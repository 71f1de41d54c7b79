//! What the hooks of agents say, and what a turn cost.

use super::{hook, turn_tokens};
use crate::contract::line::{Line, LineError};

/// A hook's event, what else it is given, and the line that it amounts to.
const HOOKS: &[(&str, &str, &str)] = &[
    ("SessionStart", "", "ready=1 state=idle"),
    (
        "UserPromptSubmit",
        r#","prompt":"secret""#,
        "state=waiting_model",
    ),
    (
        "PreToolUse",
        r#","tool_name":"Bash","tool_use_id":"t1","tool_input":{"command":"x","description":"Run tests"}"#,
        r#"state=working task="Bash: Run tests" step="use t1""#,
    ),
    (
        "PreToolUse",
        r#","tool_name":"AskUserQuestion""#,
        "state=waiting_input task=AskUserQuestion",
    ),
    (
        "PostToolUse",
        r#","tool_use_id":"t1""#,
        r#"state=waiting_model step="result t1""#,
    ),
    (
        "BeforeTool",
        r#","tool_name":"run_shell_command","timestamp":"2026-11-26T08:18:12.159Z","tool_input":{"command":"x"}"#,
        r#"state=working task=run_shell_command step="use 2026-11-26T08:18:12.159Z""#,
    ),
    ("AfterAgent", "", "task= state=idle tokens=7"),
    (
        "Notification",
        r#","notification_type":"ToolPermission""#,
        "state=waiting_input",
    ),
    ("PermissionRequest", "", "state=waiting_input"),
    (
        "Notification",
        r#","notification_type":"permission_prompt""#,
        "state=waiting_input",
    ),
    (
        "Notification",
        r#","notification_type":"idle_prompt""#,
        "state=idle",
    ),
    (
        "Notification",
        r#","message":"Claude is waiting for your input""#,
        "state=idle",
    ),
    (
        "Notification",
        r#","message":"Claude needs your permission to use Bash""#,
        "state=waiting_input",
    ),
    ("Stop", "", "task= state=idle tokens=7"),
    (
        "StopFailure",
        r#","error":"rate_limit""#,
        "task= state=idle tokens=7 error=rate_limit",
    ),
    ("SessionEnd", r#","reason":"clear""#, "task= state=idle"),
    (
        "SessionEnd",
        r#","reason":"prompt_input_exit""#,
        "task= state=done stopping=1",
    ),
    // A run that failed ends its session too: its exit code must stay what it is.
    ("SessionEnd", r#","reason":"other""#, "task= state=done"),
    ("SessionEnd", "", "task= state=done"),
];

#[test]
fn hooks_tell_what_the_agent_does_and_for_whom_it_waits() {
    let translated = |event: &str, more: &str| {
        hook(
            None,
            format!(r#"{{"hook_event_name":"{event}","session_id":"s"{more}}}"#).as_bytes(),
            7,
        )
    };
    for &(event, more, line) in HOOKS {
        assert_eq!(translated(event, more).as_deref(), Some(line));
        let parsed: Result<Line, LineError> = Line::parse(line.as_bytes());
        assert_eq!(parsed.map(|line| line.unknown), Ok(0), "{line}");
    }
    assert_eq!(translated("WorktreeCreate", ""), None);
    assert_eq!(hook(None, b"no json", 0), None);
    assert_eq!(hook(None, b"{}", 0), None);
}

/// As copilot gives them: the event is not in them.
const COPILOTS_HOOKS: &[(&str, &str, &str)] = &[
    (
        "sessionStart",
        r#""source":"new","initialPrompt":"secret""#,
        "ready=1 state=idle",
    ),
    (
        "userPromptSubmitted",
        r#""prompt":"secret""#,
        "state=waiting_model",
    ),
    (
        "preToolUse",
        r#""toolName":"bash","toolArgs":{"command":"secret","description":"run it"}"#,
        r#"state=working task="bash: run it""#,
    ),
    (
        "postToolUse",
        r#""toolName":"bash","toolResult":{"resultType":"success"}"#,
        "state=waiting_model",
    ),
    (
        "agentStop",
        r#""stopReason":"end_turn""#,
        "task= state=idle tokens=0",
    ),
    (
        "sessionEnd",
        r#""reason":"user_exit""#,
        "task= state=done stopping=1",
    ),
    ("sessionEnd", r#""reason":"complete""#, "task= state=done"),
];

#[test]
fn a_hook_whose_input_has_no_event_is_given_it() {
    for &(event, more, line) in COPILOTS_HOOKS {
        let input = format!(r#"{{"sessionId":"s","timestamp":1795712896706,{more}}}"#);
        let translated = hook(Some(event), input.as_bytes(), 0);
        assert_eq!(translated.as_deref(), Some(line), "{event}");
    }
}

#[test]
fn a_turns_tokens_are_those_after_the_last_prompt() {
    let assistant = |id: &str, tokens: u64| {
        format!(
            r#"{{"type":"assistant","message":{{"id":"{id}","content":[],"usage":{{"input_tokens":1,"output_tokens":{tokens}}}}}}}"#
        )
    };
    let lines = [
        r#"cut off"}}"#.to_owned(),
        assistant("m0", 1000),
        r#"{"type":"user","message":{"content":"do it"}}"#.to_owned(),
        assistant("m1", 9),
        assistant("m1", 19),
        r#"{"type":"user","message":{"content":[{"type":"tool_result","tool_use_id":"t"}]}}"#
            .to_owned(),
        assistant("m2", 4),
    ];
    assert_eq!(turn_tokens(&lines.join("\n")), 25);
}
