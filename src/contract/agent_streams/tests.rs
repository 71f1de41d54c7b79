//! Stories of what agents print, as they print it.

use super::*;
use crate::base::moment::Moment;
use crate::contract::line::Line;
use crate::contract::report::{Report, Worth};

/// What a program printed, parsed as the hub parses it.
fn parsed(printed: &str) -> (Report, Vec<String>, u32) {
    let (mut report, mut events, mut steps) = (Report::default(), Events::default(), 0);
    let lines: Vec<String> = printed
        .lines()
        .filter_map(|event| events.line(event.as_bytes()))
        .collect();
    for line in &lines {
        let parsed = Line::parse(line.as_bytes()).unwrap();
        assert_eq!(parsed.unknown, 0, "{line}");
        steps += u32::from(report.handle(parsed, line, Moment::from_millis(0)) == Worth::Progress);
    }
    (report, lines, steps)
}

fn tokens(report: &Report) -> u64 {
    report.metrics(Moment::from_millis(0)).tokens_used_this_hour
}

const CLAUDE: &str = r#"{"type":"system","subtype":"init","session_id":"s","tools":["Bash"],"model":"sonnet"}
{"type":"assistant","session_id":"s","message":{"id":"m1","role":"assistant","content":[{"type":"text","text":"I look."}],"usage":{"input_tokens":100,"output_tokens":1,"cache_read_input_tokens":5000}}}
{"type":"assistant","session_id":"s","message":{"id":"m1","role":"assistant","content":[{"type":"tool_use","id":"t1","name":"Bash","input":{"command":"cat /etc/secret","description":"Read the file"}}],"usage":{"input_tokens":100,"output_tokens":20}}}"#;
const CLAUDE_END: &str = r#"
{"type":"user","session_id":"s","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"secret"}]}}
{"type":"system","subtype":"api_retry","attempt":1,"error_status":429,"error":"rate_limit"}
{"type":"rate_limit_event","rate_limit_info":{"status":"allowed"}}
{"type":"result","subtype":"success","is_error":false,"usage":{"input_tokens":150,"output_tokens":80},"result":"done"}"#;

#[test]
fn claude_tells_its_tool_its_tokens_and_its_end() {
    let (report, lines, steps) = parsed(CLAUDE);
    assert_eq!(report.task(), Some("Bash: Read the file"));
    assert_eq!(
        (tokens(&report), steps, report.ready(), report.work_owed()),
        (120, 2, true, true)
    );
    assert!(
        !lines.iter().any(|line| line.contains("secret")),
        "{lines:?}"
    );
    let (report, lines, _) = parsed(&format!("{CLAUDE}{CLAUDE_END}"));
    assert_eq!(
        (report.task(), report.work_owed(), tokens(&report)),
        (None, false, 230)
    );
    assert_eq!(report.error(), Some("model: rate_limit"));
    assert!(
        !lines.iter().any(|line| line.contains("secret")),
        "{lines:?}"
    );
}

fn round(n: u32, result: &str) -> String {
    format!(
        r#"{{"type":"stream_event","event":{{"type":"content_block_delta"}}}}
{{"type":"assistant","message":{{"id":"a{n}","content":[{{"type":"text","text":"Once more, {n}."}}],"usage":{{"output_tokens":9}}}}}}
{{"type":"assistant","message":{{"id":"a{n}","content":[{{"type":"tool_use","id":"t{n}","name":"Bash","input":{{"command":"cat secret"}}}}],"usage":{{"output_tokens":19}}}}}}
{{"type":"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"t{n}","content":"{result}"}}]}}}}
"#
    )
}

#[test]
fn the_same_call_with_the_same_result_is_counted_whatever_is_said_between() {
    let same: String = (0..24).map(|n| round(n, "no such file")).collect();
    let (report, lines, _) = parsed(&same);
    assert_eq!(report.repeated(), ("again Bash", 22));
    assert!(
        !lines.iter().any(|line| line.contains("secret")),
        "{lines:?}"
    );
    let (report, ..) = parsed(&format!("{same}{}", round(24, "found")));
    assert_eq!(report.repeated().1, 1, "another result goes on");
}

#[test]
fn the_same_question_with_another_answer_is_no_repetition() {
    let polls: String = (0..40).map(|n| round(n, &format!("{n} of 40"))).collect();
    assert_eq!(parsed(&polls).0.repeated().1, 1);
}

#[test]
fn parts_of_an_answer_are_progress_while_it_comes() {
    let part =
        r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"text":"a"}}}"#;
    assert_eq!(parsed(&format!("{part}\n{part}\n{part}")).2, 3);
}

#[test]
fn a_run_that_fails_is_an_error_and_over() {
    let (report, ..) = parsed(r#"{"type":"result","subtype":"error_max_turns","is_error":true}"#);
    assert_eq!(
        (report.error(), report.work_owed()),
        (Some("ended: error_max_turns"), false)
    );
}

#[test]
fn codex_tells_its_items_its_tokens_and_its_end() {
    let started = r#"{"type":"thread.started","thread_id":"t"}
{"type":"turn.started"}
{"type":"item.started","item":{"id":"item_1","type":"command_execution","command":"bash -lc ls","status":"in_progress"}}"#;
    let (report, ..) = parsed(started);
    assert_eq!(
        (report.ready(), report.task(), report.work_owed()),
        (true, Some("command_execution"), true)
    );
    let ended = r#"
{"type":"item.completed","item":{"id":"item_1","type":"command_execution","exit_code":0}}
{"type":"item.started","item":{"id":"item_2","type":"mcp_tool_call","server":"docs","tool":"search","status":"in_progress"}}
{"type":"turn.completed","usage":{"input_tokens":24763,"cached_input_tokens":24448,"output_tokens":122}}"#;
    let (report, lines, steps) = parsed(&format!("{started}{ended}"));
    assert_eq!(
        (tokens(&report), report.work_owed(), steps),
        (437, false, 4)
    );
    assert!(
        lines.iter().any(|line| line.contains("task=docs/search")),
        "{lines:?}"
    );
    let (report, ..) = parsed(r#"{"type":"turn.failed","error":{"message":"stream lost"}}"#);
    assert_eq!(report.error(), Some("stream lost"));
    let (report, ..) = parsed(r#"{"type":"error","message":"no network"}"#);
    assert_eq!(report.error(), Some("no network"));
}

#[test]
fn what_is_no_event_says_nothing() {
    for text in [
        "",
        "hello",
        "{",
        "[]",
        r#"{"type":7}"#,
        r#"{"type":"news"}"#,
        r#"{"message":{}}"#,
    ] {
        assert_eq!(Events::default().line(text.as_bytes()), None, "{text}");
    }
    let large = format!(r#"{{"type":"user","x":"{}"}}"#, "x".repeat(EVENT_BYTES_MAX));
    assert_eq!(Events::default().line(large.as_bytes()), None);
}

#[test]
fn a_rate_limit_with_a_known_end_announces_the_wait() {
    let retry = |more: &str| {
        let text = format!(r#"{{"type":"system","subtype":"api_retry","error":"x"{more}}}"#);
        Events::default().line(text.as_bytes()).unwrap()
    };
    let line = retry(r#","error_status":429,"retry_delay_ms":90000"#);
    let mut report = Report::default();
    let at = |seconds: u64| Moment::from_millis(seconds * 1000);
    report.handle(Line::parse(line.as_bytes()).unwrap(), &line, at(10));
    assert_eq!(report.limited_until(at(50)), Some(at(100)));
    assert_eq!(report.limited_until(at(100)), None);
    report.handle(Line::parse(b"tokens=5").unwrap(), "tokens=5", at(60));
    assert_eq!(
        report.limited_until(at(70)),
        None,
        "the service answers again"
    );
    for none in [
        "",
        r#","error_status":500,"retry_delay_ms":9000"#,
        r#","error_status":429"#,
        r#","error_status":429,"retry_delay_ms":-5"#,
        r#","error_status":"429","retry_delay_ms":{}"#,
    ] {
        assert!(!retry(none).contains("limited"), "{none}");
    }
}

/// One call of a tool and the answer, as the real programs print it; long parts are cut.
const GEMINI: &str = r#"{"type":"init","timestamp":"2026-11-26T08:18:11.737Z","session_id":"21be","model":"gemini-2.5-flash"}
{"type":"message","role":"user","content":"say secret"}
{"type":"tool_use","tool_name":"run_shell_command","tool_id":"c1","parameters":{"command":"touch secret"}}
{"type":"tool_result","tool_id":"c1","status":"success","output":"secret"}
{"type":"message","role":"assistant","content":"lorem secret","delta":true}
{"type":"result","status":"success","stats":{"total_tokens":30,"input_tokens":20,"output_tokens":10,"tool_calls":1}}"#;
const OPENCODE: &str = r#"{"type":"step_start","timestamp":1,"sessionID":"ses_1","part":{"type":"step-start"}}
{"type":"tool_use","sessionID":"ses_1","part":{"type":"tool","tool":"bash","callID":"call_2","state":{"status":"completed","input":{"command":"touch secret"},"output":"secret"}}}
{"type":"step_finish","sessionID":"ses_1","part":{"reason":"tool-calls","tokens":{"total":15,"input":20,"output":10,"reasoning":0}}}
{"type":"text","sessionID":"ses_1","part":{"type":"text","text":"lorem secret"}}
{"type":"step_finish","sessionID":"ses_1","part":{"reason":"stop","tokens":{"input":1,"output":1,"reasoning":0}}}"#;
const PI: &str = r#"{"type":"session","version":3,"id":"01a2","cwd":"/tmp"}
{"type":"agent_start"}
{"type":"turn_start"}
{"type":"message_end","message":{"role":"user","content":[{"type":"text","text":"say secret"}]}}
{"type":"message_update","assistantMessageEvent":{"type":"toolcall_start","contentIndex":0,"toolName":"bash"}}
{"type":"message_end","message":{"role":"assistant","content":[],"usage":{"input":20,"output":10,"totalTokens":30},"stopReason":"toolUse"}}
{"type":"tool_execution_start","toolCallId":"call_1","toolName":"bash","args":{"command":"touch secret"}}
{"type":"tool_execution_end","toolCallId":"call_1","toolName":"bash","result":{"content":[{"text":"secret"}]},"isError":false}
{"type":"agent_end","messages":[],"willRetry":false}
{"type":"agent_settled"}"#;
const COPILOT: &str = r#"{"type":"session.tools_updated","data":{"model":"fake"},"ephemeral":true}
{"type":"user.message","data":{"content":"say secret"}}
{"type":"model.call_start","data":{"turnId":"0","model":"fake"}}
{"type":"assistant.message_delta","data":{"deltaContent":"lorem secret"}}
{"type":"tool.execution_start","data":{"toolCallId":"call_1","toolName":"bash","arguments":{"command":"touch secret"}}}
{"type":"tool.execution_complete","data":{"toolCallId":"call_1","success":true,"result":{"content":"secret"}}}
{"type":"result","sessionId":"afb2","exitCode":0,"usage":{"premiumRequests":0}}"#;
const CLINE: &str = r#"{"ts":"2026","type":"hook_event","hookEventName":"agent_start"}
{"type":"agent_event","event":{"type":"iteration_start","iteration":1}}
{"type":"agent_event","event":{"type":"usage","inputTokens":20,"outputTokens":10,"totalInputTokens":20}}
{"type":"agent_event","event":{"type":"content_start","contentType":"tool","toolName":"run_commands","toolCallId":"call_1","input":{"commands":["touch secret"]}}}
{"type":"agent_event","event":{"type":"content_end","contentType":"tool","toolName":"run_commands","output":[{"result":"secret"}]}}
{"type":"agent_event","event":{"type":"content_start","contentType":"text","text":"lorem secret"}}
{"type":"run_result","finishReason":"completed","usage":{"inputTokens":20,"outputTokens":10},"text":"secret"}"#;

#[test]
fn each_dialect_shows_its_tool_its_tokens_and_its_end_and_no_content() {
    for (printed, task, used) in [
        (GEMINI, "run_shell_command", 30),
        (OPENCODE, "bash", 30),
        (PI, "bash", 30),
        (COPILOT, "bash", 0),
        (CLINE, "run_commands", 30),
    ] {
        let (report, lines, steps) = parsed(printed);
        assert!(
            lines
                .iter()
                .any(|line| line.contains(&format!("task={task}"))),
            "{lines:?}"
        );
        assert!(
            !lines.iter().any(|line| line.contains("secret")),
            "{lines:?}"
        );
        assert_eq!(
            (tokens(&report), report.work_owed(), report.error()),
            (used, false, None),
            "{lines:?}"
        );
        assert!(steps >= 2, "{lines:?}");
        let lines: Vec<&str> = printed.lines().collect();
        let (report, ..) = parsed(&lines[..lines.len() - 1].join("\n"));
        assert!(report.work_owed(), "it works until it ends: {printed}");
    }
}

#[test]
fn the_same_call_again_is_counted_in_each_dialect() {
    let of = |printed: &str, from: usize, to: usize| {
        let lines: Vec<&str> = printed.lines().collect();
        format!("{}\n", lines[from..to].join("\n")).repeat(24)
    };
    for rounds in [
        of(GEMINI, 2, 5),
        of(OPENCODE, 0, 4),
        of(PI, 4, 8),
        of(COPILOT, 2, 6),
        of(CLINE, 1, 6),
    ] {
        let (report, lines, _) = parsed(&rounds);
        assert!(
            report.repeated().1 >= 20,
            "{:?} {lines:?}",
            report.repeated()
        );
    }
}

#[test]
fn a_dialects_failure_is_an_error() {
    for (event, error) in [
        (
            r#"{"type":"result","status":"error","error":{"type":"unknown","message":"[API Error: 401]"},"stats":{}}"#,
            "[API Error: 401]",
        ),
        (
            r#"{"type":"error","sessionID":"ses_1","error":{"name":"APIError","data":{"message":"no key","statusCode":401}}}"#,
            "no key",
        ),
        (
            r#"{"type":"message_end","message":{"role":"assistant","stopReason":"error","errorMessage":"401: no key"}}"#,
            "401: no key",
        ),
        (
            r#"{"type":"session.error","data":{"errorType":"authentication"}}"#,
            "authentication",
        ),
        (
            r#"{"type":"result","sessionId":"a","exitCode":1}"#,
            "ended: exit code 1",
        ),
        (
            r#"{"type":"run_result","finishReason":"error"}"#,
            "ended: error",
        ),
        (
            r#"{"type":"error","message":"fake error 401"}"#,
            "fake error 401",
        ),
    ] {
        assert_eq!(parsed(event).0.error(), Some(error), "{event}");
    }
}
