//! The agents that hb knows: how each is recognised on a command line, when its command line is one piece of work, how it
//! resumes a session and what it prints. One table; everything else about an agent is decided from what it does.
//!
//! Command lines are those of the agents' own `--help`, tried with the real packages (`make zoo-agents`).

/// What an agent prints for programs, where it prints anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// One JSON event a line, in a dialect that `--read stream-json` follows; these words switch it on.
    Json(&'static str),
    /// One JSON object when it has ended.
    AtEnd(&'static str),
    /// Text for people only.
    None,
}

/// One agent.
#[derive(Clone, Copy, Debug)]
pub struct KnownAgent {
    /// Its command.
    pub name: &'static str,
    /// Folders of its package: its script lies below one of them when an interpreter runs it.
    packages: &'static [&'static str],
    /// One of these words makes an invocation one piece of work.
    asked: &'static [&'static str],
    /// Away from a terminal, an argument of its own is a prompt and one piece of work, and these subcommands are none;
    /// `None`: it begins a conversation.
    prompt: Option<&'static [&'static str]>,
    /// With one of these it is a conversation nevertheless; `flag=value` counts with this value alone.
    goes_on: &'static [&'static str],
    /// The words that resume the session `{id}` with the prompt `{prompt}`; empty: it cannot.
    pub resume: &'static str,
    /// What it prints for programs.
    pub stream: Stream,
}

/// An agent that nothing more is known of.
const UNKNOWN: KnownAgent = KnownAgent {
    name: "",
    packages: &[],
    asked: &[],
    prompt: None,
    goes_on: &[],
    resume: "",
    stream: Stream::None,
};
const PRINT: &[&str] = &["-p", "--print"];
const PROMPT: &[&str] = &["-p", "--prompt"];
const CLAUDE_STREAM: Stream = Stream::Json("--output-format stream-json --verbose");

/// The table.
pub const KNOWN_AGENTS: [KnownAgent; 19] = [
    KnownAgent {
        name: "aider",
        packages: &["aider"],
        asked: &["-m", "--msg", "--message", "-f", "--message-file"],
        resume: "aider --restore-chat-history -m {prompt}",
        ..UNKNOWN
    },
    KnownAgent {
        name: "amp",
        packages: &["@ampcode/cli", "@sourcegraph/amp"],
        asked: &["-x", "--execute"],
        goes_on: &["--stream-json-input"],
        resume: "amp threads continue {id} -x {prompt}",
        stream: Stream::Json("--stream-json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "auggie",
        packages: &["@augmentcode/auggie"],
        asked: PRINT,
        ..UNKNOWN
    },
    KnownAgent {
        name: "claude",
        packages: &["@anthropic-ai/claude-code"],
        asked: PRINT,
        goes_on: &["--input-format=stream-json"],
        resume: "claude -p {prompt} --resume {id}",
        stream: CLAUDE_STREAM,
        ..UNKNOWN
    },
    KnownAgent {
        name: "cline",
        packages: &["cline"],
        asked: &["--json"],
        prompt: Some(&[
            "auth", "config", "connect", "dev", "doctor", "help", "history", "hub", "kanban",
            "mcp", "plugin", "rpc", "schedule", "skill", "update", "version",
        ]),
        goes_on: &[
            "-i",
            "--tui",
            "--interactive",
            "--acp",
            "--cline-hub-daemon",
        ],
        stream: Stream::Json("--json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "cn",
        packages: &["@continuedev/cli"],
        asked: PRINT,
        stream: Stream::AtEnd("--format json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "codex",
        packages: &["@openai/codex"],
        asked: &["exec", "e", "review"],
        resume: "codex exec resume {id} {prompt}",
        stream: Stream::Json("--json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "copilot",
        packages: &["@github/copilot"],
        asked: PROMPT,
        goes_on: &["-i", "--interactive", "--acp"],
        resume: "copilot -p {prompt} --resume={id}",
        stream: Stream::Json("--output-format json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "crush",
        packages: &["@charmland/crush"],
        asked: &["run"],
        resume: "crush run --session {id} {prompt}",
        ..UNKNOWN
    },
    KnownAgent {
        name: "cursor-agent",
        packages: &["cursor-agent"],
        asked: PRINT,
        resume: "cursor-agent -p --resume {id} {prompt}",
        stream: Stream::Json("--output-format stream-json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "droid",
        asked: &["exec"],
        goes_on: &[
            "--input-format=stream-json",
            "--input-format=stream-jsonrpc",
        ],
        ..UNKNOWN
    },
    KnownAgent {
        name: "gemini",
        packages: &["@google/gemini-cli"],
        asked: PROMPT,
        prompt: Some(&["mcp", "extensions", "extension", "hooks", "skills"]),
        goes_on: &["-i", "--prompt-interactive", "--acp", "--experimental-acp"],
        resume: "gemini --resume {id} -p {prompt}",
        stream: Stream::Json("-o stream-json"),
    },
    KnownAgent {
        name: "goose",
        asked: &["run"],
        goes_on: &["-s", "--interactive"],
        resume: "goose run --resume --session-id {id} -t {prompt}",
        ..UNKNOWN
    },
    KnownAgent {
        name: "mini",
        packages: &["minisweagent"],
        asked: &["--exit-immediately"],
        ..UNKNOWN
    },
    KnownAgent {
        name: "opencode",
        packages: &["opencode-ai"],
        asked: &["run"],
        resume: "opencode run --session {id} {prompt}",
        stream: Stream::Json("--format json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "openhands",
        packages: &["openhands"],
        asked: &["--headless"],
        resume: "openhands --headless --resume {id} -t {prompt}",
        ..UNKNOWN
    },
    KnownAgent {
        name: "pi",
        packages: &[
            "@earendil-works/pi-coding-agent",
            "@mariozechner/pi-coding-agent",
        ],
        asked: &["-p", "--print", "--mode=json"],
        goes_on: &["--mode=rpc"],
        resume: "pi --session {id} -p {prompt}",
        stream: Stream::Json("--mode json"),
        ..UNKNOWN
    },
    KnownAgent {
        name: "qwen",
        packages: &["@qwen-code/qwen-code"],
        asked: PROMPT,
        prompt: Some(&[
            "auth",
            "channel",
            "extensions",
            "extension",
            "hooks",
            "mcp",
            "review",
            "serve",
            "sessions",
        ]),
        goes_on: &[
            "-i",
            "--prompt-interactive",
            "--acp",
            "--experimental-acp",
            "--input-format=stream-json",
        ],
        resume: "qwen --resume {id} {prompt}",
        stream: Stream::Json("-o stream-json"),
    },
    KnownAgent {
        name: "vibe",
        packages: &["vibe"],
        asked: &["-p", "--prompt", "--prompt-file"],
        resume: "vibe -p {prompt} --resume {id}",
        ..UNKNOWN
    },
];

/// Programs that run the program named by their first argument of their own.
const INTERPRETERS: [&str; 14] = [
    "node", "nodejs", "bun", "bunx", "deno", "python", "env", "npx", "uvx", "pipx", "sh", "bash",
    "dash", "zsh",
];
/// With one of these an interpreter is given its program as a text.
const TEXTS: [&str; 3] = ["-e", "--eval", "-c"];
/// Words of an interpreter before the program it runs.
const RUNS: [&str; 3] = ["run", "x", "tool"];
/// Options of an interpreter whose value is the next argument.
const INTERPRETERS_VALUED: [&str; 14] = [
    "-r",
    "--require",
    "--import",
    "--loader",
    "--experimental-loader",
    "-C",
    "--conditions",
    "--env-file",
    "-W",
    "-X",
    "-u",
    "--unset",
    "--package",
    "--from",
];
/// Flags that also name a port: a number behind one is no prompt.
const PORTS: [&str; 1] = ["-p"];

/// The agent that a command line runs, program first, and the arguments that are its own.
pub fn recognise<'a>(args: &[&'a str]) -> Option<(&'static KnownAgent, Vec<&'a str>)> {
    let (program, rest) = args.split_first()?;
    if let Some(agent) = named(base(program)).or_else(|| of_package(program)) {
        return Some((agent, rest.to_vec()));
    }
    if !is_interpreter(base(program)) {
        return None;
    }
    let mut rest = rest.iter().copied();
    while let Some(word) = rest.next() {
        let is_assignment = is_variable(word);
        match word {
            "-m" => {
                let module = rest.next()?;
                let agent = named(module).or_else(|| of_module(module))?;
                return Some((agent, rest.collect()));
            }
            _ if TEXTS.contains(&word) => return None,
            _ if INTERPRETERS_VALUED.contains(&word) => drop(rest.next()),
            _ if word.starts_with('-') || is_assignment || RUNS.contains(&word) => {}
            _ => {
                let agent = of_package(word).or_else(|| named(script(word)))?;
                return Some((agent, rest.collect()));
            }
        }
    }
    None
}

/// How a known agent was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invocation {
    /// For one piece of work: it owes the answer until it ends.
    Piece,
    /// For one piece of work, unless it is at a terminal.
    PieceAwayFromTerminal,
    /// It takes one turn after another, or serves.
    Conversation,
}

impl Invocation {
    /// Whether it is one piece of work; `terminal`: its output goes to a terminal.
    pub fn is_piece(self, terminal: bool) -> bool {
        match self {
            Self::Piece => true,
            Self::PieceAwayFromTerminal => !terminal,
            Self::Conversation => false,
        }
    }
}

/// How a command line, program first, starts a known agent; none when it starts another program.
pub fn invocation(args: &[&str]) -> Option<Invocation> {
    recognise(args).map(|(agent, args)| agent.invocation(&args))
}

impl KnownAgent {
    fn invocation(&self, args: &[&str]) -> Invocation {
        // A program that sets its own title has no arguments left.
        let is_bare = !args.is_empty() && args.iter().all(|arg| arg.is_empty());
        if self.has(self.goes_on, args) {
            Invocation::Conversation
        } else if self.has(self.asked, args) {
            Invocation::Piece
        } else if is_bare || self.has_prompt(args) {
            Invocation::PieceAwayFromTerminal
        } else {
            Invocation::Conversation
        }
    }

    /// Whether one of these words is among the arguments: as it is, with `=value`, or as `flag=value` in one or two words.
    fn has(&self, words: &[&str], args: &[&str]) -> bool {
        let is = |word: &&str, at: usize| {
            let next = args.get(at + 1).copied();
            let (flag, value) = split(args.get(at).copied().unwrap_or_default());
            match word.split_once('=') {
                Some((wanted, this)) => flag == wanted && value.or(next) == Some(this),
                None => flag == *word && !is_port(flag, value.or(next)),
            }
        };
        (0..args.len()).any(|at| words.iter().any(|word| is(word, at)))
    }

    /// A prompt stands for itself: it is the first argument, or has words in it. What follows a flag may be its value.
    fn has_prompt(&self, args: &[&str]) -> bool {
        let Some(subcommands) = self.prompt else {
            return false;
        };
        match args.first() {
            Some(first) if subcommands.contains(first) => return false,
            Some(first) if !first.starts_with('-') && !first.is_empty() => return true,
            Some(_) | None => {}
        }
        args.iter()
            .any(|arg| !arg.starts_with('-') && arg.contains(char::is_whitespace))
    }
}

fn named(name: &str) -> Option<&'static KnownAgent> {
    KNOWN_AGENTS
        .iter()
        .find(|agent| agent.name == name.strip_suffix(".exe").unwrap_or(name))
}

/// By the folder of its package, wherever that is installed.
fn of_package(path: &str) -> Option<&'static KnownAgent> {
    let lies_in = |package: &str| {
        let mut from = path.match_indices(package);
        from.any(|(at, found)| {
            let before = path.get(..at).unwrap_or_default();
            let after = path.get(at + found.len()..).unwrap_or_default();
            (before.ends_with('/') || (package.starts_with('@') && before.is_empty()))
                // A platform's own package carries the platform behind the name.
                && (after.starts_with('/') || after.is_empty() || after.starts_with("-linux") || after.starts_with('@'))
        })
    };
    let is_installed = ["node_modules/", "site-packages/"]
        .iter()
        .any(|place| path.contains(place));
    let mut agents = KNOWN_AGENTS
        .iter()
        .filter(|_| is_installed || path.starts_with('@'));
    agents.find(|agent| agent.packages.iter().any(|package| lies_in(package)))
}

/// `NAME=value` before the program that `env` runs.
fn is_variable(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// `python -m minisweagent.run.mini`.
fn of_module(module: &str) -> Option<&'static KnownAgent> {
    let top = module.split('.').next()?;
    KNOWN_AGENTS
        .iter()
        .find(|agent| agent.packages.contains(&top))
}

fn is_interpreter(name: &str) -> bool {
    // python3.12 is python.
    INTERPRETERS.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

/// The name of a script without its ending and the version behind it: `agent@1.2` is run by npx.
fn script(path: &str) -> &str {
    let name = base(path);
    let name = name.split('@').next().unwrap_or(name);
    name.strip_suffix(".js")
        .or_else(|| name.strip_suffix(".mjs"))
        .unwrap_or(name)
}

fn split(arg: &str) -> (&str, Option<&str>) {
    match arg.split_once('=') {
        Some((flag, value)) if arg.starts_with('-') => (flag, Some(value)),
        Some(_) | None => (arg, None),
    }
}

fn is_port(flag: &str, value: Option<&str>) -> bool {
    let number = |value: &str| {
        !value.is_empty()
            && value
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b':')
    };
    PORTS.contains(&flag) && value.is_some_and(number)
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_piece(args: &[&str]) -> bool {
        invocation(args).is_some_and(|invocation| invocation.is_piece(false))
    }

    #[test]
    fn an_agent_that_was_started_with_its_prompt_is_a_piece_of_work() {
        for args in [
            &["claude", "-p", "say hello"][..],
            &["/usr/bin/claude", "--model", "opus", "--print", "say hello"],
            &["claude", "-p", "x", "--input-format", "text"],
            &[
                "/n/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
                "-p",
                "x",
            ],
            &[
                "node",
                "--no-warnings",
                "/usr/bin/codex",
                "exec",
                "--json",
                "x",
            ],
            &[
                "/n/node_modules/@openai/codex-linux-x64/vendor/x86_64/bin/codex",
                "exec",
                "x",
            ],
            &["gemini", "--prompt=say hello"],
            &[
                "node",
                "--max-old-space-size=5967",
                "/n/node_modules/.bin/gemini",
                "-p",
                "x",
            ],
            &[
                "node",
                "--expose-gc",
                "/n/node_modules/@qwen-code/qwen-code/cli.js",
                "say hello",
            ],
            &["qwen", "--yolo", "--auth-type", "openai", "say hello"],
            &["opencode", "run", "say hello"],
            &["pi", "--provider", "fake", "-p", "say hello"],
            &["pi", "--mode", "json", "say hello"],
            &["cline", "say hello"],
            &["cline", "--json", "-m", "x", "hello"],
            &[
                "node",
                "/n/node_modules/.bin/cn",
                "--auto",
                "-p",
                "say hello",
            ],
            &[
                "/usr/bin/python3.12",
                "-P",
                "/venv/bin/aider",
                "--yes-always",
                "-m",
                "x",
            ],
            &["python3", "-m", "aider", "--message", "x"],
            &[
                "python",
                "-m",
                "minisweagent.run.mini",
                "-t",
                "x",
                "--exit-immediately",
            ],
            &["npx", "-y", "@google/gemini-cli", "-p", "say hello"],
            &["npx", "@anthropic-ai/claude-code@latest", "-p", "say hello"],
            &["env", "HOME=/x", "goose", "run", "-t", "x"],
            &[
                "/n/node_modules/@github/copilot-linux-x64/copilot",
                "-p",
                "x",
                "--allow-all-tools",
            ],
            &["sh", "/usr/local/bin/claude", "-p", "x"],
            &["cursor-agent", "-p", "x"],
            &["amp", "-x", "say hello"],
        ] {
            assert!(is_piece(args), "{args:?}");
        }
    }

    #[test]
    fn a_prompt_without_a_flag_begins_a_conversation_at_a_terminal() {
        for args in [
            &["qwen", "say hello"][..],
            &["gemini", "say hello"],
            &["cline", "say hello"],
            // It has set its own title.
            &["pi", "", ""],
        ] {
            assert_eq!(
                invocation(args),
                Some(Invocation::PieceAwayFromTerminal),
                "{args:?}"
            );
        }
    }

    #[test]
    fn a_conversation_and_other_programs_are_none() {
        for args in [
            &["claude"][..],
            &["claude", "what does cp -p do?"],
            &["claude", "-p", "--input-format", "stream-json"],
            &["codex", "app-server"],
            &["codex", "say hello"],
            &["goose", "run", "-s", "-t", "x"],
            &["goose", "up"],
            &["gemini", "-i", "x"],
            &["qwen", "serve", "--port", "80"],
            &["qwen"],
            &["cline", "auth", "-p", "openai compatible"],
            &["cline", "-i", "say hello"],
            &["cline", "--cline-hub-daemon"],
            &["pi", "--mode", "rpc"],
            &["mini", "-t", "x"],
            &["cp", "-p", "claude", "b"],
            &["node", "server.js", "-p", "80"],
            &["node", "-e", "claude", "-p"],
            &["sh", "-c", "claude", "-p", "x"],
            &["node"],
            &[],
        ] {
            assert!(!is_piece(args), "{args:?}");
        }
    }

    #[test]
    fn a_port_is_no_prompt() {
        assert!(!is_piece(&["gemini", "-p", "1965"]));
        assert!(!is_piece(&["/usr/bin/gemini", "-p=1965"]));
        assert!(!is_piece(&["pi", "-p", "127:80"]));
        assert!(is_piece(&["gemini", "-p", "1965 was which year?"]));
    }

    #[test]
    fn a_folder_of_the_same_name_makes_no_agent() {
        for args in [
            &["node", "/home/me/cline/server.js", "say hello"][..],
            &["python3", "/home/vibe/train.py", "-p", "say hello"],
            &["/home/me/aider/run", "-m", "x"],
        ] {
            assert!(!is_piece(args), "{args:?}");
        }
    }

    #[test]
    fn each_agent_stands_once_and_resumes_by_its_own_name() {
        for (n, agent) in KNOWN_AGENTS.iter().enumerate() {
            assert!(
                KNOWN_AGENTS
                    .iter()
                    .skip(n + 1)
                    .all(|other| other.name != agent.name)
            );
            assert!(agent.resume.is_empty() || agent.resume.split(' ').next() == Some(agent.name));
            assert!(
                agent.resume.is_empty() || agent.resume.contains("{prompt}"),
                "{}",
                agent.name
            );
        }
    }
}
