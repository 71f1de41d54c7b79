//! HTTP connections: how many there are, how long a request may take to arrive, and when a client that stands still is
//! given up. Half-sent requests and unread answers cost a place for seconds, never for good.

use crate::http::actions::Peer;
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::HashMap;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at one time. When all places are taken the one that has been idle longest is closed.
const CONNECTIONS_MAX: usize = 1024;
/// From the first byte of a request, or the end of the one before, to the end of its header.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// How long a client may read nothing of an answer.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// What is kept of a request's header, and of an answer that waits to be sent.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long requests that are under way may take to end after a signal.
const GRACE: Duration = Duration::from_secs(3);
/// The same for connections without one: time to send what is already written.
const FLUSH_WITHIN: Duration = Duration::from_millis(50);

/// Serves until `stop`; requests that are under way are then answered.
pub(crate) async fn serve(listener: TcpListener, app: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = Connections::default();
    let stopped = stop.clone();
    loop {
        tokio::select! {
            () = ended(&mut stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => connections.admit(stream, &app, &stopped),
                // Out of descriptors: existing connections matter more.
                Err(_) => sleep(FLUSH_WITHIN).await,
            },
            Some(done) = connections.tasks.join_next_with_id() => connections.remove(match done {
                Ok((id, ())) => id,
                Err(error) => error.id(),
            }),
        }
    }
    drop(listener);
    while connections.tasks.join_next().await.is_some() {} // each ends within its grace
}

async fn ended(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await; // a dropped sender means stop too
}

#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    places: HashMap<Id, (AbortHandle, Arc<Activity>)>,
}

/// What a connection is doing.
struct Activity {
    since: Instant,
    /// When its last request began or ended, in milliseconds from `since`.
    last_ms: AtomicU64,
    /// A request is being answered.
    is_serving: AtomicBool,
    /// The client does not read what was written.
    is_unread: AtomicBool,
}

impl Connections {
    fn admit(&mut self, stream: TcpStream, app: &Router, stop: &watch::Receiver<bool>) {
        if self.places.len() >= CONNECTIONS_MAX {
            self.close_idlest();
        }
        let activity = Arc::new(Activity {
            since: Instant::now(),
            last_ms: AtomicU64::new(0),
            is_serving: AtomicBool::new(false),
            is_unread: AtomicBool::new(false),
        });
        let task = run(stream, app.clone(), Arc::clone(&activity), stop.clone());
        let handle = self.tasks.spawn(task);
        self.places.insert(handle.id(), (handle, activity));
    }

    fn close_idlest(&mut self) {
        let idlest = self
            .places
            .iter()
            .min_by_key(|(_, (_, activity))| (activity.is_busy(), activity.last()))
            .map(|(id, _)| *id);
        if let Some((task, _)) = idlest.and_then(|id| self.places.remove(&id)) {
            task.abort();
        }
    }

    fn remove(&mut self, id: Id) {
        self.places.remove(&id);
    }
}

impl Activity {
    fn is_busy(&self) -> bool {
        self.is_serving.load(Ordering::Relaxed) || self.is_unread.load(Ordering::Relaxed)
    }

    fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    fn serving(&self, is_serving: bool) {
        let last = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(last, Ordering::Relaxed);
        self.is_serving.store(is_serving, Ordering::Relaxed);
    }
}

async fn run(
    stream: TcpStream,
    app: Router,
    activity: Arc<Activity>,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true); // slower without, and nothing else
    let peer = Peer(stream.peer_addr().ok());
    let io = TokioIo::new(Watched {
        stream,
        activity: Arc::clone(&activity),
        unread: None,
    });
    let app = TowerToHyperService::new(app);
    let serving = Arc::clone(&activity);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let activity = Arc::clone(&serving);
        let answer = app.call(request);
        async move {
            activity.serving(true);
            let answer = answer.await;
            activity.serving(false);
            answer
        }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_WITHIN)
            .half_close(true) // a client may close its side as soon as it has sent its request
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(io, service)
    );
    // An error of a connection is its end and of nothing else.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = ended(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let deadline = Instant::now() + GRACE;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(FLUSH_WITHIN) => if !activity.is_busy() || Instant::now() >= deadline {
                return;
            },
        }
    }
}

/// A connection that is given up when its client reads nothing for [`UNREAD_MAX`].
struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
    unread: Option<Pin<Box<Sleep>>>,
}

impl Watched {
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.activity
            .is_unread
            .store(written.is_pending(), Ordering::Relaxed);
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let unread = self
            .unread
            .get_or_insert_with(|| Box::pin(sleep(UNREAD_MAX)));
        unread
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
