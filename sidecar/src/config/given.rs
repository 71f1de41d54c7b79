//! What was given, by flag, by variable, or by a variable that is the agent's own; and what contradicts itself.

use super::{Above, Args, ConfigError, Store, args};
use hbshell::command_line::first_set;
use hbshell::store::{AddressError, CredentialsGiven};
use heartbeat::base::id::AgentId;

/// The id that was given, by flag or variable. `AGENT_ID` is the agent's own variable: one that is no id is a note.
pub(super) fn id(
    flag: Option<String>,
    above: &Above,
    notes: &mut Vec<String>,
) -> Result<Option<AgentId>, ConfigError> {
    let given = flag.map(|text| ("--id", text));
    let given = given.or_else(|| Some(("HB_AGENT_ID", above.unless_given("HB_AGENT_ID")?)));
    if let Some((from, text)) = given {
        let id = AgentId::parse(&text).map_err(|error| ConfigError::Id(from, text, error))?;
        return Ok(Some(id));
    }
    let Some(hint) = above.unless_its_id("AGENT_ID") else {
        return Ok(None);
    };
    Ok(AgentId::parse(&hint)
        .inspect_err(|error| notes.push(format!("AGENT_ID is not used: {error}")))
        .ok())
}

/// Where the store is. `REDIS_URL` may be the agent's own, for a store that hbsidecar cannot use: that is no reason not to
/// start the agent.
pub(super) fn store(
    flag: Option<String>,
    credentials: CredentialsGiven,
    notes: &mut Vec<String>,
) -> Result<Store, ConfigError> {
    let given = flag
        .map(|url| ("--redis-url", url))
        .or_else(|| Some(("HB_REDIS_URL", first_set(&["HB_REDIS_URL"])?)));
    if let Some((from, url)) = given {
        return Store::new(Some(url), credentials).map_err(|error| ConfigError::Store(from, error));
    }
    let hint = first_set(&["REDIS_URL"]);
    let hint = hint.map(|url| Store::new(Some(url), credentials.clone()));
    match hint {
        Some(Ok(store)) => return Ok(store),
        Some(Err(error @ AddressError::Url(_))) => {
            notes.push(format!(
                "REDIS_URL is not used: {error}; name hbsidecar's store with HB_REDIS_URL"
            ));
        }
        // Files are refused below, whatever the URL.
        Some(Err(
            AddressError::Password(..)
            | AddressError::HalfIdentity
            | AddressError::NoTls
            | AddressError::Tls(_),
        ))
        | None => {}
    }
    Store::new(None, credentials)
        .map_err(|error| ConfigError::Store("the flags of the store", error))
}

/// What clap cannot refuse with a reason.
pub(super) fn contradictions(args: &Args) -> Result<(), ConfigError> {
    let attaches = if args.pid.is_some() {
        Some("--pid")
    } else if args.matching.is_some() {
        Some("--match")
    } else {
        None
    };
    let not_ours = attaches.or(args.transparent.then_some("--transparent"));
    if args.pid == Some(1) {
        return Err(ConfigError::Init);
    }
    if let Some(not_ours) = not_ours {
        let refused = |flag, why| Err(ConfigError::Contradiction(flag, not_ours, why));
        if args.exclusive {
            return refused(
                "--exclusive",
                "an agent that hbsidecar does not start is never ended by it",
            );
        }
        if args.die_with_sidecar {
            return refused(
                "--die-with-sidecar",
                "the agent is not a child of hbsidecar",
            );
        }
        if args.restart == args::Restart::Always {
            return refused("--restart always", "another program starts this agent");
        }
    }
    if args.exclusive && args.keep_orphans {
        let why = "processes that are left would run beside the next agent";
        return Err(ConfigError::Contradiction(
            "--exclusive",
            "--keep-orphans",
            why,
        ));
    }
    Ok(())
}
