//! Where the store is: the configured one, or what is found on this machine.

use hbshell::store::{Address, AddressError, Credentials, CredentialsGiven, Target, published_url};
use heartbeat::base::runtime_dir;

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
    pub(super) fn new(url: Option<String>, given: CredentialsGiven) -> Result<Self, AddressError> {
        let credentials = given.open()?;
        match url {
            Some(url) => Address::new(&url, credentials).map(Self::Configured),
            None if credentials.is_empty() => Ok(Self::Nearby),
            // A password is for the store in its usual place, and for no other.
            None => Address::new(runtime_dir::STORE_URL_DEFAULT, credentials).map(Self::Configured),
        }
    }

    /// What the next connection is made with. A published URL may be stale: every second attempt uses the default.
    pub(crate) fn resolve(&self, attempts: u32) -> Result<Target, AddressError> {
        match self {
            Self::Configured(address) => address.resolve(),
            Self::Nearby => {
                let published = attempts.is_multiple_of(2).then(published_url).flatten();
                let url = published.unwrap_or_else(|| runtime_dir::STORE_URL_DEFAULT.to_owned());
                Address::new(&url, Credentials::default())?.resolve()
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
