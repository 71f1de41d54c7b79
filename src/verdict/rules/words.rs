//! Words in a line of output: does it name a failure, or a tool call?

/// Words that mark a failing action.
const FAILURES: [&str; 14] = [
    "error",
    "errors",
    "exception",
    "failed",
    "failing",
    "failure",
    "overloaded",
    "refused",
    "retries",
    "retry",
    "retrying",
    "timeout",
    "timed out",
    "rate limit",
];
/// Answers of a service that refuses for now.
const CODES: [&str; 6] = ["429", "500", "502", "503", "504", "529"];
/// Keys before which such a number is an answer and no count.
const CODE_KEYS: [&str; 6] = ["status", "code", "error", "http", "response", "answer"];
/// And words that follow one.
const REASONS: [&str; 8] = [
    "too",
    "overloaded",
    "internal",
    "server",
    "bad",
    "service",
    "gateway",
    "error",
];
/// Keys and kinds of a tool call in a stream of JSON lines.
const CALLS: [&str; 5] = [
    "tool_use",
    "\"tool\":",
    "tool_call",
    "function_call",
    "command_execution",
];
/// What stands where there was none.
const NONE: [&str; 5] = ["0", "none", "null", "false", "no"];

/// Whether the line names a failure that happened: a count of none is no failure.
pub(in crate::verdict) fn names_failure(line: &str) -> bool {
    let line = line.to_lowercase();
    let failed = |word: &str| {
        line.match_indices(word).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + word.len()..]);
            let is_part = before.ends_with(is_of_word) || after.starts_with(is_of_word);
            let is_limit = word == "timeout" && sets_limit(after);
            !is_part && !is_limit && !counts_none(before, after)
        })
    };
    FAILURES.iter().any(|word| failed(word)) || CODES.iter().any(|code| answers(&line, code))
}

/// Whether the line is a tool call.
pub(in crate::verdict) fn names_call(line: &str) -> bool {
    let line = line.to_lowercase();
    CALLS.iter().any(|word| line.contains(word))
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// `errors=0`, `"errors": 0`, `0 errors`, `no errors`.
fn counts_none(before: &str, after: &str) -> bool {
    let first = |text: &str| {
        let value = text.trim_start_matches(['"', '\'', ' ', '=', ':']);
        value
            .split(|c| !is_of_word(c))
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let assigned = after
        .trim_start_matches(['"', '\''])
        .starts_with(['=', ':']);
    let last = before.trim_end().rsplit(|c| !is_of_word(c)).next();
    assigned && NONE.contains(&first(after).as_str()) || last.is_some_and(|w| NONE.contains(&w))
}

/// Whether a number is the answer of a service, and no count of something else.
fn answers(line: &str, code: &str) -> bool {
    line.match_indices(code).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + code.len()..]);
        let part = |c: char| is_of_word(c) || c == '.';
        if before.ends_with(part) || after.starts_with(is_of_word) {
            return false;
        }
        // `"GET / HTTP/1.1" 503`
        let is_key = |word: &str| CODE_KEYS.iter().any(|known| word.contains(known));
        let is_number = |word: &&str| word.bytes().all(|b| b.is_ascii_digit());
        let key = words(before).rev().find(|word| !is_number(word));
        let reason = words(after).next().unwrap_or_default();
        key.is_some_and(is_key) || REASONS.contains(&reason)
    })
}

fn words(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(|c| !is_of_word(c))
        .filter(|word| !word.is_empty())
}

/// `timeout=30`, `(timeout 600s)`: a limit that is set, and not one that has passed.
fn sets_limit(after: &str) -> bool {
    let value = after.trim_start_matches(['"', '\'', ' ', '=', ':']);
    value.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_happened_is_one() {
        for line in [
            "529 overloaded, retrying",
            "HTTP 429",
            "status=503",
            "connect ECONNREFUSED: connection refused",
            "Error: rate limit",
            r#"{"level":"error","msg":"timed out"}"#,
            "request failed: errors=3",
            "timeout after 30 s",
            r#""GET / HTTP/1.1" 503 12"#,
            "502 Bad Gateway",
        ] {
            assert!(names_failure(line), "{line}");
        }
    }

    #[test]
    fn a_count_of_none_and_a_number_of_something_else_are_no_failure() {
        for line in [
            "worker idle: jobs=0 errors=0 retry=0",
            r#"{"jobs":0,"errors":0,"failed":null}"#,
            "0 errors, no failures",
            "done=500 of 2000",
            "terror_index 5",
            "took 3.500 s",
            "waiting for the deployment (timeout 600s)",
            r#"{"poll":1,"timeout":30}"#,
            "pool of 500 workers, idle",
            "status=ok rows 500",
        ] {
            assert!(!names_failure(line), "{line}");
        }
    }

    #[test]
    fn a_line_of_a_log_that_names_a_command_is_no_tool_call() {
        assert!(names_call(r#"{"type":"tool_use","name":"bash"}"#));
        assert!(!names_call(r#"{"level":"info","command":"poll","jobs":0}"#));
    }
}
