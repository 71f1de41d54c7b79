//! What the agent declares about itself, as the verdict needs it.

use super::sampling::Watch;
use heartbeat::base::moment::Moment;
use heartbeat::contract::report::Report;
use heartbeat::verdict::SelfReport;

/// What the agent reports about itself, as the verdict needs it.
pub(super) fn self_report(watch: &Watch, now: Moment) -> SelfReport {
    let report = &watch.report;
    let (repeated, repeats) = report.repeated();
    SelfReport {
        ready: !watch.is_starting(),
        // A program that cannot be read owes its start.
        task_owed: report.work_owed() || watch.is_loading(),
        state: report.state().map(|(state, _)| state),
        expect_until: report.expect_until(now),
        limited_until: report.limited_until(now),
        last_progress_at: report.progress_at(),
        last_line_at: report.heard_at(),
        repeats,
        repeated: repeated.to_owned(),
        stopping: watch.has_announced(now),
        streams_turns: false,
    }
}

/// Whether the agent says that it is starting. Only an agent that speaks the contract's readiness can be: one that sent sd_notify's
/// `STATUS=` as a service does before its `READY=1`, and has reported neither readiness nor work since. Every other agent
/// counts as ready at once, so none that never reports readiness is held as starting.
pub(super) fn is_starting(report: &Report) -> bool {
    let works = report.task().is_some()
        || report.state().is_some()
        || report.progress_at().is_some()
        || report.stopping();
    report.status_text().is_some() && !report.ready() && !works
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat::contract::line::Line;

    #[test]
    fn only_an_agent_that_speaks_readiness_is_starting() {
        let starting = |lines: &[&str]| {
            let mut report = Report::default();
            for line in lines {
                let parsed = Line::parse(line.as_bytes()).unwrap();
                report.handle(parsed, line, Moment::from_millis(1000));
            }
            is_starting(&report)
        };
        assert!(starting(&["STATUS=loading the index"]));
        assert!(starting(&["STATUS=loading", "WATCHDOG=1"]));
        for ready in [
            &[][..],
            &["WATCHDOG=1"],
            &["task=x"],
            &["progress=5"],
            &["STATUS=loading", "READY=1"],
            &["STATUS=3 of 9 done", "X_HB_PROGRESS=33"],
            &["STATUS=busy", "state=working"],
        ] {
            assert!(!starting(ready), "{ready:?}");
        }
    }
}
