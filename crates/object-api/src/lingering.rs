//! The rest of a body whose request was answered before it had come: it is read for a while and thrown away.
//!
//! Many clients read no answer before they have sent all. Where the connection were closed on them, they would learn
//! that it broke, and not why they were refused. Whoever asked first whether to send (`Expect: 100-continue`) and was not
//! told to is not read from.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::EXPECT;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// How long a body is read that nobody wants any more.
const LINGER: Duration = Duration::from_secs(10);

/// The body of a request with these headers, which is read on when it is dropped.
pub(crate) fn lingering(headers: &HeaderMap, body: Body) -> Body {
    let asked = !headers.contains_key(EXPECT);
    Body::new(Lingering { body, asked })
}

struct Lingering {
    body: Body,
    /// Whether the client knows that it is to send.
    asked: bool,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.asked = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if !self.asked || self.body.is_end_stream() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let mut body = std::mem::take(&mut self.body).into_data_stream();
        runtime.spawn(tokio::time::timeout(LINGER, async move {
            while let Some(Ok(_)) = futures::StreamExt::next(&mut body).await {}
        }));
    }
}
