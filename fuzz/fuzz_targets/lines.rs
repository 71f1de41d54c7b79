//! Any bytes as a line, and what they say as a report: coverage leads where chance does not.
#![no_main]

use heartbeat::beat::TASK_CHARS_MAX;
use heartbeat::line::{Field, Line};
use heartbeat::moment::Moment;
use heartbeat::number::COUNT_MAX;
use heartbeat::report::Report;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut report = Report::default();
    for (n, line) in bytes.split(|byte| *byte == 0xff).enumerate() {
        let now = Moment::from_millis(n as u64 * 700);
        if let Ok(said) = Line::parse(line) {
            if let Field::Set(task) = &said.task {
                assert!(task.chars().count() <= TASK_CHARS_MAX && !task.chars().any(char::is_control));
            }
            report.handle(said, &String::from_utf8_lossy(line), now);
        }
        let metrics = report.metrics(now);
        assert!(metrics.tokens_used_this_hour <= COUNT_MAX && metrics.errors_last_5_min <= COUNT_MAX);
        assert!(report.progress().is_none_or(|p| (0.0..=100.0).contains(&p)));
    }
});
