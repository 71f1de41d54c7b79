//! Drawings of an agent's history, as inline SVG: no script, and nothing that a screen reader would miss.

use super::parts;
use heartbeat::base::figure;
use heartbeat::fleet::history::{Curve, Point, Seen};
use maud::{Markup, html};
use std::fmt::Write;

/// The size of a sparkline.
const SPARK: (f64, f64) = (44.0, 18.0);
/// A chart.
const CHART: (f64, f64) = (288.0, 96.0);
/// One hour of the bar.
const HOUR: usize = 4;

/// The figure of a point that is drawn.
type Figure = fn(&Point) -> Option<f64>;

/// The processor use of the last 40 minutes.
pub(super) fn cpu_spark(curve: Option<&Curve>) -> Markup {
    spark(curve, |point| point.cpu_percent)
}

/// The memory of the last 40 minutes.
pub(super) fn memory_spark(curve: Option<&Curve>) -> Markup {
    spark(curve, |point| point.memory_mb)
}

/// Which hours of the last day its beats came in.
pub(super) fn alive_bar(curve: Option<&Curve>) -> Markup {
    let hours: Vec<Seen> = curve.map_or_else(Vec::new, |curve| curve.hours().collect());
    let failed = hours.iter().filter(|seen| **seen == Seen::Failed).count();
    let title = match failed {
        0 => None,
        1 => Some("failed in 1 of the last 24 hours".to_owned()),
        n => Some(format!("failed in {n} of the last 24 hours")),
    };
    html! {
        svg.up viewBox="0 0 96 16" aria-hidden="true" {
            @if let Some(title) = title { title { (title) } }
            @for (from, to, seen) in runs(&hours) {
                @let (x, width) = (from * HOUR, (to - from) * HOUR);
                @match seen {
                    Seen::Nothing => { path.o d={ "M" (x) " 14.5h" (width) } {} }
                    Seen::Well => { path d={ "M" (x) " 11.5h" (width) } {} }
                    Seen::Missing => { path.w d={ "M" (x) " 9.5h" (width) } {} }
                    Seen::Failed => { path.b d={ "M" (x) " 8h" (width) } {} }
                }
            }
        }
    }
}

/// `100 %` of what is known of the last day.
pub(super) fn alive_text(curve: Option<&Curve>) -> Option<String> {
    let share = curve?.alive_share()?;
    // A day that is not whole never reads as one.
    let tenths = (share * 1000.0).floor() / 10.0;
    Some(parts::figure(&figure::percent_exact(tenths)))
}

/// The charts of the agent page: of the last day, or of the last 40 minutes while no more is known.
pub(super) fn charts(curve: &Curve) -> Markup {
    let known = curve.half_hours.iter().filter(|p| p.seen != Seen::Nothing);
    let is_long = known.count() > 2;
    let (points, span, first): (&[Point], _, _) = if is_long {
        (&curve.half_hours, "Last 24 hours", "24 h ago")
    } else {
        (&curve.recent, "Last 40 minutes", "40 min ago")
    };
    let percent = |of: f64| figure::percent(of);
    let megabytes = |of: f64| figure::megabytes(of);
    html! {
        section aria-labelledby="c" {
            div.bar { h2 #c { (span) } small { "a red field is a failure; kept while hbmonitor runs" } }
            div.panel.charts {
                (chart("CPU", points, |p| p.cpu_percent, None, percent, first))
                (chart("Memory", points, |p| p.memory_mb, None, megabytes, first))
                (chart("Progress", points, |p| p.progress, Some(100.0), percent, first))
            }
        }
    }
}

fn chart(
    name: &str,
    points: &[Point],
    of: Figure,
    top: Option<f64>,
    text: impl Fn(f64) -> String,
    first: &str,
) -> Markup {
    let values: Vec<Option<f64>> = points.iter().map(of).collect();
    let known = || values.iter().copied().flatten();
    let peak = known().fold(0.0, f64::max);
    let least = known().fold(f64::INFINITY, f64::min);
    let top = top.unwrap_or(peak * 1.2).max(1.0);
    let text = |of: f64| parts::figure(&text(of));
    let now = values.last().copied().flatten();
    let caption = match (known().next(), now) {
        (None, _) => "not known".to_owned(),
        (Some(_), Some(now)) => format!("now {}, peak {}", text(now), text(peak)),
        (Some(_), None) => format!("now –, peak {}", text(peak)),
    };
    let label = if known().next().is_some() {
        format!("{name}: between {} and {}.", text(least), text(peak))
    } else {
        format!("{name}: not known.")
    };
    let (width, height) = CHART;
    let seen: Vec<Seen> = points.iter().map(|point| point.seen).collect();
    let step = width / points.len() as f64;
    html! {
        figure {
            figcaption { b { (name) } small { (caption) } }
            span.ymax aria-hidden="true" { (text(top)) }
            svg.chart viewBox="0 0 288 96" preserveAspectRatio="none" role="img" aria-label=(label) {
                path.grid d="M0 .5h288M0 48h288M0 95.5h288" {}
                @for (from, to, _) in runs(&seen).into_iter().filter(|(_, _, seen)| *seen == Seen::Failed) {
                    rect.inc x=(tenths(from as f64 * step)) y="0" width=(tenths((to - from) as f64 * step)) height="96" {}
                }
                @for line in lines(&values, (width, height - 2.0), top) { polyline.line points=(line) {} }
            }
            div.axis aria-hidden="true" { span { (first) } span { "now" } }
        }
    }
}

fn spark(curve: Option<&Curve>, of: Figure) -> Markup {
    let Some(curve) = curve else {
        return html! {};
    };
    let values: Vec<Option<f64>> = curve.recent.iter().map(of).collect();
    let peak = values.iter().copied().flatten().fold(0.0, f64::max);
    let (width, height) = SPARK;
    html! {
        svg.spark viewBox="0 0 44 18" aria-hidden="true" {
            @for line in lines(&values, (width, height - 2.0), (peak * 1.1).max(1.0)) { polyline points=(line) {} }
        }
    }
}

/// The values as lines in a field of this size, up to `top`: a gap begins another line.
fn lines(values: &[Option<f64>], (width, height): (f64, f64), top: f64) -> Vec<String> {
    let last = values.len().saturating_sub(1).max(1) as f64;
    let mut lines = Vec::new();
    let mut line = String::new();
    let known: Vec<(usize, Option<f64>)> = values.iter().copied().enumerate().collect();
    for (place, value) in known {
        match value {
            Some(value) => {
                let (x, y) = (
                    place as f64 / last * width,
                    height - value / top * height + 1.0,
                );
                let separator = if line.is_empty() { "" } else { "," };
                let _ = write!(
                    line,
                    "{separator}{} {}",
                    x.round(),
                    tenths(y.clamp(0.0, height + 1.0))
                ); // into memory
            }
            None if !line.is_empty() => lines.push(std::mem::take(&mut line)),
            None => {}
        }
    }
    lines.extend(Some(line).filter(|line| !line.is_empty()));
    // One point is no line: it is drawn as a short one.
    for line in &mut lines {
        if !line.contains(',')
            && let Some((x, y)) = line.split_once(' ')
        {
            *line = format!("{x} {y},{} {y}", x.parse::<f64>().unwrap_or(0.0) + 1.0);
        }
    }
    lines
}

/// Equal neighbours, as from, to and what they are.
fn runs(all: &[Seen]) -> Vec<(usize, usize, Seen)> {
    let mut runs: Vec<(usize, usize, Seen)> = Vec::new();
    for (place, seen) in all.iter().enumerate() {
        match runs.last_mut() {
            Some((_, to, last)) if last == seen => *to = place + 1,
            Some(_) | None => runs.push((place, place + 1, *seen)),
        }
    }
    runs
}

fn tenths(of: f64) -> f64 {
    (of * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_ends_a_line_and_a_single_value_is_a_short_one() {
        let values = [Some(0.0), Some(50.0), None, Some(100.0), None];
        assert_eq!(
            lines(&values, (40.0, 16.0), 100.0),
            ["0 17,10 9", "30 1,31 1"]
        );
        assert!(lines(&[None, None], (40.0, 16.0), 1.0).is_empty());
    }

    #[test]
    fn equal_hours_are_one_piece() {
        use Seen::{Failed, Well};
        let pieces = runs(&[Well, Well, Failed, Well]);
        assert_eq!(pieces, [(0, 2, Well), (2, 3, Failed), (3, 4, Well)]);
    }
}
