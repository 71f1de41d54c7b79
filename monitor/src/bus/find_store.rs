//! Which store is used: the configured one, else Redis in its usual place, else one embedded here.

use crate::config::{Address, Credentials};
use hbshell::left_exits::StoreName;
use hbshell::private_dir::PrivateDir;
use hbstore::{Kept, Limits, serve};
use heartbeat::base::runtime_dir;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long Redis may take to answer before a store is embedded.
const PROBE_WITHIN: Duration = Duration::from_secs(1);
/// How soon the file that names the store is there again after its directory was taken away.
const PUBLISHED_AGAIN: Duration = Duration::from_secs(2);
const USUAL: &str = "127.0.0.1:6379";

/// A store to use.
pub(crate) struct Found {
    pub(crate) address: Address,
    pub(crate) description: String,
    pub(crate) published: Option<Published>,
    pub(crate) origin: Origin,
    /// The embedded store; it ends once it has written what it keeps.
    pub(crate) embedded: Option<JoinHandle<()>>,
}

/// How a store was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Its URL was given.
    Configured,
    /// Redis in its usual place, where sidecars without a URL look for it too.
    Usual,
    /// Served by this program, for the sidecars without a URL.
    Embedded,
    /// Served by this program, for the agents of its demo.
    Demo,
}

impl Origin {
    /// Whether it has started with this program.
    pub(crate) fn starts_with_us(self) -> bool {
        match self {
            Self::Configured | Self::Usual => false,
            Self::Embedded | Self::Demo => true,
        }
    }

    /// By which names sidecars of this user left exits for it. Of one that was configured, which machines elsewhere use too, they
    /// write them themselves.
    pub(crate) fn names(self, address: &Address) -> Option<Vec<StoreName>> {
        match self {
            Self::Usual | Self::Embedded => Some(vec![StoreName::nearby(), StoreName::of(address)]),
            Self::Configured | Self::Demo => None,
        }
    }
}

/// The file that names the embedded store's URL to the sidecars of this user. It is written again when the directory was
/// taken away, as a logout does, and removed when this is dropped.
pub(crate) struct Published {
    url: String,
    keeper: JoinHandle<()>,
}

/// The configured store, else Redis in its usual place, else one embedded here that keeps its data in `state`.
pub(crate) async fn find(
    configured: &Option<Address>,
    credentials: Credentials,
    state: Option<PathBuf>,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Found> {
    if let Some(address) = configured {
        return Ok(Found {
            address: address.clone(),
            description: format!("{address}, as configured"),
            published: None,
            origin: Origin::Configured,
            embedded: None,
        });
    }
    if answers(runtime_dir::STORE_URL_DEFAULT).await {
        return Ok(Found {
            address: Address::new(runtime_dir::STORE_URL_DEFAULT, credentials)?,
            description: format!("Redis on {USUAL}"),
            published: None,
            origin: Origin::Usual,
            embedded: None,
        });
    }
    let listener = match TcpListener::bind(USUAL).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind("127.0.0.1:0").await?, // a program other than Redis listens there
    };
    let kept = keep(state).await?;
    let place = match &kept {
        Some(kept) => format!("keeps its data in {}", kept.path().display()),
        None => "in memory only".to_owned(),
    };
    let mut found = embed(listener, kept, Origin::Embedded, stop)?;
    let url = found.description.clone();
    match Published::start(&url) {
        Ok(published) => found.published = Some(published),
        Err(error) => {
            tracing::warn!(
                "cannot publish the embedded store's URL: {error}; start each sidecar with --redis-url {url}"
            );
        }
    }
    found.description = format!("embedded on {url}, {place}");
    Ok(found)
}

/// What the embedded store keeps. Without a place for it the fleet is monitored all the same.
async fn keep(state: Option<PathBuf>) -> anyhow::Result<Option<Kept>> {
    let lost = "the embedded store is in memory only: what it holds is lost when hbmonitor ends";
    let Some(directory) = state else {
        tracing::error!(
            "there is no HOME to keep data in, name a directory with --state-dir; {lost}"
        );
        return Ok(None);
    };
    match tokio::task::spawn_blocking(move || Kept::open(&directory)).await? {
        Ok(kept) => Ok(Some(kept)),
        Err(error) => {
            tracing::error!("{error}; until then {lost}");
            Ok(None)
        }
    }
}

/// Serves an embedded store, which keeps nothing without `kept`; the description is its URL.
pub(crate) fn embed(
    listener: TcpListener,
    kept: Option<Kept>,
    origin: Origin,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<Found> {
    let bound: SocketAddr = listener.local_addr()?;
    let url = format!("redis://{bound}");
    let embedded = tokio::spawn(async move {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await; // a dropped sender means stop too
        };
        if let Err(error) = serve(listener, Limits::default(), kept, stopped).await {
            tracing::error!("the embedded store stopped: {error}; restart hbmonitor");
        }
    });
    Ok(Found {
        address: Address::new(&url, Credentials::default())?,
        description: url,
        published: None,
        origin,
        embedded: Some(embedded),
    })
}

async fn answers(url: &str) -> bool {
    let asked = async {
        let client = redis::Client::open(url)?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("PING")
            .query_async::<redis::Value>(&mut connection)
            .await
    };
    match tokio::time::timeout(PROBE_WITHIN, asked).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => !error.is_io_error() && error.code() == Some("NOAUTH"),
        Err(_) => false,
    }
}

impl Published {
    fn start(url: &str) -> anyhow::Result<Self> {
        let (directory, refused) = PrivateDir::of_user()?;
        for error in refused {
            tracing::warn!(
                "{error}; publishing in {} instead",
                directory.path().display()
            );
        }
        directory.write(runtime_dir::STORE_FILE, &format!("{url}\n"))?;
        let (url, again) = (url.to_owned(), url.to_owned());
        let keeper = tokio::spawn(async move {
            loop {
                tokio::time::sleep(PUBLISHED_AGAIN).await;
                publish_where_missing(&again);
            }
        });
        Ok(Self { url, keeper })
    }
}

/// Another monitor's file stays. A directory that cannot be made now is tried the next time.
fn publish_where_missing(url: &str) {
    let Ok((directory, _)) = PrivateDir::of_user() else {
        return;
    };
    if directory.inode(runtime_dir::STORE_FILE).is_some() {
        return;
    }
    match directory.write(runtime_dir::STORE_FILE, &format!("{url}\n")) {
        Ok(()) => tracing::info!(
            "published the embedded store's URL again in {}",
            directory.path().display()
        ),
        Err(error) => tracing::debug!("cannot publish the embedded store's URL: {error}"),
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.keeper.abort();
        if let Some(directory) = PrivateDir::of_user_if_there()
            && let Some(url) = directory.read(runtime_dir::STORE_FILE)
            && url.trim() == self.url
        {
            directory.remove(runtime_dir::STORE_FILE);
        }
    }
}
