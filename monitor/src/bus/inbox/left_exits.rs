//! Exits that sidecars left because no store was there: they are written before the fleet is read.

use hbshell::left_exits::LeftExits;
use hbshell::store::Link;
use heartbeat::wire::keys;
use redis::Script;

/// Writes them to the roster. It keeps a later registration of the same agent, and then the exit is of the past.
///
/// # Errors
/// The connection is lost. What the store refuses is left for the next time.
pub(super) async fn deliver(link: &mut Link) -> anyhow::Result<()> {
    let Some(left) = tokio::task::spawn_blocking(LeftExits::read).await? else {
        return Ok(());
    };
    let roster = Script::new(keys::ROSTER_SCRIPT);
    for (id, entry) in left.exits() {
        let mut call = roster.prepare_invoke();
        call.key(keys::ROSTER)
            .arg(id.as_str())
            .arg(entry.epoch)
            .arg(entry.encode());
        match call.invoke_async::<u64>(link).await {
            Ok(written) => {
                left.remove(id);
                if written > 0 {
                    tracing::info!("{id} ended while its sidecar could not reach the store");
                }
            }
            Err(error) if error.is_io_error() || error.is_timeout() => return Err(error.into()),
            Err(error) => {
                tracing::warn!("the store does not take the exit of {id}, which is kept: {error}");
            }
        }
    }
    Ok(())
}
