//! The connection to the store, by tries that overlap: one whose way leads nowhere holds up no other.

use super::StoreSession;
use super::pushes::{self, Push};
use crate::clock;
use hbshell::store::{Address, ConnectError, Link, Within};
use hbshell::tries;
use heartbeat::fleet::machine::RETURN_WITHIN;
use heartbeat::wire::keys;
use heartbeat::wire::keys::Channels;
use redis::AsyncConnectionConfig;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a connection or an answer may take at first; twice as long after each failed try, up to four times: a slow store is
/// not a dead one.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_DOUBLINGS: u32 = 2;
/// The monitor waits for longer after an outage: the next try begins within this time.
const _: () = assert!(ANSWER_WITHIN.as_millis() + 1000 < RETURN_WITHIN.as_millis());
/// An answer may take as long as so many that were taken before.
const ANSWERS_OF_ONE: u32 = 4;

impl StoreSession {
    pub(super) async fn connect(&mut self) -> anyhow::Result<(Link, mpsc::Receiver<Push>)> {
        let address = self.store.address(self.tries);
        let address = address.map_err(ConnectError::from)?;
        self.address = address.to_string();
        self.channels = Channels::of(address.database());
        let key = keys::agent(&self.registration.id);
        match connect(&address, &key, self.patience()).await {
            Ok(connected) => {
                self.address = connected.address;
                Ok((connected.link, connected.pushes))
            }
            Err(failed) => {
                self.address = failed.address;
                Err(failed.error.into())
            }
        }
    }

    /// How long the store may take to answer: a slow one is not a dead one.
    fn patience(&self) -> Duration {
        ANSWER_WITHIN * (1 << self.tries.min(ANSWER_DOUBLINGS))
    }

    /// Subscribes to the agent's orders, and gives up later questions as soon as this one allows: a connection that was made
    /// after an outage need not notice the next one late.
    pub(super) async fn subscribe(&mut self, connection: &mut Link) -> anyhow::Result<()> {
        let asked = clock::now();
        let channel = self.channels.control(&self.registration.id);
        connection.subscribe(channel).await?;
        let took = clock::now().since(asked);
        connection.answers_within((took * ANSWERS_OF_ONE).clamp(ANSWER_WITHIN, self.patience()));
        Ok(())
    }
}

/// A connection that was made.
struct Connected {
    link: Link,
    pushes: mpsc::Receiver<Push>,
    /// Where it leads.
    address: String,
}

/// Why there is none, and where it would have led.
struct Unconnected {
    error: ConnectError,
    address: String,
}

/// Connects to the owner of this key. A try has as long as `patience` leaves, and each [`ANSWER_WITHIN`] another begins.
async fn connect(
    address: &Address,
    key: &str,
    patience: Duration,
) -> Result<Connected, Unconnected> {
    let begun = clock::now();
    let mut tries = JoinSet::new();
    loop {
        let left = patience.saturating_sub(clock::now().since(begun));
        tries.spawn(try_once(address.clone(), key.to_owned(), left));
        // The next one would have no time left.
        let is_last = left < ANSWER_WITHIN * 3 / 2;
        let wait = if is_last {
            Duration::MAX
        } else {
            ANSWER_WITHIN
        };
        if let Ok(Some(tried)) = tokio::time::timeout(wait, tries::first(&mut tries)).await {
            return tried;
        }
    }
}

async fn try_once(
    address: Address,
    key: String,
    within: Duration,
) -> Result<Connected, Unconnected> {
    let store = match address.locate(within).await {
        Ok(store) => store,
        Err(error) => {
            let address = address.to_string();
            return Err(Unconnected { error, address });
        }
    };
    let address = store.address_of(&key);
    let (config, pushes) = pushes::of(AsyncConnectionConfig::new());
    match Link::to_owner(&store, &key, Within::each(within), config).await {
        Ok(link) => Ok(Connected {
            link,
            pushes,
            address,
        }),
        Err(error) => Err(Unconnected { error, address }),
    }
}
