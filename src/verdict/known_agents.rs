//! Known agents, by their command lines: which program it is, and whether it was started for one piece of work. An agent
//! started with its prompt owes the answer until it ends.
//!
//! Each row is from the program's own `--help`, tried with the version of November 2026.

/// One agent, and the arguments that make it run without a person.
struct Agent {
    /// What its program or its package is called.
    names: &'static [&'static str],
    /// One of these makes an invocation a piece of work.
    asked: &'static [&'static str],
    /// One of these does too, and the prompt follows it: a number is no prompt but a port.
    prompts: &'static [&'static str],
    /// Away from a terminal, a prompt without a flag is a piece of work too.
    bare_prompt: bool,
    /// With one of these it is a conversation or a server nevertheless.
    goes_on: &'static [&'static str],
}

const NONE: Agent = Agent {
    names: &[],
    asked: &[],
    prompts: &[],
    bare_prompt: false,
    goes_on: &[],
};

const AGENTS: &[Agent] = &[
    Agent {
        names: &["aider"],
        prompts: &["-m", "--msg", "--message", "-f", "--message-file"],
        ..NONE
    },
    Agent {
        names: &["amp"],
        asked: &["-x", "--execute"],
        goes_on: &["--stream-json-input"],
        ..NONE
    },
    Agent {
        names: &["auggie"],
        asked: &["-p", "--print"],
        ..NONE
    },
    Agent {
        names: &["claude", "claude-code"],
        asked: &["-p", "--print"],
        goes_on: &["--input-format"],
        ..NONE
    },
    Agent {
        names: &["cline"],
        bare_prompt: true,
        goes_on: &["--cline-hub-daemon", "--acp"],
        ..NONE
    },
    Agent {
        names: &["cn", "continue"],
        asked: &["-p", "--print"],
        ..NONE
    },
    Agent {
        names: &["codex"],
        asked: &["exec", "e", "review"],
        ..NONE
    },
    Agent {
        names: &["copilot"],
        prompts: &["-p", "--prompt"],
        ..NONE
    },
    Agent {
        names: &["crush"],
        asked: &["run"],
        ..NONE
    },
    Agent {
        names: &["cursor-agent"],
        asked: &["-p", "--print"],
        ..NONE
    },
    Agent {
        names: &["droid"],
        asked: &["exec"],
        goes_on: &["--input-format"],
        ..NONE
    },
    Agent {
        names: &["gemini", "gemini-cli"],
        prompts: &["-p", "--prompt"],
        bare_prompt: true,
        goes_on: &["-i", "--prompt-interactive", "--experimental-acp", "--acp"],
        ..NONE
    },
    Agent {
        names: &["goose"],
        asked: &["run"],
        goes_on: &["-s", "--interactive"],
        ..NONE
    },
    Agent {
        names: &["mini", "mini-swe-agent"],
        asked: &["--exit-immediately"],
        ..NONE
    },
    Agent {
        names: &["opencode", "opencode-ai"],
        asked: &["run"],
        ..NONE
    },
    Agent {
        names: &["openhands"],
        asked: &["--headless"],
        ..NONE
    },
    Agent {
        names: &["pi", "pi-coding-agent"],
        asked: &["-p", "--print"],
        ..NONE
    },
    Agent {
        names: &["qwen", "qwen-code"],
        prompts: &["-p", "--prompt"],
        bare_prompt: true,
        goes_on: &["-i", "--prompt-interactive", "--experimental-acp", "--acp"],
        ..NONE
    },
    Agent {
        names: &["vibe", "vibe-rs"],
        prompts: &["-p", "--prompt", "--prompt-file"],
        ..NONE
    },
];
/// Programs that run the program named by their first argument.
const INTERPRETERS: [&str; 9] = [
    "node", "bun", "bunx", "deno", "python", "python3", "env", "npx", "uvx",
];
/// What the start script of a package is called: the package's folder names the program then.
const START_SCRIPTS: [&str; 5] = ["cli", "index", "main", "bundle", "__main__"];

/// Where packages are installed.
const PACKAGES: [&str; 2] = ["node_modules/", "site-packages/"];

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

/// How a command line (program first) starts a known agent; none when it starts another program.
pub fn recognise<'a>(args: impl Iterator<Item = &'a str>) -> Option<Invocation> {
    let args: Vec<&str> = args.collect();
    let (program, args) = args.split_first()?;
    let (program, args) = if INTERPRETERS.contains(&base(program)) {
        let at = args.iter().position(|arg| !arg.starts_with('-'))?;
        (args.get(at)?, args.get(at + 1..)?)
    } else {
        (program, args)
    };
    let named = |agent: &&Agent| agent.names.iter().any(|name| is_called(program, name));
    Some(AGENTS.iter().find(named)?.invocation(args))
}

impl Agent {
    fn invocation(&self, args: &[&str]) -> Invocation {
        let flag = |arg: &str| arg.split_once('=').map_or(arg, |(flag, _)| flag).to_owned();
        let given = |flags: &[&str]| args.iter().any(|arg| flags.contains(&flag(arg).as_str()));
        if given(self.goes_on) {
            return Invocation::Conversation;
        }
        // A program that sets its own title has no arguments left.
        let bare = !args.is_empty() && args.iter().all(|arg| arg.is_empty());
        if given(self.asked) || self.is_prompted(args) {
            Invocation::Piece
        } else if bare || self.bare_prompt && args.iter().any(|arg| is_sentence(arg)) {
            Invocation::PieceAwayFromTerminal
        } else {
            Invocation::Conversation
        }
    }

    /// Whether a prompt follows one of its flags.
    fn is_prompted(&self, args: &[&str]) -> bool {
        args.iter().enumerate().any(|(at, arg)| {
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (*arg, args.get(at + 1).copied()),
            };
            let is_number = |value: &str| value.bytes().all(|b| b.is_ascii_digit());
            self.prompts.contains(&flag) && !value.is_some_and(is_number)
        })
    }
}

/// Several words that are no flag.
fn is_sentence(arg: &str) -> bool {
    !arg.starts_with('-') && arg.trim().contains(' ')
}

/// Whether a path names this program, by its last part or by the folder of its package.
fn is_called(path: &str, name: &str) -> bool {
    let stem = base(path).split('.').next().unwrap_or_default();
    let installed = PACKAGES.iter().find_map(|at| path.rsplit_once(at));
    let package = || installed.is_some_and(|(_, path)| path.split('/').any(|part| part == name));
    stem == name || START_SCRIPTS.contains(&stem) && package()
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(args: &[&str]) -> Option<Invocation> {
        recognise(args.iter().copied())
    }

    #[test]
    fn an_agent_that_was_started_with_its_prompt_is_a_piece_of_work() {
        for args in [
            &["claude", "-p", "say hello"][..],
            &["/usr/bin/claude", "--model", "opus", "--print", "say hello"],
            &["node", "--no-warnings", "/bin/codex", "exec", "--json", "x"],
            &["gemini", "--prompt=say hello"],
            &["node", "/x/node_modules/.bin/gemini", "-p", "say hello"],
            &[
                "node",
                "--expose-gc",
                "/node_modules/@qwen-code/qwen-code/cli.js",
                "-p",
                "x",
            ],
            &["opencode", "run", "say hello"],
            &["pi", "-p", "say hello"],
            &["node", "/usr/bin/cn", "--auto", "-p", "say hello"],
            &["python3", "/v/bin/mini", "-t", "x", "--exit-immediately"],
            &["openhands", "--headless", "-t", "x"],
        ] {
            assert_eq!(of(args), Some(Invocation::Piece), "{args:?}");
        }
    }

    #[test]
    fn a_prompt_without_a_flag_is_a_piece_of_work_away_from_a_terminal() {
        for args in [
            &["qwen", "say hello"][..],
            &["cline", "--json", "say hello"],
            // It has set its own title.
            &["pi", "", ""],
        ] {
            let found = of(args).unwrap();
            assert_eq!(found, Invocation::PieceAwayFromTerminal, "{args:?}");
            assert!(found.is_piece(false) && !found.is_piece(true));
        }
    }

    #[test]
    fn a_conversation_is_no_piece_of_work() {
        for args in [
            &["claude"][..],
            &["claude", "what does cp -p do?"],
            &["claude", "-p", "--input-format", "stream-json"],
            &["codex", "app-server"],
            &["cline", "--cline-hub-daemon"],
            &["goose", "run", "-s", "-t", "x"],
            // The flag of a server of the Gemini protocol: its port.
            &["/srv/gemini", "-p", "1965"],
            &["qwen"],
            &["pi"],
        ] {
            assert_eq!(of(args), Some(Invocation::Conversation), "{args:?}");
        }
    }

    #[test]
    fn another_program_is_no_agent() {
        for args in [
            &["cp", "-p", "claude", "b"][..],
            &["node", "server.js", "-p", "80"],
            &["node", "/srv/shop/index.js"],
            &["node"],
            &[],
        ] {
            assert_eq!(of(args), None, "{args:?}");
        }
    }
}
