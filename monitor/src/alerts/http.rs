//! HTTP to receivers: TLS, proxies, no redirects, no private addresses unless they are allowed, bounded answers.

use hbshell::tls::TlsFiles;
use heartbeat::alerts::exchange::Outcome;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Url};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// What is shown of one.
const SHOWN_CHARS_MAX: usize = 300;
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A client for each of both kinds of address.
#[derive(Debug)]
pub(super) struct Http {
    public: Client,
    private: Client,
}

/// What is sent.
pub(super) struct Sent<'a> {
    pub(super) url: &'a str,
    /// Its address may be of a private network.
    pub(super) private: bool,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    /// Texts that no error may repeat.
    pub(super) secrets: Vec<String>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: String,
}

impl Http {
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new() -> anyhow::Result<Self> {
        let tls = hbshell::tls::client(&TlsFiles::default())?;
        let client = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(Policy::none())
                .connect_timeout(CONNECT_WITHIN)
                .user_agent(concat!("hbmonitor/", env!("CARGO_PKG_VERSION")))
        };
        let proxies = Arc::new(proxies());
        Ok(Self {
            public: client().dns_resolver(PublicOnly { proxies }).build()?,
            private: client().build()?,
        })
    }

    /// Sends and reads the answer; the error is for people and repeats no secret.
    pub(super) async fn post(&self, sent: Sent<'_>) -> Result<Answer, String> {
        let url = Url::parse(sent.url).map_err(|error| format!("not a URL: {error}"))?;
        if !sent.private && url.host_str().is_some_and(is_private_literal) {
            return Err(
                "its address is of a private network; allow that with private = true".to_owned(),
            );
        }
        let mut headers = HeaderMap::new();
        for (name, value) in sent.headers {
            let value = HeaderValue::try_from(value).map_err(|_| format!("{name} is no header"))?;
            headers.insert(HeaderName::from_static(name), value);
        }
        let client = if sent.private {
            &self.private
        } else {
            &self.public
        };
        let request = client
            .request(Method::POST, url)
            .headers(headers)
            .body(sent.body);
        let mut answer = request
            .send()
            .await
            .map_err(|error| plain(error, &sent.secrets))?;
        let (status, retry_after) = (answer.status().as_u16(), retry_after(answer.headers()));
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= ANSWER_BYTES_MAX {
                break;
            }
        }
        body.truncate(ANSWER_BYTES_MAX);
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Answer {
            status,
            retry_after,
            body: without(body, &sent.secrets),
        })
    }
}

impl Answer {
    /// What an answer means where its status says all.
    pub(super) fn outcome(&self) -> Outcome {
        match self.status {
            200..300 => Outcome::Taken,
            408 | 425 | 429 | 500..600 => Outcome::Later {
                error: self.error(),
                after: self.retry_after,
            },
            300..400 => Outcome::Refused {
                error: format!(
                    "it answered with a redirect ({}), which is not followed",
                    self.status
                ),
            },
            _ => Outcome::Refused {
                error: self.error(),
            },
        }
    }

    /// For people.
    pub(super) fn error(&self) -> String {
        let body: String = self
            .body
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SHOWN_CHARS_MAX)
            .collect();
        format!("{} {}", self.status, body.trim()).trim().to_owned()
    }
}

/// Refuses names that lead to private addresses. A proxy may have one: it is of this machine's settings.
struct PublicOnly {
    proxies: Arc<BTreeSet<String>>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let proxies = Arc::clone(&self.proxies);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            let is_proxy = proxies.contains(&host);
            let public: Vec<SocketAddr> = found
                .filter(|address| is_proxy || !is_private(address.ip()))
                .collect();
            if public.is_empty() {
                return Err(
                    "its address is of a private network; allow that with private = true".into(),
                );
            }
            let public: Addrs = Box::new(public.into_iter());
            Ok(public)
        })
    }
}

/// The hosts of the proxies that the environment names.
fn proxies() -> BTreeSet<String> {
    let names = [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
        "all_proxy",
    ];
    let values = names
        .into_iter()
        .filter_map(|name| std::env::var(name).ok());
    let host = |value: String| {
        let url = Url::parse(&value).or_else(|_| Url::parse(&format!("http://{value}")));
        url.ok()?.host_str().map(str::to_owned)
    };
    values.filter_map(host).collect()
}

fn is_private_literal(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().is_ok_and(is_private)
}

/// Not reachable from everywhere: this machine, a local network, or a name service of a cloud.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || first == 0
        || (first == 100 && (64..128).contains(&second))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some_and(is_private_v4)
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

/// An error with its causes, without the URL, which may be a secret.
fn plain(error: reqwest::Error, secrets: &[String]) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        let shown = inner.to_string();
        if !text.contains(&shown) {
            text = format!("{text}: {shown}");
        }
        cause = inner.source();
    }
    without(text, secrets)
}

fn without(mut text: String, secrets: &[String]) -> String {
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret.as_str(), "(secret)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_reachable_from_everywhere_are_private() {
        for host in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "169.254.169.254",
            "100.64.0.1",
            "[::1]",
            "[fd00::1]",
            "[::ffff:10.0.0.1]",
            "0.0.0.0",
        ] {
            assert!(is_private_literal(host), "{host}");
        }
        for host in ["8.8.8.8", "[2606:4700::1111]", "example.com", "100.128.0.1"] {
            assert!(!is_private_literal(host), "{host}");
        }
    }

    #[test]
    fn a_time_to_wait_is_taken_in_seconds_and_as_a_date() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::try_from(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("30"), Some(Duration::from_secs(30)));
        assert_eq!(of("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
    }

    #[test]
    fn an_answer_that_repeats_a_secret_is_shown_without_it() {
        let text = without(
            "key abc is wrong".to_owned(),
            &["abc".to_owned(), String::new()],
        );
        assert_eq!(text, "key (secret) is wrong");
    }
}
