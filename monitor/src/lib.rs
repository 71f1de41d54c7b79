//! hbmonitor: receives the beats of a fleet, detects agents that are missing or failed, and serves the result over HTTP.
//!
//! `hub` owns the fleet; `bus` reads the store, `recovery` carries out what brings agents back, `alerts` brings notifications
//! to their receivers, `http` serves snapshots and takes what people ask for, `demo` plays a story, `cli` asks a running
//! monitor. Only the hub imports rooms.

mod alerts;
mod asks;
mod bus;
mod cli;
pub mod config;
mod demo;
mod events;
mod http;
mod hub;
pub mod recovery;
mod reload;
mod snapshots;
mod tallies;
mod token;
mod upward;
mod wake;

use hbshell::clock;
use hbshell::descriptors;
use hbshell::log_writer::{LogWriter, complain};
use hbshell::service_manager::ServiceManager;
use heartbeat::fleet::overview::Tally;
use heartbeat::fleet::view::ViewTime;

use http::auth::Access;
use http::session::Session;

use heartbeat::wire::leader;

use bus::find_store::Origin;
use config::{Args, Config, ConfigError, LogFormat, exit};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use token::{Token, TokenPlace};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, oneshot, watch as channel};

/// How long the program waits for what it spawned once it has ended everything itself.
const LEFT_BEHIND_WITHIN: Duration = Duration::from_millis(100);
/// How long the start waits until the line that announces it is printed.
const PRINTED_WITHIN: Duration = Duration::from_millis(500);
/// Beside what is open at the start: 13 serve a configured store, the others are for clients, receivers and engines.
const DESCRIPTORS_NEEDED: usize = 32;
/// How often it is looked whether the token's file is still there.
const TOKEN_EVERY: Duration = Duration::from_mins(1);
/// State changes that are kept for a slow receiver.
const CHANGES_KEPT: usize = 1024;

/// Runs what the arguments ask for. Returns the exit code of the process.
pub fn run(args: Args) -> u8 {
    if let Some(completions) = args.completions() {
        let _ = std::io::stdout().write_all(&completions); // no reader: there is nothing to complete
        return exit::SUCCESS;
    }
    if let Some(written) = args.write_pages() {
        return match written {
            Ok(()) => exit::SUCCESS,
            Err(error) => report(&error.into(), exit::FAILURE),
        };
    }
    if let Some((command, target)) = args.asks() {
        return cli::run(&command, target);
    }
    let config = match Config::try_from(args.clone()) {
        Ok(config) => config,
        Err(error) => {
            let code = error.exit_code();
            return report(&error.into(), code);
        }
    };
    match config.mode.clone() {
        config::Mode::CheckConfig(asked) => {
            let variable = |name: &str| std::env::var(name).ok();
            let recovery = recovery::Recovery::from_environment(&variable, recovery::Own::here());
            let obstacle = |rung, exec: &[String]| recovery.obstacle(rung, exec);
            return cli::check_config::config(&config, &asked, &obstacle);
        }
        config::Mode::TestAlerts { receiver } => {
            let tested = test_alerts(config, receiver.as_deref());
            return tested.unwrap_or_else(|error| report(&error, exit::FAILURE));
        }
        config::Mode::Serve | config::Mode::Demo { .. } => {}
    }
    // The demo prints its story instead.
    let log =
        (config.mode == config::Mode::Serve).then(|| LogWriter::start(config.log, "hbmonitor"));
    for note in hbshell::command_line::misspelled::<Args>(&["HB_REDIS_URL"]) {
        tracing::warn!("{note}");
    }
    let code = match work(config, args) {
        Ok(code) => code,
        Err(error) => report(&error, exit::FAILURE),
    };
    if let Some(log) = log {
        log.finish();
    }
    code
}

fn work(config: Config, args: Args) -> anyhow::Result<u8> {
    allow_descriptors();
    descriptors::require(DESCRIPTORS_NEEDED)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(perform(config, args));
    // Not dropped: that would wait for a name server that does not answer.
    runtime.shutdown_timeout(LEFT_BEHIND_WITHIN);
    result
}

fn test_alerts(config: Config, only: Option<&str>) -> anyhow::Result<u8> {
    let receivers = cli::check_config::chosen(config.receivers, only)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answers = runtime.block_on(alerts::test(receivers, config.public_url));
    // Not dropped: that would wait for a name server that does not answer.
    runtime.shutdown_background();
    let answers = answers?;
    Ok(cli::check_config::answers(&answers))
}

/// Each client of the store and of HTTP takes a descriptor; the usual limit of 1024 is below what both allow.
fn allow_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard); // fewer clients, nothing else
    }
}

async fn perform(config: Config, args: Args) -> anyhow::Result<u8> {
    match config.mode {
        config::Mode::Demo { once } => demo::play(config, once).await,
        config::Mode::Serve | config::Mode::CheckConfig(_) | config::Mode::TestAlerts { .. } => {
            serve(config, args).await
        }
    }
}

async fn serve(config: Config, args: Args) -> anyhow::Result<u8> {
    let listener = listen(&config).await?;
    let (stop, stopped) = channel::channel(false);
    let mut end = Box::pin(asked_to_end()?);
    // A terminal that is closed does not end the monitor.
    let hangup = signal(SignalKind::hangup())?;
    let found = tokio::select! {
        found = bus::find_store::find(&config.store, config.credentials.clone(), config.state_dir.clone(), stopped.clone()) => found?,
        () = &mut end => return Ok(exit::SUCCESS),
    };
    let (http, store) = (listener.local_addr()?, &found.description);
    let access = access(&config);
    let address = access.address(http, config.public_url.as_deref());
    let line = start_line(config.log.format(), http, store, address);
    let printed = tokio::task::spawn_blocking(move || writeln!(std::io::stdout(), "{line}"));
    // A parent may have closed standard output, or not read it: no reason not to serve.
    let _ = tokio::time::timeout(PRINTED_WITHIN, printed).await;
    let store = found.address.clone();
    let mut running = start(
        &config,
        listener,
        found.address,
        found.origin,
        stopped,
        access,
    )?;
    let above = ServiceManager::find();
    tokio::spawn(running.reload.run(args, hangup, above.clone()));
    let snapshots = running.snapshots;
    tokio::spawn(upward::inform(above.clone(), move || {
        status_line(snapshots.clone())
    }));
    tokio::select! {
        () = &mut end => {}
        ended = &mut running.hub => anyhow::bail!("the hub stopped unexpectedly: {ended:?}; please report this as a bug"),
        ended = &mut running.http => anyhow::bail!("the HTTP server stopped unexpectedly: {ended:?}; restart hbmonitor"),
    }
    above.stopping();
    let _ = stop.send(true); // every receiver has ended already
    let _ = running.http.await; // bounds itself
    bus::inbox::give_up(&store, &running.instance).await; // bounds itself
    drop(found.published);
    if let Some(embedded) = found.embedded {
        let _ = embedded.await; // bounds itself
    }
    Ok(exit::SUCCESS)
}

/// Where the monitor is, in the format of its log: programs that read one read the other.
fn start_line(
    format: LogFormat,
    http: SocketAddr,
    store: &str,
    dashboard: Option<String>,
) -> String {
    match format {
        LogFormat::Text => {
            let dashboard = dashboard.map_or_else(String::new, |at| format!("\ndashboard: {at}"));
            format!("hbmonitor listens on http://{http}; store {store}{dashboard}")
        }
        LogFormat::Json => serde_json::json!({
            "timestamp": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
            "level": "INFO",
            "fields": {
                "message": "hbmonitor listens",
                "listen": format!("http://{http}"),
                "store": store,
                "dashboard": dashboard,
            },
        })
        .to_string(),
    }
}

/// What runs while the monitor serves.
struct Running {
    hub: oneshot::Receiver<anyhow::Result<()>>,
    http: tokio::task::JoinHandle<()>,
    reload: reload::Reader,
    snapshots: snapshots::Snapshots,
    timelines: bus::timelines::Timelines,
    desk: asks::Desk,
    /// Its name among the monitors of its store.
    instance: String,
}

fn start(
    config: &Config,
    listener: TcpListener,
    store: config::Address,
    origin: Origin,
    stopped: channel::Receiver<bool>,
    access: Access,
) -> anyhow::Result<Running> {
    let (changes, _) = broadcast::channel(CHANGES_KEPT);
    let (url, shown_store) = (store.public_url().to_owned(), store.clone());
    let instance = leader::instance(&bus::inbox::myself());
    let (inbox, wake) = bus::inbox::Inbox::open(store, instance.clone(), origin)?;
    let counters = inbox.counters.clone();
    let timelines = bus::timelines::Timelines::new(shown_store, counters.clone());
    let (snapshots, showcase) = snapshots::pair(wake.clone());
    let (desk, asks) = asks::pair(wake.clone());
    let events = events::Events::new();
    let (show, shown) = hub::shown();
    let (reread, reading, reload) = reload::pair(wake.clone());
    let histories = http::history::Histories::default();
    tokio::spawn(
        histories
            .clone()
            .follow(snapshots.clone(), changes.subscribe()),
    );
    let tallies = tallies::Tallies::default();
    let ends = hub::Ends {
        tallies: tallies.clone(),
        showcase,
        asks,
        changes,
        crew: hub::crew::Crew::new(url, inbox.sender.clone(), wake.clone()),
        events: events.clone(),
        dispatch: alerts::Dispatch::new(alerts_setup(config), reread, wake)?,
        show,
    };
    let hub = hub::Hub::new(config.settings, config.recovery.clone(), inbox, ends);
    let (ends, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("hub".to_owned())
        .spawn(move || ends.send(hub.run()))?;
    let hosts = http::hosts::Hosts::new(config.listen, config.public_host.as_deref());
    let app = http::api::AppState {
        snapshots: snapshots.clone(),
        counters,
        events,
        readers: http::events::Readers::default(),
        alerts: shown,
        timelines: timelines.clone(),
        histories,
        tallies,
        reading,
        desk: desk.clone(),
        access,
    };
    let app = http::api::routes(app, hosts);
    Ok(Running {
        hub: ended,
        http: tokio::spawn(http::connections::serve(listener, app, stopped)),
        reload,
        snapshots,
        timelines,
        desk,
        instance,
    })
}

fn alerts_setup(config: &Config) -> alerts::Setup {
    alerts::Setup {
        receivers: config.receivers.clone(),
        deadman: config.deadman.clone(),
        public_url: config.public_url.clone(),
        patience: config.alert_patience,
    }
}

/// The fleet in one line, as of now; `None` when the hub has ended.
async fn status_line(snapshots: snapshots::Snapshots) -> Option<String> {
    let snapshot = snapshots.get().await?;
    if !snapshot.link_up {
        return Some("Not connected to the store.".to_owned());
    }
    let at = ViewTime {
        now: clock::now(),
        wall_ms: clock::wall_ms(),
    };
    let tally = Tally::of(&snapshot, at);
    let line = format!("{}. {}", tally.headline(), tally.rest());
    Some(line.trim_end().to_owned())
}

/// Without a token the fleet is monitored all the same, and nothing can be changed over HTTP.
fn access(config: &Config) -> Access {
    if config.read_only {
        return Access::ReadOnly;
    }
    match config.token.open() {
        Ok(token) => match Session::open(token.clone()) {
            Ok(session) => {
                tokio::spawn(keep_token(config.token.clone(), token));
                Access::Token(session)
            }
            Err(error) => {
                tracing::error!("no random bytes for a session: {error}");
                Access::NoToken
            }
        },
        Err(error) => {
            tracing::error!(
                "{error}; until then every request that would change something is refused"
            );
            Access::NoToken
        }
    }
}

/// Looks after the file of a token that was made here; it never ends.
async fn keep_token(place: TokenPlace, token: Token) {
    let place = Arc::new((place, token));
    loop {
        tokio::time::sleep(TOKEN_EVERY).await;
        let place = Arc::clone(&place);
        let kept = tokio::task::spawn_blocking(move || place.0.keep(&place.1));
        if let Ok(Err(error)) = kept.await {
            tracing::debug!("{error}");
        }
    }
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
    complain("hbmonitor", &format!("{error:#}"));
    code
}
