//! Which pages of other origins may use a bucket from a browser: CORS, as S3 and COS have it.
//!
//! Source: WHATWG's "Fetch", section "HTTP-CORS protocol"; what patterns may be, S3's "CORS configuration".

use serde::{Deserialize, Serialize};

/// The methods that a rule can allow.
pub const CORS_METHODS: [&str; 5] = ["GET", "PUT", "POST", "DELETE", "HEAD"];

/// What pages of some origins may do. Origins and headers are patterns with one asterisk at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsRule {
    /// The rule's name, where its owner gave it one.
    pub id: Option<String>,
    /// Origins of pages, such as `https://*.example.org`.
    pub origins: Vec<String>,
    /// Methods, of [`CORS_METHODS`].
    pub methods: Vec<String>,
    /// Headers that requests may have.
    pub headers: Vec<String>,
    /// Headers of answers that scripts may read.
    pub exposed_headers: Vec<String>,
    /// How long browsers may remember an answer, in seconds.
    pub max_age_seconds: Option<u32>,
}

impl CorsRule {
    /// Whether a page of that origin may send a request of that method with these headers.
    pub fn allows<'a>(&self, origin: &str, method: &str, headers: impl IntoIterator<Item = &'a str>) -> bool {
        let any = |patterns: &[String], text: &str| patterns.iter().any(|pattern| fits(pattern, text));
        let lowered: Vec<String> = self.headers.iter().map(|header| header.to_ascii_lowercase()).collect();
        self.methods.iter().any(|allowed| allowed == method)
            && any(&self.origins, origin)
            && headers.into_iter().all(|header| any(&lowered, &header.to_ascii_lowercase()))
    }

    /// Whether it is for pages of every origin.
    pub fn is_for_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }
}

/// Whether a text is what a pattern says, whose asterisk stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_one_asterisk() {
        let check = |pattern, text, expected| assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        check("https://a.example.org", "https://a.example.org", true);
        check("https://a.example.org", "https://a.example.org:8443", false);
        check("https://*.example.org", "https://a.b.example.org", true);
        check("https://*.example.org", "https://example.org", false);
        check("https://*.example.org", "https://a.example.org.evil.net", false);
        check("aba*aba", "aba", false);
        check("*", "null", true);
        check("x-amz-*", "x-amz-date", true);
    }

    #[test]
    fn a_rule_allows_what_fits_in_all() {
        let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let rule = CorsRule {
            origins: list(&["https://a.example.org"]),
            methods: list(&["GET", "PUT"]),
            headers: list(&["Content-Type", "x-amz-*"]),
            ..CorsRule::default()
        };
        let check = |origin, method, headers: &[&str]| rule.allows(origin, method, headers.iter().copied());
        assert!(check("https://a.example.org", "PUT", &["content-type", "X-Amz-Date"]));
        assert!(check("https://a.example.org", "GET", &[]));
        assert!(!check("https://b.example.org", "GET", &[]));
        assert!(!check("https://a.example.org", "DELETE", &[]));
        assert!(!check("https://a.example.org", "PUT", &["content-type", "authorization"]));
    }
}
