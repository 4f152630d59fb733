//! What the edge itself answers when it cannot, or will not, let an origin answer: a status and one word that says why.

use http::StatusCode;
use protocol::error::Reason;

/// Why the edge answers in the origin's stead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{code}")]
pub(crate) struct Fault {
    /// The answer's status.
    pub(crate) status: StatusCode,
    /// The word of the `underpass-reason` field, logs and metrics.
    pub(crate) code: &'static str,
    /// What is wrong, for whoever reads the answer; empty if the code says it.
    pub(crate) words: &'static str,
}

macro_rules! faults {
    ($($(#[doc = $words:literal])+ $name:ident = $status:ident, $code:literal;)*) => {
        impl Fault {
            $($(#[doc = $words])+ pub(crate) const $name: Self =
                Self { status: StatusCode::$status, code: $code, words: concat!($($words),+) };)*
        }
    };
}

faults! {
    /// A line that does not end in CRLF, or a CR or LF elsewhere.
    LINE_END = BAD_REQUEST, "bad_line_end";
    /// The request line is not METHOD SP TARGET SP HTTP/1.x.
    REQUEST_LINE = BAD_REQUEST, "bad_request_line";
    /// Not HTTP/1.0 or HTTP/1.1.
    VERSION = HTTP_VERSION_NOT_SUPPORTED, "bad_version";
    /// The target's form does not fit the method, or has a character that stands in no target: a space, a control character, a hash.
    TARGET = BAD_REQUEST, "bad_target";
    /// A path with a NUL, a backslash, a broken escape, or dots that climb above its root or that servers read in two ways.
    PATH = BAD_REQUEST, "bad_path";
    /// A field name that is no token, or a space around it.
    FIELD_NAME = BAD_REQUEST, "bad_field_name";
    /// A control character, or a space at either end of an HTTP/2 value.
    FIELD_VALUE = BAD_REQUEST, "bad_field_value";
    /// A field continued on the next line.
    FOLDED = BAD_REQUEST, "folded_field";
    /// No Host, more than one, one that is no host, or one that disagrees with `:authority`.
    HOST = BAD_REQUEST, "bad_host";
    /// A Content-Length that is not one number.
    LENGTH = BAD_REQUEST, "bad_content_length";
    /// A Transfer-Encoding that is not exactly `chunked`, or in HTTP/1.0.
    ENCODING = BAD_REQUEST, "bad_transfer_encoding";
    /// Content-Length beside Transfer-Encoding.
    LENGTH_AND_ENCODING = BAD_REQUEST, "length_and_encoding";
    /// A chunk that is not framed to the letter.
    CHUNK = BAD_REQUEST, "bad_chunk";
    /// The request's body broke off.
    BODY = BAD_REQUEST, "bad_body";
    /// More bytes of head than are taken.
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large";
    /// More fields than are taken.
    TOO_MANY_FIELDS = REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_fields";
    /// The head took too long.
    HEAD_TIMEOUT = REQUEST_TIMEOUT, "head_timeout";
    /// The body came too slowly.
    BODY_TIMEOUT = REQUEST_TIMEOUT, "body_timeout";
    /// A method that is never carried.
    METHOD = METHOD_NOT_ALLOWED, "method_refused";
    /// A protocol, asked for by `Upgrade` or `:protocol`, that the listener does not carry.
    PROTOCOL = NOT_IMPLEMENTED, "protocol_unsupported";
    /// A WebSocket handshake that is no GET, or has a body.
    WEBSOCKET = BAD_REQUEST, "bad_websocket";
    /// A field with an underscore in its name, where the listener takes none.
    UNDERSCORE = BAD_REQUEST, "underscore_in_field";
    /// A WebSocket handshake without its key.
    WEBSOCKET_KEY = BAD_REQUEST, "bad_websocket_key";
    /// A `grpc-timeout` that is none.
    GRPC_TIMEOUT = BAD_REQUEST, "bad_grpc_timeout";
    /// A gRPC call took longer than its caller allowed.
    GRPC_DEADLINE = GATEWAY_TIMEOUT, "grpc_deadline";
    /// The certificate this connection was begun with is not valid for the host of the request.
    MISDIRECTED = MISDIRECTED_REQUEST, "misdirected";
    /// The client asks more often than it may.
    RATE = TOO_MANY_REQUESTS, "requests_per_source";
    /// An expectation other than `100-continue`.
    EXPECTATION = EXPECTATION_FAILED, "unknown_expectation";
    /// The origin speaks HTTP/2 and does not offer WebSocket over it, or another protocol was asked for.
    UPGRADE = BAD_GATEWAY, "upgrade_unsupported";
    /// The origin's answer is not HTTP to the letter.
    ORIGIN_INVALID = BAD_GATEWAY, "http_invalid";
    /// The origin did not answer in time.
    ORIGIN_TIMEOUT = GATEWAY_TIMEOUT, "http_timeout";
}

impl Fault {
    /// No origin could take the request.
    pub(crate) fn no_place(reason: Option<Reason>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, code: reason.map_or("no_place", Reason::as_str), words: "" }
    }

    /// The request had left, and then something failed.
    pub(crate) fn lost(reason: Reason) -> Self {
        let status = if reason.is_timeout() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
        Self { status, code: reason.as_str(), words: "" }
    }

    /// True if nothing more is read from a connection of HTTP/1 whose request was at fault like this.
    pub(crate) fn ends_connection(self) -> bool {
        self.status.is_client_error() && self != Self::RATE
    }

    /// True if HTTP/2 calls such a request malformed, and its stream ends in error (RFC 9113 section 8.1.1).
    pub(crate) fn is_malformed(self) -> bool {
        [Self::FIELD_NAME, Self::FIELD_VALUE, Self::HOST, Self::LENGTH, Self::TARGET].contains(&self)
    }
}
