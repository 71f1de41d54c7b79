//! The table of the zoo, `table.toml`, as types. A row that cannot be is refused when the table is read.

use heartbeat::wire::beat::Verdict;
use serde::Deserialize;
use std::time::Duration;

/// One program and what is to be said of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) note: String,
    pub(crate) run: Vec<String>,
    #[serde(default)]
    pub(crate) expect: Vec<Verdict>,
    #[serde(default)]
    pub(crate) evidence: Vec<String>,
    limit: Option<f64>,
    watch: Option<f64>,
    pub(crate) peer: Option<Peer>,
    #[serde(default)]
    pub(crate) io: Io,
    #[serde(default)]
    pub(crate) siblings: Vec<Vec<String>>,
    pub(crate) act: Option<Act>,
    #[serde(default)]
    pub(crate) cores: usize,
    #[serde(default)]
    pub(crate) flags: Vec<String>,
    #[serde(default)]
    pub(crate) check: Check,
    #[serde(default)]
    pub(crate) slow: bool,
    #[serde(default)]
    pub(crate) smoke: bool,
    /// The rule that must have found it: compared with `cause` of the activity where the sidecar reports one.
    pub(crate) cause: Option<String>,
    #[serde(default)]
    pub(crate) shows: Vec<Claim>,
    /// Its end is no fault: it has done its work.
    #[serde(default)]
    pub(crate) may_end: bool,
    /// It leaves a descriptor on its way, which may be of any wait on this machine: no other row is proven meanwhile.
    #[serde(default)]
    pub(crate) sends: bool,
}

/// Where the fake model is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    Local,
    Remote,
    /// Remote too, in the dialects of real agents.
    Model,
}

/// What standard input and output are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Io {
    #[default]
    Null,
    OpenStdin,
    Undrained,
    /// Its reader, outside the tree, takes 64 KiB every forty seconds.
    Slow,
    Pty,
    UndrainedPty,
}

/// What is done to the program at its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Act {
    Drop,
    Gdb,
    Freeze1,
    Freeze2,
    Pause,
}

/// What is looked at: the verdict, or what became of the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Check {
    #[default]
    Verdict,
    CrashLoop,
    Term,
    Budget,
}

/// What /proc must show of a process; everything that is said holds at the same time, twice in a row.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Claim {
    /// `root`, `child` or `child NAME` (any descendant), `fact NAME` (a pid in the mark).
    pub(crate) who: String,
    pub(crate) at_least: usize,
    pub(crate) state: Option<char>,
    pub(crate) threads: Option<usize>,
    /// Names or families of system calls.
    pub(crate) r#in: Vec<String>,
    pub(crate) every_thread: bool,
    pub(crate) some_thread_in: Option<String>,
    /// What the call's descriptor is: the start of its link, or its end after a slash.
    pub(crate) on: Option<String>,
    /// `none`, `finite`, or `far`: more than an hour.
    pub(crate) deadline: Option<String>,
    pub(crate) read_by: Option<String>,
    pub(crate) holds_pipe_of: Option<String>,
    pub(crate) tcp: Option<String>,
    pub(crate) unread: bool,
    pub(crate) no_tcp: bool,
    pub(crate) cut: bool,
    pub(crate) traced: Option<bool>,
    pub(crate) frozen: bool,
    pub(crate) outside: bool,
    pub(crate) waits_for_lock: bool,
    pub(crate) ignores_term: bool,
    pub(crate) eventfd_only: bool,
    pub(crate) starved: bool,
    /// Counters of the tree (of the process itself where it is no root) that change, or do not, in a second.
    pub(crate) moving: Vec<String>,
    pub(crate) still: Vec<String>,
    pub(crate) printed: Option<String>,
    pub(crate) silent: bool,
    pub(crate) said: Option<String>,
    pub(crate) notified: Option<String>,
    pub(crate) ends: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// All rows of the zoo, in the order of the file.
pub(crate) fn rows() -> Vec<Row> {
    read(include_str!("table.toml"))
}

/// Ordinary programs, watched for long.
pub(crate) fn soak() -> Vec<Row> {
    read(include_str!("../soak/table.toml"))
}

/// Real agents against a fake model.
pub(crate) fn agents() -> Vec<Row> {
    read(include_str!("../agents/table.toml"))
}

/// Each real agent and each thing that its model may do, `matrix.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matrix {
    agent: Vec<RealAgent>,
    mode: Vec<Mode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RealAgent {
    name: String,
    run: Vec<String>,
    #[serde(default)]
    without_tools: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mode {
    name: String,
    model: String,
    /// Nothing: no flag may come.
    #[serde(default)]
    expect: Vec<Verdict>,
    limit: Option<f64>,
    watch: Option<f64>,
    #[serde(default)]
    with_tools: bool,
    /// The agent may find it by itself.
    #[serde(default)]
    may_end: bool,
}

/// Every agent in every mode, `{h|g}_AGENT_MODE`.
pub(crate) fn matrix() -> Vec<Row> {
    let matrix: Matrix = toml::from_str(include_str!("../agents/matrix.toml")).unwrap();
    let modes = |agent: &RealAgent| {
        let able: Vec<&Mode> = matrix
            .mode
            .iter()
            .filter(|mode| !(mode.with_tools && agent.without_tools))
            .collect();
        able.into_iter()
            .map(|mode| mode.row(agent))
            .collect::<Vec<_>>()
    };
    matrix.agent.iter().flat_map(modes).collect()
}

impl Mode {
    fn row(&self, agent: &RealAgent) -> Row {
        let kind = if self.limit.is_some() { 'h' } else { 'g' };
        let start = ["bash", "{agents}/run.sh", &agent.name, &self.model].map(str::to_owned);
        Row {
            name: format!("{kind}_{}_{}", agent.name, self.name),
            run: [&start[..], &agent.run].concat(),
            expect: self.expect.clone(),
            limit: self.limit,
            watch: self.watch,
            peer: Some(Peer::Model),
            may_end: self.may_end || kind == 'g',
            ..Row::default()
        }
    }
}

fn read(text: &str) -> Vec<Row> {
    let table: Table = toml::from_str(text).unwrap();
    for row in &table.row {
        assert!(
            row.sick() == row.limit.is_some() && row.sick() != row.watch.is_some(),
            "{}: an h row has a limit, a g row a watch",
            row.name
        );
        assert!(
            row.check != Check::Verdict || !row.sick() || row.expect.len() == 1,
            "{}: an h row names one verdict",
            row.name
        );
        assert!(
            !row.expect.contains(&Verdict::Unknown),
            "{}: expects a word that is no verdict",
            row.name
        );
    }
    table.row
}

/// Rows of the zoo that are missed today. A row that is found is struck from the file; no row is ever added.
pub(crate) fn known_misses() -> Vec<&'static str> {
    let lines = include_str!("known_misses.txt").lines().map(str::trim);
    let names = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let names: Vec<&str> = names.collect();
    let rows = rows();
    for name in &names {
        assert!(
            rows.iter().any(|row| row.sick() && row.name == *name),
            "known_misses.txt: {name} is not an h row of the table"
        );
    }
    assert!(
        names.len() <= KNOWN_MISSES_MAX,
        "known_misses.txt may only shrink: {} of {KNOWN_MISSES_MAX}",
        names.len()
    );
    names
}

/// Lowered whenever a row leaves the file.
const KNOWN_MISSES_MAX: usize = 6;

impl Row {
    /// Whether it must be flagged.
    pub(crate) fn sick(&self) -> bool {
        self.name.starts_with('h')
    }

    /// From the mark until the verdict is due, or as long as none may come; at this patience.
    pub(crate) fn time(&self, patience: f64) -> Duration {
        Duration::from_secs_f64(self.limit.or(self.watch).unwrap() * patience)
    }
}
