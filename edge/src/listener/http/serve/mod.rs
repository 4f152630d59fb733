//! The protocols that clients speak: HTTP/1 and HTTP/2, and a stream of that.

pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod stream;
