//! Which `Host` is answered. A page of another site may make a browser resolve the site's own name to this machine (DNS
//! rebinding); its requests carry that name, so only the names of this server are answered.

use crate::config::host_of;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Whether the monitor lives is no secret, and a load balancer's probe names it as it likes.
const PROBES: [&str; 4] = ["/livez", "/readyz", "/-/healthy", "/-/ready"];

/// The names of this server.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    listen: IpAddr,
    public: Option<Arc<str>>,
}

impl Hosts {
    /// Named by `--listen`, and by the host of `--public-url`.
    pub(crate) fn new(listen: SocketAddr, public: Option<&str>) -> Self {
        Self {
            listen: listen.ip(),
            public: public.map(|host| host.to_ascii_lowercase().into()),
        }
    }

    /// Whether the value of a `Host` header, with or without port, names this server.
    fn answers_to(&self, authority: &str) -> bool {
        let host = host_of(authority).to_ascii_lowercase();
        if host == "localhost" || host.ends_with(".localhost") {
            return true;
        }
        if self.public.as_deref() == Some(host.as_str()) {
            return true;
        }
        let address = host.trim_start_matches('[').trim_end_matches(']');
        match address.parse::<IpAddr>() {
            // An address in figures cannot be rebound; all addresses of this machine are meant.
            Ok(_) if self.listen.is_unspecified() => true,
            Ok(ip) => ip.is_loopback() || ip == self.listen,
            Err(_) => false,
        }
    }
}

/// Answers a request for one of our names; one without any (HTTP/1.0) comes from no browser. A target that names its host
/// itself, as one for a proxy does, counts instead of the header (RFC 9112, 3.2.2); no browser sends one to a server.
pub(crate) async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let target = request.uri().authority().map(|target| target.as_str());
    let named = request.headers().get_all(header::HOST).iter();
    let named = named
        .filter(|_| target.is_none())
        .map(|host| host.to_str().unwrap_or_default());
    let foreign = named.chain(target).find(|host| !hosts.answers_to(host));
    let foreign = foreign.filter(|_| !PROBES.contains(&request.uri().path()));
    match foreign {
        None => next.run(request).await,
        Some(host) => {
            let why = format!(
                "{:?} is not a name of this server; name it with --public-url",
                host_of(host)
            );
            super::api::refuse(StatusCode::BAD_REQUEST, &why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(listen: &str, public: Option<&str>) -> Hosts {
        Hosts::new(listen.parse().unwrap(), public)
    }

    #[test]
    fn loopback_names_the_listened_address_and_the_public_name_are_answered() {
        let hosts = hosts("10.0.0.7:7410", Some("hb.example.com"));
        for name in [
            "localhost",
            "localhost:7410",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:7410",
            "10.0.0.7:7410",
            "HB.example.com",
            "hb.example.com.:443",
            "app.localhost",
        ] {
            assert!(hosts.answers_to(name), "{name}");
        }
        for name in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.8",
            "",
            "[",
            "127.0.0.1.nip.io",
            "xlocalhost",
        ] {
            assert!(!hosts.answers_to(name), "{name}");
        }
    }

    #[test]
    fn a_server_on_all_addresses_is_reached_by_any_address_and_by_no_name() {
        let hosts = hosts("0.0.0.0:7410", None);
        assert!(hosts.answers_to("192.168.1.5:7410") && hosts.answers_to("[fe80::1]"));
        assert!(!hosts.answers_to("evil.example"));
    }
}
