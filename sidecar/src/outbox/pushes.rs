//! What the store sends unasked: orders, and that the connection is lost.

use redis::{AsyncConnectionConfig, PushInfo, PushKind};
use tokio::sync::mpsc;

/// Orders that wait to be read.
const PUSHES_MAX: usize = 16;
/// The largest order, in bytes.
const ORDER_BYTES_MAX: usize = 8 * 1024;

/// What the store pushes.
pub(super) enum Push {
    Order(String),
    Lost,
}

/// A connection with these settings passes on what the store pushes.
pub(super) fn of(config: AsyncConnectionConfig) -> (AsyncConnectionConfig, mpsc::Receiver<Push>) {
    let (send, pushes) = mpsc::channel(PUSHES_MAX);
    let config = config.set_push_sender(move |push: PushInfo| {
        if let Some(push) = pushed(&push) {
            let _ = send.try_send(push); // an order comes again with the next beat
        }
        Ok::<(), redis::aio::SendError>(())
    });
    (config, pushes)
}

fn pushed(push: &PushInfo) -> Option<Push> {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Disconnection, _) => Some(Push::Lost),
        (PushKind::Message, [_, redis::Value::BulkString(payload)])
            if payload.len() <= ORDER_BYTES_MAX =>
        {
            Some(Push::Order(String::from_utf8(payload.clone()).ok()?))
        }
        _ => None,
    }
}
