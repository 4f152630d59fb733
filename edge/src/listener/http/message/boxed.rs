//! Bodies of any kind, boxed at the door: what carries them knows no more of them.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

/// A body on its way to an origin or a client.
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Whatever ended a body early.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
