//! A listing of agents as the body of an answer: one piece for a page, a stream of pieces for a large fleet.
//!
//! A piece is made when the client has taken the one before, so an unread answer costs some pieces, however large the fleet. The
//! snapshot is not kept meanwhile: a client that is slower than the hub keeps a snapshot gets its later pieces from a later one.

use crate::clock;
use crate::snapshots::{Shown, Snapshots};
use axum::body::{Body, Bytes, HttpBody};
use heartbeat::fleet::view::{Listing, ViewTime};
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// The size of a piece, in bytes: about a hundred agents.
const PIECE: usize = 64 * 1024;
/// What is answered at once, in bytes: a page of a hundred agents, also of talkative ones.
const PAGE: usize = 2 * PIECE;

/// When the view is taken.
pub(crate) fn reading() -> ViewTime {
    ViewTime {
        now: clock::now(),
        wall_ms: clock::wall_ms(),
    }
}

/// The body; `None` when the hub has ended.
pub(crate) async fn answer(snapshots: Snapshots, mut listing: Listing) -> Option<Body> {
    let snapshot = snapshots.get().await?;
    let mut page = Vec::with_capacity(PAGE);
    if !listing.write(&snapshot, reading(), PAGE, &mut page) {
        return Some(page.into());
    }
    let shown = Shown::of(&snapshot);
    drop(snapshot);
    let (send, pieces) = mpsc::channel(1);
    tokio::spawn(async move {
        let _ = send.send(page.into()).await; // the client has gone
        write(&snapshots, shown, listing, &send).await;
    });
    Some(Body::new(Pieces(pieces)))
}

/// Writes the rest, until it is complete or the client has gone.
async fn write(
    snapshots: &Snapshots,
    mut shown: Shown,
    mut listing: Listing,
    send: &mpsc::Sender<Bytes>,
) {
    loop {
        let Ok(permit) = send.reserve().await else {
            return;
        };
        let Some(snapshot) = snapshots.present(&mut shown).await else {
            return;
        };
        let mut piece = Vec::with_capacity(PIECE + PIECE / 8);
        let goes_on = listing.write(&snapshot, reading(), PIECE, &mut piece);
        permit.send(piece.into());
        if !goes_on {
            return;
        }
    }
}

/// Pieces as the body of an answer.
pub(super) struct Pieces(pub(super) mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.0.poll_recv(context));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }
}
