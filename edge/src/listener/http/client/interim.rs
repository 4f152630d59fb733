//! How interim answers (1xx) reach the client of a request: beside hyper on an HTTP/1 connection, by the task of the stream
//! in HTTP/2. A client of version 1.0 knows none.

use std::sync::Arc;

use http::{HeaderMap, Request, Response, StatusCode, Version};
use tokio::sync::mpsc;

use super::{answer, talk::Talk};

/// Most interim answers that wait for the task of a stream.
const WAITING_MAX: usize = 16;

/// The way for interim answers to one client.
#[derive(Debug, Clone, Default)]
pub(crate) enum Interim {
    /// There is none.
    #[default]
    Nowhere,
    /// On a connection of HTTP/1.1.
    Http1(Arc<Talk>),
    /// On a stream of HTTP/2.
    Http2(mpsc::Sender<Response<()>>),
}

impl Interim {
    /// The way on a connection of HTTP/1.
    pub(crate) fn http1(version: Version, talk: &Arc<Talk>) -> Self {
        if version == Version::HTTP_11 { Self::Http1(talk.clone()) } else { Self::Nowhere }
    }

    /// The way on a stream of HTTP/2, and where its task hears of them.
    pub(crate) fn http2() -> (Self, mpsc::Receiver<Response<()>>) {
        let (tell, told) = mpsc::channel(WAITING_MAX);
        (Self::Http2(tell), told)
    }

    /// The way to the client of this request.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// Tells the client.
    pub(crate) fn tell(&self, status: StatusCode, fields: &HeaderMap) {
        match self {
            Self::Nowhere => {}
            Self::Http1(talk) => talk.interim(&answer::interim(status, fields)),
            Self::Http2(tell) => {
                let mut response = Response::new(());
                *response.status_mut() = status;
                response.headers_mut().clone_from(fields);
                // Full: nobody needs so many. Closed: the answer is on its way, or the client is gone.
                let _ = tell.try_send(response);
            }
        }
    }
}
