//! Where the store is: the configured one, or what is found on this machine.

use hbshell::store::{Address, AddressError, Password, published_url};
use heartbeat::base::runtime_dir;
use redis::ConnectionInfo;
use std::path::PathBuf;

/// Where the store is.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// The URL that the user gave, and no other.
    Configured(Address),
    /// No URL was given: what hbmonitor published, else the default; resolved again for each attempt. No password is ever
    /// sent to a store that was found.
    Nearby,
}

impl Store {
    /// The store for these settings.
    pub(super) fn new(
        url: Option<String>,
        password_file: Option<PathBuf>,
    ) -> Result<Self, AddressError> {
        let password = password_file.map(Password::open).transpose()?;
        match (url, &password) {
            (Some(url), _) => Address::new(&url, password).map(Self::Configured),
            // The password is for the store in its usual place, and for no other.
            (None, Some(_)) => {
                Address::new(runtime_dir::STORE_URL_DEFAULT, password).map(Self::Configured)
            }
            (None, None) => Ok(Self::Nearby),
        }
    }

    /// What the next connection is made with. A published URL may be stale: every second attempt uses the default.
    pub(crate) fn resolve(&self, attempts: u32) -> Result<ConnectionInfo, AddressError> {
        match self {
            Self::Configured(address) => address.resolve(),
            Self::Nearby => {
                let published = attempts.is_multiple_of(2).then(published_url).flatten();
                let url = published.unwrap_or_else(|| runtime_dir::STORE_URL_DEFAULT.to_owned());
                Address::new(&url, None)?.resolve()
            }
        }
    }

    /// Whether retries stay on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Configured(address) => address.is_local(),
            Self::Nearby => true,
        }
    }
}
