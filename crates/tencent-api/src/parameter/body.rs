//! Finding a request's parameters: in its query, its form, its JSON body or the parts of a multipart body.

use axum::extract::{FromRequest, Multipart};
use axum::http::{Method, Request, header};

use crate::error::Error;
use crate::http_request::HttpRequest;
use crate::parameter::{Node, form};
use crate::signed_request::{Scheme, SignedRequest, is_common_parameter};

/// The parameters of the action that a request asks for.
pub(crate) async fn read_body(http: &HttpRequest, signed: &SignedRequest) -> Result<Node, Error> {
    if let Scheme::Parameters { signed, .. } = &signed.scheme {
        let own = signed.iter().filter(|(name, _)| !is_common_parameter(name)).cloned();
        return form::tree(own.map(|(name, value)| (name, Node::Encoded(value))));
    }
    if http.method == Method::GET {
        return encoded(http.query.as_bytes());
    }
    match http.media_type()?.as_str() {
        "application/json" => json(&http.body),
        "application/x-www-form-urlencoded" => encoded(&http.body),
        "multipart/form-data" => multipart(http).await,
        _ => Err(Error::InvalidRequest(
            "its content type must be application/json, application/x-www-form-urlencoded or multipart/form-data"
                .to_owned(),
        )),
    }
}

fn encoded(bytes: &[u8]) -> Result<Node, Error> {
    let pairs = url::form_urlencoded::parse(bytes).into_owned();
    form::tree(pairs.map(|(name, value)| (name, Node::Encoded(value))))
}

fn json(bytes: &[u8]) -> Result<Node, Error> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Node::Null);
    }
    match serde_json::from_slice(bytes) {
        Ok(value @ serde_json::Value::Object(_)) => Ok(Node::from(value)),
        Ok(_) => Err(Error::InvalidRequest("its body is JSON, but not an object".to_owned())),
        // Only the position: the words of the parser could repeat what is in the body.
        Err(error) => Err(Error::InvalidRequest(format!(
            "its body is not JSON, seen at line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

async fn multipart(http: &HttpRequest) -> Result<Node, Error> {
    let broken = || Error::InvalidRequest("its multipart body cannot be taken apart".to_owned());
    let mut request = Request::new(axum::body::Body::from(http.body.clone()));
    if let Some(content_type) = http.headers.get(header::CONTENT_TYPE) {
        request.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    *request.method_mut() = Method::POST;
    let mut parts = Multipart::from_request(request, &()).await.map_err(|_| broken())?;
    let mut values = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
        let name = part.name().ok_or_else(broken)?.to_owned();
        let is_json = part.content_type().is_some_and(|content_type| content_type == "application/json");
        let bytes = part.bytes().await.map_err(|_| broken())?;
        let value = if is_json {
            Node::from(serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|_| broken())?)
        } else {
            Node::Encoded(String::from_utf8(bytes.to_vec()).map_err(|_| broken())?)
        };
        values.push((name, value));
    }
    form::tree(values)
}
