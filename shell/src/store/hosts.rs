//! The part of a URL that names several servers: `[user[:password]@]host[:port],…[/path]`.

use super::AddressError;
use redis::{ConnectionInfo, IntoConnectionInfo};

/// Servers that are reached as the same user.
pub(super) struct Hosts<'a> {
    who: String,
    hosts: &'a str,
    /// What follows them, without the slashes around it.
    pub(super) path: &'a str,
}

impl<'a> Hosts<'a> {
    /// Takes apart what follows the scheme.
    pub(super) fn of(rest: &'a str) -> Self {
        let (who, rest) = match rest.rsplit_once('@') {
            Some((who, rest)) => (format!("{who}@"), rest),
            None => (String::new(), rest),
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/');
        Self { who, hosts, path }
    }

    /// What each of them is connected with; `port` is that of a host without one, `database` empty or as in `/3`.
    ///
    /// # Errors
    /// One of them is no host with a port.
    pub(super) fn connections(
        &self,
        port: u16,
        database: &str,
    ) -> Result<Vec<ConnectionInfo>, AddressError> {
        let who = &self.who;
        let connections = self.hosts.split(',').map(|host| {
            let has_port = host
                .rsplit_once(':')
                .is_some_and(|(_, port)| !port.ends_with(']'));
            let port = if has_port {
                String::new()
            } else {
                format!(":{port}")
            };
            format!("redis://{who}{host}{port}{database}")
                .into_connection_info()
                .map_err(|error| AddressError::Url(error.to_string()))
        });
        connections.collect()
    }
}
