//! Real agents by what their model does, as a table: what was found, what was not, and why.

use crate::score::{Outcome, Score};
use crate::table::Row;
use std::process::ExitCode;

/// Stalls that must be found, in percent.
const FOUND_MIN: usize = 90;

/// One line an agent, one column a mode.
pub(crate) fn print(rows: &[Row], scores: &[Score]) {
    let (agents, modes) = (distinct(rows, agent), distinct(rows, mode));
    println!("\n{:<10} {}", "agent", modes.join("  "));
    for name in agents {
        let cell = |of: &&str| {
            let at = rows
                .iter()
                .position(|row| agent(row) == name && mode(row) == *of);
            let text = at.and_then(|at| scores.get(at)).map_or(String::new(), cell);
            format!("{text:<width$}", width = of.chars().count())
        };
        let cells: Vec<String> = modes.iter().map(cell).collect();
        println!("{name:<10} {}", cells.join("  "));
    }
    println!();
    for (row, score) in rows.iter().zip(scores).filter(|(_, score)| is_wrong(score)) {
        println!(
            "{:<34} {:?}: {} {}",
            row.name, score.outcome, score.got, score.evidence
        );
    }
}

/// No flag on what works, and nearly every stall found.
pub(crate) fn verdict(rows: &[Row], scores: &[Score]) -> ExitCode {
    let count = |sick: bool, wrong: bool| {
        let rows = rows
            .iter()
            .zip(scores)
            .filter(|(row, _)| row.sick() == sick);
        rows.filter(|(_, score)| is_wrong(score) == wrong).count()
    };
    let (found, missed) = (count(true, false), count(true, true));
    let (quiet, flagged) = (count(false, false), count(false, true));
    println!(
        "\n{found} of {} stalls found, {flagged} of {} healthy rows wrong",
        found + missed,
        quiet + flagged
    );
    if flagged == 0 && found * 100 >= (found + missed) * FOUND_MIN {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn is_wrong(score: &Score) -> bool {
    match score.outcome {
        // A tool that its agent has ended by itself was no stall.
        Outcome::Found | Outcome::Quiet => false,
        Outcome::Other
        | Outcome::Missed
        | Outcome::KnownMiss
        | Outcome::FoundAtLast
        | Outcome::Listed
        | Outcome::WrongReason
        | Outcome::Early
        | Outcome::FalseFlag
        | Outcome::NoVerdict
        | Outcome::Broken => true,
    }
}

fn cell(score: &Score) -> String {
    let at = score.at.map_or(String::new(), |at| format!("{at:.0}"));
    match score.outcome {
        Outcome::Found => format!("ok {at}"),
        Outcome::Quiet if score.at.is_none() => "ended".to_owned(),
        Outcome::Quiet => "ok".to_owned(),
        Outcome::FalseFlag | Outcome::Early => format!("FLAG {at}"),
        Outcome::Missed | Outcome::Listed | Outcome::KnownMiss => "miss".to_owned(),
        Outcome::Other
        | Outcome::FoundAtLast
        | Outcome::WrongReason
        | Outcome::NoVerdict
        | Outcome::Broken => format!("{:?}", score.outcome),
    }
}

fn distinct<'a>(rows: &'a [Row], of: fn(&'a Row) -> &'a str) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in rows.iter().map(of) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// Of `h_AGENT_MODE`.
fn agent(row: &Row) -> &str {
    row.name.split('_').nth(1).unwrap_or_default()
}

fn mode(row: &Row) -> &str {
    row.name.splitn(3, '_').nth(2).unwrap_or_default()
}
