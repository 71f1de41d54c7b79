//! Headless agents: command lines that are one piece of work. An agent started with its prompt owes the answer until it ends.

/// An agent, and the arguments that make it run without a person, from its `--help`.
struct Agent {
    name: &'static str,
    /// One of these among its arguments makes an invocation a piece of work.
    asked: &'static [&'static str],
    /// With one of these it is a conversation nevertheless.
    goes_on: &'static [&'static str],
}

const fn agent(
    name: &'static str,
    asked: &'static [&'static str],
    goes_on: &'static [&'static str],
) -> Agent {
    Agent {
        name,
        asked,
        goes_on,
    }
}

const AGENTS: [Agent; 13] = [
    agent(
        "aider",
        &["-m", "--msg", "--message", "-f", "--message-file"],
        &[],
    ),
    agent("amp", &["-x", "--execute"], &["--stream-json-input"]),
    agent("auggie", &["-p", "--print"], &[]),
    agent("claude", &["-p", "--print"], &["--input-format"]),
    agent("codex", &["exec", "e", "review"], &[]),
    agent("copilot", &["-p", "--prompt"], &[]),
    agent("crush", &["run"], &[]),
    agent("cursor-agent", &["-p", "--print"], &[]),
    agent("droid", &["exec"], &["--input-format"]),
    agent(
        "gemini",
        &["-p", "--prompt"],
        &["-i", "--prompt-interactive"],
    ),
    agent("goose", &["run"], &["-s", "--interactive"]),
    agent("opencode", &["run"], &[]),
    agent("qwen", &["-p", "--prompt"], &["-i", "--prompt-interactive"]),
];
/// Programs that run the program named by their first argument.
const INTERPRETERS: [&str; 7] = ["node", "bun", "deno", "python", "python3", "env", "npx"];

/// Whether a command line (program first) is one piece of work of a known agent.
pub fn is_headless<'a>(mut args: impl Iterator<Item = &'a str>) -> bool {
    let mut program = args.next().map_or("", base);
    if INTERPRETERS.contains(&program) {
        program = args.find(|arg| !arg.starts_with('-')).map_or("", base);
    }
    let Some(agent) = AGENTS.iter().find(|agent| agent.name == program) else {
        return false;
    };
    let (mut asked, mut goes_on) = (false, false);
    for arg in args {
        let flag = arg.split_once('=').map_or(arg, |(flag, _)| flag);
        asked |= agent.asked.contains(&flag);
        goes_on |= agent.goes_on.contains(&flag);
    }
    asked && !goes_on
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_was_started_with_its_prompt_is_a_piece_of_work() {
        for args in [
            &["claude", "-p", "say hello"][..],
            &["/usr/bin/claude", "--model", "opus", "--print", "say hello"],
            &[
                "node",
                "--no-warnings",
                "/usr/bin/codex",
                "exec",
                "--json",
                "x",
            ],
            &["gemini", "--prompt=say hello"],
            &["opencode", "run", "say hello"],
        ] {
            assert!(is_headless(args.iter().copied()), "{args:?}");
        }
    }

    #[test]
    fn a_conversation_and_other_programs_are_none() {
        for args in [
            &["claude"][..],
            &["claude", "what does cp -p do?"],
            &["claude", "-p", "--input-format", "stream-json"],
            &["codex", "app-server"],
            &["goose", "run", "-s", "-t", "x"],
            &["cp", "-p", "claude", "b"],
            &["node", "server.js", "-p", "80"],
            &["node"],
            &[],
        ] {
            assert!(!is_headless(args.iter().copied()), "{args:?}");
        }
    }
}
