//! Where the store is: the configured one, or what is found on this machine.

use hbshell::left_exits::StoreName;
use hbshell::store::{Address, AddressError, Credentials, CredentialsGiven, published_url};
use heartbeat::base::runtime_dir;

/// Where the store is.
#[derive(Clone, Debug)]
pub(crate) enum Store {
    /// The URL that the user gave, and no other.
    Configured(Box<Address>),
    /// No URL was given: what hbmonitor published, else the default; resolved again for each attempt. No password is ever
    /// sent to a store that was found.
    Nearby,
}

impl Store {
    /// The store for these settings.
    pub(super) fn new(url: Option<String>, given: CredentialsGiven) -> Result<Self, AddressError> {
        let credentials = given.open()?;
        match url {
            Some(url) => Self::configured(&url, credentials),
            None if credentials.is_empty() => Ok(Self::Nearby),
            // A password is for the store in its usual place, and for no other.
            None => Self::configured(runtime_dir::STORE_URL_DEFAULT, credentials),
        }
    }

    fn configured(url: &str, credentials: Credentials) -> Result<Self, AddressError> {
        Ok(Self::Configured(Box::new(Address::new(url, credentials)?)))
    }

    /// Where the next connection goes. A published URL may be stale: every second attempt uses the default.
    ///
    /// # Errors
    /// What hbmonitor published is no URL of a store.
    pub(crate) fn address(&self, attempts: u32) -> Result<Address, AddressError> {
        match self {
            Self::Configured(address) => Ok(Address::clone(address)),
            Self::Nearby => {
                let published = attempts.is_multiple_of(2).then(published_url).flatten();
                let url = published.unwrap_or_else(|| runtime_dir::STORE_URL_DEFAULT.to_owned());
                Address::new(&url, Credentials::default())
            }
        }
    }

    /// By which name its exits are left.
    pub(crate) fn name(&self) -> StoreName {
        match self {
            Self::Configured(address) => StoreName::of(address),
            Self::Nearby => StoreName::nearby(),
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
