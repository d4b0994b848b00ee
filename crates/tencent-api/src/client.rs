//! Signing requests, for the command line client and for tests. Not here: sending them.

use kiln_model::Timestamp;

use crate::tc3::{self, Covered};

const CONTENT_TYPE: &str = "application/json";
const SIGNED_HEADERS: &str = "content-type;host";

/// The key that signs.
#[derive(Clone, Copy)]
pub struct Credentials<'a> {
    /// The half that requests carry.
    pub secret_id: &'a str,
    /// The half that signs.
    pub secret_key: &'a str,
}

/// A call of an action, about to be sent as a POST to `/`.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `cvm`, `sts` or `kiln`.
    pub service: &'a str,
    /// The value of the `Host` header, with the port where there is one.
    pub host: &'a str,
    /// Such as `DescribeImages`.
    pub action: &'a str,
    /// Such as `2017-03-12`.
    pub version: &'a str,
    /// The region, for actions that work in one.
    pub region: Option<&'a str>,
    /// The present time.
    pub timestamp: Timestamp,
    /// The parameters: a JSON object.
    pub body: &'a [u8],
}

/// The headers with which the call is to be sent, `Host` among them.
pub fn sign(credentials: &Credentials<'_>, call: &Call<'_>) -> Vec<(&'static str, String)> {
    let seconds = call.timestamp.0.div_euclid(1000);
    let date = tc3::utc_date(seconds).unwrap_or_default();
    let signature = tc3::signature(
        credentials.secret_key,
        &Covered {
            method: "POST",
            path: "/",
            query: "",
            canonical_headers: &format!("content-type:{CONTENT_TYPE}\nhost:{}\n", call.host),
            signed_headers: SIGNED_HEADERS,
            payload: call.body,
            timestamp: seconds,
            date: &date,
            service: call.service,
        },
    );
    let authorization = format!(
        "{} Credential={}/{date}/{}/{}, SignedHeaders={SIGNED_HEADERS}, Signature={}",
        tc3::ALGORITHM,
        credentials.secret_id,
        call.service,
        tc3::TERMINATOR,
        hex::encode(signature),
    );
    let mut headers = vec![
        ("Host", call.host.to_owned()),
        ("Content-Type", CONTENT_TYPE.to_owned()),
        ("Authorization", authorization),
        ("X-TC-Action", call.action.to_owned()),
        ("X-TC-Version", call.version.to_owned()),
        ("X-TC-Timestamp", seconds.to_string()),
    ];
    headers.extend(call.region.map(|region| ("X-TC-Region", region.to_owned())));
    headers
}
