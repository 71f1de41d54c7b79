//! Broken lines by the million against the parser of the status contract and the machine behind it.
//! `HB_FUZZ_CASES` says how many (`make fuzz`: many), `HB_FUZZ_SEED` repeats a run.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(
    clippy::disallowed_methods,
    reason = "how many cases is chosen from outside"
)]

use heartbeat::base::moment::Moment;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::contract::line::{Field, LINE_BYTES_MAX, Line, pair};
use heartbeat::contract::report::Report;
use heartbeat::wire::beat::TASK_CHARS_MAX;

const CASES_DEFAULT: u64 = 1_000_000;

const GOOD: [&str; 14] = [
    r#"task="index repo" progress=42 state=working"#,
    r#"{"task":"index repo","progress":42,"state":"waiting_model","expect":600}"#,
    "X_HB_TASK=index repo\nX_HB_PROGRESS=0.42\nSTATUS=two of five\nREADY=1",
    "step=file-1 tokens=512 active=1 queue=7",
    r#"{"tokens":1.5e3,"errors":2,"error":"no route","unknown":{"deep":[[[[{}]]]]}}"#,
    "watchdog ready stopping",
    "EXTEND_TIMEOUT_USEC=5000000\nWATCHDOG=1\nERRNO=2\nMAINPID=77",
    r#"error="say \"no\" \\ twice" errors=3"#,
    "task=\"ä→𝄞\" state=waiting_input",
    r#"{"task":"\u00e4\ud834\udd1e\n","step":null,"ready":true}"#,
    "task= progress= state= expect=",
    "progress=99.999999999999999999 expect=0.000001",
    "state=done",
    "WATCHDOG=trigger",
];

const PIECES: [&str; 34] = [
    "=",
    "\"",
    "\\",
    " ",
    "\n",
    "\r\n",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "NaN",
    "-1",
    "150",
    "1e999",
    "9007199254740992",
    "\u{0}",
    "\u{feff}",
    "\u{2028}",
    "𝄞",
    "\\u0000",
    "\\ud800",
    "task=",
    "progress=",
    "X_HB_",
    "STATUS=",
    "\"progress\":",
    "state=working",
    "tokens=9007199254740991",
    "errors=1",
];

/// `SplitMix64`: a case is its number and the seed, on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

fn broken(dice: &mut Dice) -> Vec<u8> {
    let mut line = GOOD[dice.below(GOOD.len())].as_bytes().to_vec();
    for _ in 0..dice.below(6) {
        let at = dice.below(line.len() + 1);
        match dice.below(7) {
            0 => line.truncate(at),
            1 if at < line.len() => line[at] ^= 1 << dice.below(8),
            2 if at < line.len() => {
                line.remove(at);
            }
            3 => {
                let other = GOOD[dice.below(GOOD.len())].as_bytes();
                let from = dice.below(other.len());
                line.splice(at..at, other[from..].iter().copied());
            }
            4 => {
                let again = line[at..].to_vec();
                line.extend(again);
            }
            _ => {
                let piece = PIECES[dice.below(PIECES.len())];
                let times = if dice.below(500) == 0 {
                    4096 / piece.len()
                } else {
                    1
                };
                line.splice(at..at, piece.repeat(times).into_bytes());
            }
        }
    }
    line
}

/// Whether it was a line.
fn check(line: &[u8], report: &mut Report, now: Moment) -> bool {
    let shown =
        |text: &str| text.chars().count() <= TASK_CHARS_MAX && !text.chars().any(char::is_control);
    match Line::parse(line) {
        Ok(said) => {
            assert!(line.len() <= LINE_BYTES_MAX);
            for field in [&said.task, &said.status] {
                assert!(!matches!(field, Field::Set(text) if !shown(text)));
            }
            assert!(said.error.as_deref().is_none_or(shown));
            assert!(!matches!(said.progress, Field::Set(p) if !(0.0..=100.0).contains(&p)));
            assert!(said.tokens <= COUNT_MAX && said.errors <= COUNT_MAX);
            report.handle(said, &String::from_utf8_lossy(line), now);
            true
        }
        Err(error) => {
            let why = error.to_string();
            assert!(why.len() < 600 && !why.contains('\n'), "{why}");
            false
        }
    }
}

#[test]
fn no_line_however_broken_does_harm() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .map(|text: String| text.parse().unwrap())
    };
    let cases = number("HB_FUZZ_CASES").unwrap_or(CASES_DEFAULT);
    let seed = number("HB_FUZZ_SEED").unwrap_or(20_260_101);
    println!("HB_FUZZ_SEED={seed} HB_FUZZ_CASES={cases}");
    let mut report = Report::default();
    let mut good = 0_u64;
    for case in 0..cases {
        let mut dice = Dice(seed ^ case.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let line = broken(&mut dice);
        let now = Moment::from_millis(case * 20);
        good += u64::from(check(&line, &mut report, now));
        if case % 1000 == 0 {
            let metrics = report.metrics(now);
            assert!(metrics.tokens_used_this_hour <= COUNT_MAX);
            assert!(metrics.errors_last_5_min <= COUNT_MAX);
            assert!(report.lines().count() <= 20);
        }
    }
    println!("{good} of {cases} were lines");
    assert!(
        good > cases / 20 && good < cases,
        "the generator breaks all or nothing"
    );
}

#[test]
fn whatever_is_written_as_a_pair_is_read_back() {
    let mut dice = Dice(7);
    for _ in 0..20_000 {
        let line = broken(&mut dice);
        let text: String = String::from_utf8_lossy(&line).replace('\0', "");
        let step = pair("step", &text);
        if step.len() <= LINE_BYTES_MAX && !text.is_empty() {
            assert_eq!(Line::parse(step.as_bytes()).unwrap().step, Field::Set(text));
        }
    }
}
