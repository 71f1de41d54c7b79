//! A browser that may act. The address that is printed at the start carries a key that works once; it becomes a cookie that no
//! script can read and that no page of another site can use. The token itself, typed into a form, does the same.

use crate::token::Token;
use axum::http::{HeaderMap, HeaderValue, header};
use std::sync::{Arc, Mutex, PoisonError};

const COOKIE: &str = "hb_session";

/// The token of the monitor, and the session of browsers that were let in. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    token: Token,
    secret: Token,
    /// Until it is used.
    key: Mutex<Option<Token>>,
}

impl Session {
    /// A session that ends with the program.
    ///
    /// # Errors
    /// The kernel gives no random bytes.
    pub(crate) fn open(token: Token) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            token,
            secret: Token::make()?,
            key: Mutex::new(Some(Token::make()?)),
        })))
    }

    /// For the address that is printed.
    pub(crate) fn key(&self) -> Option<String> {
        let key = self.0.key.lock().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().map(|key| key.text().to_owned())
    }

    /// Whether this is the token of the monitor.
    pub(crate) fn is_token(&self, given: &[u8]) -> bool {
        self.0.token.matches(given)
    }

    /// Whether the request comes from a browser that was let in.
    pub(crate) fn has(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter();
        let mut pairs = cookies
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(name, value)| name == COOKIE && self.0.secret.matches(value.as_bytes()))
    }

    /// The cookie for the key, which works once.
    pub(crate) fn exchange(&self, key: &str) -> Option<HeaderValue> {
        let mut own = self.0.key.lock().unwrap_or_else(PoisonError::into_inner);
        own.take_if(|own| own.matches(key.as_bytes()))?;
        self.cookie()
    }

    /// The cookie of the session.
    pub(crate) fn cookie(&self) -> Option<HeaderValue> {
        let secret = self.0.secret.text();
        let cookie = format!("{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict");
        HeaderValue::from_str(&cookie).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookie: &str) -> HeaderMap {
        let value = HeaderValue::from_str(cookie).unwrap();
        HeaderMap::from_iter([(header::COOKIE, value)])
    }

    #[test]
    fn the_key_works_once_and_its_cookie_from_then_on() {
        let session = Session::open(Token::make().unwrap()).unwrap();
        let key = session.key().unwrap();
        assert_eq!(session.exchange("another"), None);
        let cookie = session.exchange(&key).unwrap();
        assert_eq!((session.exchange(&key), session.key()), (None, None));
        let pair = cookie
            .to_str()
            .unwrap()
            .split(';')
            .next()
            .unwrap()
            .to_owned();
        assert!(session.has(&headers(&format!("theme=dark; {pair}"))));
        assert!(!session.has(&headers("hb_session=guessed")));
        assert!(!session.has(&HeaderMap::new()));
    }
}
