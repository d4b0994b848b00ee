//! A URL that may be asked for in principle: http or https, with a host, without credentials.
//!
//! It is not yet known where it leads: addresses are checked when a connection is made. The query of a URL may be
//! a signature (presigned object-storage URLs), so what is shown and logged leaves it out.

use std::fmt;

use url::{Host, Url};

use crate::{Error, Result};

/// The longest URL taken, in bytes. Presigned URLs with a session token are about 3 KiB long.
pub(crate) const MAX_URL_BYTES: usize = 8 * 1024;

/// An absolute http or https URL without user name and password.
///
/// `Display` and `Debug` leave out the query; [`SourceUrl::as_str`] has all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceUrl(Url);

impl SourceUrl {
    /// Takes a URL as a user gave it. A fragment is dropped: it is never sent.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] for other schemes, credentials in the URL (they would end up in task records; use a
    /// presigned URL), a missing host, or more than [`MAX_URL_BYTES`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_URL_BYTES {
            return Err(invalid(format!("it is longer than {MAX_URL_BYTES} bytes")));
        }
        let url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        Self::check(url)
    }

    /// The target of a redirect from this URL.
    ///
    /// # Errors
    /// [`Error::RedirectRefused`] where the target is no [`SourceUrl`], or gives up https for http.
    pub(crate) fn redirect(&self, location: &str) -> Result<Self> {
        let refused = |reason: String| Error::RedirectRefused { from: self.to_string(), reason };
        if location.len() > MAX_URL_BYTES {
            return Err(refused(format!("its target is longer than {MAX_URL_BYTES} bytes")));
        }
        let joined =
            self.0.join(location).map_err(|error| refused(format!("its target is no URL ({error})")))?;
        let target = Self::check(joined).map_err(|error| match error {
            Error::InvalidUrl { reason } => refused(format!("of its target, {reason}")),
            other => other,
        })?;
        if self.0.scheme() == "https" && target.0.scheme() == "http" {
            return Err(refused(format!("it leads from https to unprotected http ({target})")));
        }
        Ok(target)
    }

    fn check(mut url: Url) -> Result<Self> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("its scheme is '{}'", url.scheme())));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("it has a user name or password in it".to_owned()));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(invalid("it names no host".to_owned()));
        }
        url.set_fragment(None);
        Ok(Self(url))
    }

    /// The whole URL, with a query that may be a secret: for sending and for keeping, not for logs.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    pub(crate) fn host(&self) -> Host<&str> {
        self.0.host().expect("check() admits no URL without a host")
    }
}

fn invalid(reason: String) -> Error {
    Error::InvalidUrl { reason }
}

impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..url::Position::AfterPath])?;
        if self.0.query().is_some() {
            f.write_str("?…")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_plain_web_address() {
        for text in [
            "",
            "image.qcow2",
            "/etc/passwd",
            "file:///etc/passwd",
            "ftp://example.com/a",
            "gopher://example.com/",
            "http://",
            "http://user@example.com/",
            "https://user:secret@example.com/",
            "https://:secret@example.com/",
            "http://256.1.1.1/",
            "data:text/plain,abc",
        ] {
            let found = SourceUrl::parse(text);
            assert!(matches!(found, Err(Error::InvalidUrl { .. })), "{text:?}: {found:?}");
        }
        let long = format!("http://example.com/{}", "a".repeat(MAX_URL_BYTES));
        assert!(SourceUrl::parse(&long).is_err());
    }

    #[test]
    fn never_shows_the_query() {
        let source = SourceUrl::parse("https://b.cos.example/k?sign=secret#part").expect("valid");
        assert_eq!(source.to_string(), "https://b.cos.example/k?…");
        assert!(!format!("{source:?}").contains("secret"));
        assert_eq!(source.as_str(), "https://b.cos.example/k?sign=secret");
    }

    #[test]
    fn a_redirect_target_is_checked_like_a_url() {
        let source = SourceUrl::parse("https://example.com/a/b").expect("valid");
        assert_eq!(source.redirect("../c").expect("relative").as_str(), "https://example.com/c");
        for location in ["http://example.com/", "file:///etc/passwd", "https://u:p@example.com/", "https://["]
        {
            let found = source.redirect(location);
            assert!(matches!(found, Err(Error::RedirectRefused { .. })), "{location}: {found:?}");
        }
    }
}
