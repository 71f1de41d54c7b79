//! Which unsafe requests are let through: those with the token, from no page of another site, to no read-only monitor.

use crate::http::api::refuse;
use crate::http::session::Session;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use std::net::SocketAddr;

const READ_ONLY: &str = "not allowed: this monitor is read-only (--read-only)";
pub(super) const ELSEWHERE: &str = "not allowed: the request comes from a page of another site";
const NO_TOKEN: &str = "not allowed: this needs a token; send it as Authorization: Bearer TOKEN";
const WRONG_TOKEN: &str = "not allowed: this is not the token of this monitor";
const NOT_CONFIGURED: &str =
    "not allowed: this monitor has no token; its log says why, and --token-file names one";

/// Who may act.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// No request.
    ReadOnly,
    /// There is no token, so that no request can have it.
    NoToken,
    /// Requests with the token, or of a browser that was let in.
    Token(Session),
}

impl Access {
    /// The dashboard's address with the key that lets a browser in, once: below the URL that people use where one is
    /// configured.
    pub(crate) fn address(&self, http: SocketAddr, public_url: Option<&str>) -> Option<String> {
        match self {
            Self::ReadOnly | Self::NoToken => None,
            Self::Token(session) => {
                let url = match public_url {
                    Some(url) => url.trim_end_matches('/').to_owned(),
                    None => format!("http://{}", reachable(http)),
                };
                Some(format!("{url}/?t={}", session.key()?))
            }
        }
    }
}

/// An address that a browser of this machine can open: 0.0.0.0 is only one to listen on.
fn reachable(listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], listen.port()))
    } else {
        listen
    }
}

/// Lets a request through, or answers 401 or 403.
pub(crate) async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let session = match &access {
        Access::ReadOnly => return refuse(StatusCode::FORBIDDEN, READ_ONLY),
        Access::NoToken => return refuse(StatusCode::FORBIDDEN, NOT_CONFIGURED),
        Access::Token(session) => session,
    };
    if !is_same_site(headers) {
        return refuse(StatusCode::FORBIDDEN, ELSEWHERE);
    }
    if session.has(headers) {
        return next.run(request).await;
    }
    let Some(given) = bearer(headers) else {
        return unauthorized(NO_TOKEN);
    };
    if !session.is_token(given) {
        return unauthorized(WRONG_TOKEN);
    }
    next.run(request).await
}

fn unauthorized(why: &str) -> Response {
    let mut answer = refuse(StatusCode::UNAUTHORIZED, why);
    let scheme = HeaderValue::from_static("Bearer");
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, scheme);
    answer
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
}

/// Whether a browser sent it for a page of this server, or no browser sent it. What the browser itself compared counts first:
/// a proxy may give this server another name than the page has.
pub(super) fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).unwrap_or_default();
    let site = headers.get("sec-fetch-site").map(text);
    if let Some(site) = site {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(header::ORIGIN).map(text) else {
        return true;
    };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    let host = headers.get(header::HOST).map(text);
    authority.is_some() && authority == host.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let named = all.iter().map(|(name, value)| {
            let name = header::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        named.collect()
    }

    #[test]
    fn a_page_of_another_site_is_recognised() {
        for (all, fits) in [
            (&[("host", "hb:1")][..], true),
            (&[("host", "hb:1"), ("origin", "http://hb:1")], true),
            (&[("host", "hb:1"), ("origin", "http://hb:2")], false),
            (&[("host", "hb:1"), ("origin", "null")], false),
            (&[("host", "hb:1"), ("sec-fetch-site", "cross-site")], false),
            (&[("host", "hb:1"), ("sec-fetch-site", "same-origin")], true),
            (
                &[
                    ("host", "hb:1"),
                    ("origin", "https://fleet.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                true,
            ),
            (
                &[
                    ("host", "hb:1"),
                    ("origin", "http://hb:1"),
                    ("sec-fetch-site", "same-site"),
                ],
                false,
            ),
        ] {
            assert_eq!(is_same_site(&headers(all)), fits, "{all:?}");
        }
    }

    #[test]
    fn the_token_stands_behind_its_scheme() {
        let of = |value| bearer(&headers(&[("authorization", value)])).map(<[u8]>::to_vec);
        assert_eq!(of("Bearer abc"), Some(b"abc".to_vec()));
        assert_eq!(of("bearer  abc "), Some(b"abc".to_vec()));
        assert_eq!((of("Basic abc"), of("Bea")), (None, None));
    }
}
