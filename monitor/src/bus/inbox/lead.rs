//! The lead among the monitors of one store: asked for, renewed and given up.

use super::Output;
use crate::clock;
use crate::config::Address;
use heartbeat::base::moment::millis;
use heartbeat::fleet::watch::WatchInput;
use heartbeat::wire::keys;
use heartbeat::wire::leader::{LEAD_LASTS, Standing};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, Script};
use std::sync::LazyLock;
use std::time::Duration;

/// How long the end of the program waits until the lead is given up; otherwise it runs out.
const GIVEN_UP_WITHIN: Duration = Duration::from_millis(500);

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(keys::LEADER_SCRIPT));

/// Asks for the lead and passes the answer on. An error is the connection's; a store that refuses is an answer.
pub(super) async fn ask(
    link: &mut MultiplexedConnection,
    instance: &str,
    output: &Output,
) -> anyhow::Result<()> {
    let asked_at = clock::now();
    let input = match stand(link, instance, LEAD_LASTS).await {
        Ok((word, value)) => match Standing::decode(&word, &value) {
            Ok(standing) => WatchInput::Stands(asked_at, standing),
            Err(error) => refused(&error, asked_at, output),
        },
        Err(error) if is_refusal(&error) => refused(&error, asked_at, output),
        Err(error) => return Err(error.into()),
    };
    output.send(input).await;
    Ok(())
}

/// Gives the lead up, so that another monitor need not wait until it has run out.
pub(crate) async fn give_up(address: &Address, instance: &str) {
    let given_up = async {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(GIVEN_UP_WITHIN));
        let client = Client::open(address.resolve()?)?;
        let mut link = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        stand(&mut link, instance, Duration::ZERO).await?;
        anyhow::Ok(())
    };
    match tokio::time::timeout(GIVEN_UP_WITHIN, given_up).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("the lead is not given up, it runs out: {error:#}"),
        Err(_) => tracing::debug!("the lead is not given up, it runs out: the store is slow"),
    }
}

async fn stand(
    link: &mut MultiplexedConnection,
    instance: &str,
    lasts: Duration,
) -> RedisResult<(String, String)> {
    let mut call = SCRIPT.prepare_invoke();
    call.key(keys::LEADER).key(keys::FENCE);
    call.arg(instance).arg(millis(lasts));
    call.invoke_async(link).await
}

/// The store answered, and did not carry the script out.
fn is_refusal(error: &RedisError) -> bool {
    error.code().is_some() && !error.is_unrecoverable_error()
}

fn refused(
    why: &dyn std::fmt::Display,
    asked_at: heartbeat::base::moment::Moment,
    output: &Output,
) -> WatchInput {
    output.count("lead", why);
    WatchInput::LeadRefused(asked_at)
}
