//! hbmonitor: receives the beats of a fleet, detects agents that are missing or failed, and serves the result over HTTP.
//!
//! `hub` owns the fleet; `bus` reads the store, `http` serves snapshots, `demo` plays a story. Only the hub imports rooms.

mod bus;
pub mod config;
mod demo;
mod http;
mod hub;
mod snapshots;
mod wake;

use hbshell::clock;

use config::{Args, Config, ConfigError, exit};
use std::io::Write;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, oneshot, watch as channel};

/// How long requests that are under way may take to end after a signal.
const GRACE: Duration = Duration::from_secs(3);
/// State changes that are kept for a slow receiver.
const CHANGES_KEPT: usize = 1024;

/// Runs what the arguments ask for. Returns the exit code of the process.
pub fn run(args: Args) -> u8 {
    let config = match Config::try_from(args) {
        Ok(config) => config,
        Err(error) => {
            let code = error.exit_code();
            return report(&error.into(), code);
        }
    };
    if config.mode == config::Mode::Serve {
        config.log.start(std::io::stderr); // the demo prints its story instead
    }
    let result = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(perform(config)));
    match result {
        Ok(code) => code,
        Err(error) => report(&error, exit::FAILURE),
    }
}

async fn perform(config: Config) -> anyhow::Result<u8> {
    match config.mode {
        config::Mode::Serve => serve(config).await,
        config::Mode::Demo { once } => demo::play(config, once).await,
    }
}

async fn serve(config: Config) -> anyhow::Result<u8> {
    let listener = listen(&config).await?;
    let (stop, stopped) = channel::channel(false);
    let mut end = Box::pin(asked_to_end()?);
    let found = tokio::select! {
        found = bus::find_store::find(&config.store, config.password.clone(), stopped.clone()) => found?,
        () = &mut end => return Ok(exit::SUCCESS),
    };
    let (http, store) = (listener.local_addr()?, &found.description);
    // A parent may have closed standard output: no reason not to serve.
    let _ = writeln!(
        std::io::stdout(),
        "hbmonitor listens on http://{http}; store {store}"
    );
    let mut running = start(&config, listener, found.address, stopped)?;
    tokio::select! {
        () = &mut end => {}
        ended = &mut running.hub => anyhow::bail!("the hub stopped unexpectedly: {ended:?}; please report this as a bug"),
        ended = &mut running.http => anyhow::bail!("the HTTP server stopped unexpectedly: {ended:?}; restart hbmonitor"),
    }
    let _ = stop.send(true); // every receiver has ended already
    let _ = tokio::time::timeout(GRACE, running.http).await; // requests that take longer are cut off
    drop(found.published);
    Ok(exit::SUCCESS)
}

/// What runs while the monitor serves.
struct Running {
    hub: oneshot::Receiver<anyhow::Result<()>>,
    http: tokio::task::JoinHandle<std::io::Result<()>>,
    changes: broadcast::Receiver<heartbeat::fleet::machine::Change>,
}

fn start(
    config: &Config,
    listener: TcpListener,
    store: config::Address,
    stopped: channel::Receiver<bool>,
) -> anyhow::Result<Running> {
    let (changes, changes_out) = broadcast::channel(CHANGES_KEPT);
    let (inbox, wake) = bus::inbox::Inbox::open(store)?;
    let counters = inbox.counters.clone();
    let (snapshots, showcase) = snapshots::pair(wake);
    let hub = hub::Hub::new(config.settings, inbox, showcase, changes);
    let (ends, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("hub".to_owned())
        .spawn(move || ends.send(hub.run()))?;
    let app = http::api::routes(http::api::AppState {
        snapshots,
        counters,
    });
    let mut end = stopped;
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        let _ = end.wait_for(|stop| *stop).await; // a dropped sender means stop too
    });
    Ok(Running {
        hub: ended,
        http: tokio::spawn(async move { server.await }),
        changes: changes_out,
    })
}

async fn listen(config: &Config) -> Result<TcpListener, ConfigError> {
    TcpListener::bind(config.listen)
        .await
        .map_err(|error| ConfigError::Listen(config.listen, error))
}

fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

fn report(error: &anyhow::Error, code: u8) -> u8 {
    eprintln!("hbmonitor: {error:#}");
    code
}
