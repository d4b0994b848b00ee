//! The envelope of every answer: `{"Response": {…, "RequestId"}}`, with HTTP status 200, errors too.
//!
//! The content type is exactly `application/json`: the official SDK looks for errors under no other.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use serde_json::{Map, Value, json};

use crate::error::Error;

/// The members of an answer.
pub(crate) type Object = Map<String, Value>;

/// The answer to a request, or the error that it gets.
pub(crate) fn response(request_id: &str, outcome: Result<Object, Error>) -> Response<Body> {
    let mut members = match outcome {
        Ok(members) => members,
        Err(error) => {
            let error = json!({"Code": error.code(), "Message": error.to_string()});
            Map::from_iter([("Error".to_owned(), error)])
        }
    };
    members.insert("RequestId".to_owned(), request_id.into());
    let whole = Object::from_iter([("Response".to_owned(), Value::Object(members))]);
    let bytes = serde_json::to_vec(&whole).expect("texts under texts are JSON");
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
