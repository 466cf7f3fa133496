//! The address of a place outside. Pure.

use hyper::Uri;
use serde::{Deserialize, Serialize};

/// `http://` or `https://`, a host, a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HttpUrl(Uri);

/// An address that nothing can be asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not a URL.
    #[error("is no URL; write it like https://host.example/path")]
    Malformed,
    /// Another scheme.
    #[error("does not begin with http:// or https://")]
    Scheme,
    /// It holds a password, which would show wherever the configuration is shown.
    #[error("holds a user or a password; nothing in this file is a secret")]
    UserInfo,
}

impl HttpUrl {
    /// Whether it has a `?…`.
    pub fn has_query(&self) -> bool {
        self.0.query().is_some()
    }

    /// For requests.
    pub(crate) fn uri(&self) -> &Uri {
        &self.0
    }
}

impl std::str::FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let authority = uri.authority().ok_or(UrlError::Malformed)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(UrlError::Scheme);
        }
        if authority.as_str().contains('@') {
            return Err(UrlError::UserInfo);
        }
        if authority.host().is_empty() || text.contains('#') {
            return Err(UrlError::Malformed);
        }
        Ok(Self(uri))
    }
}

impl TryFrom<String> for HttpUrl {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl From<HttpUrl> for String {
    fn from(url: HttpUrl) -> Self {
        url.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_asked_something() {
        for good in ["http://127.0.0.1:8080", "https://c.example/events?x=y", "http://[::1]:80/a"] {
            assert!(good.parse::<HttpUrl>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", UrlError::Malformed),
            ("/events", UrlError::Malformed),
            ("collector.example", UrlError::Scheme),
            ("ftp://c.example/", UrlError::Scheme),
            ("http://user:secret@c.example/", UrlError::UserInfo),
            ("http://c.example/#x", UrlError::Malformed),
            ("http://c example/", UrlError::Malformed),
        ] {
            assert_eq!(bad.parse::<HttpUrl>(), Err(why), "{bad}");
        }
    }
}
