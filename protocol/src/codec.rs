//! Frames: a kind, a length, a body in bincode's format (little-endian, fixed-size integers), decoded under hard limits.
//!
//! ```text
//! control frame   0       2           6
//!                 | kind  | length    | body (length bytes, at most 65,536) |
//!                 | u16 BE| u32 BE    | bincode                             |
//! header frame    0       1       3
//!                 | kind  | length| body (length bytes, at most 1,024) |
//!                 | u8    | u16 BE| bincode                            |
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use wincode::{
    SchemaRead, SchemaWrite,
    config::{Configuration, DefaultConfig},
};

use crate::limits::{CONTROL_BODY_MAX, HEADER_BODY_MAX};

/// Kinds with this bit set may be ignored by a receiver that does not know them.
pub const OPTIONAL: u16 = 0x8000;
/// Bytes before the body of a control frame.
pub const CONTROL_HEAD: usize = 6;
/// Bytes before the body of a header frame.
pub const HEADER_HEAD: usize = 3;

const CONFIG: Configuration<true, CONTROL_BODY_MAX> =
    Configuration::default().with_preallocation_size_limit::<CONTROL_BODY_MAX>();

/// Why bytes are no message. The link or stream they came on is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The announced length is over the limit.
    #[error("a body of {length} bytes is announced, at most {limit} are allowed")]
    TooLong {
        /// What was announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The body does not match its kind's shape.
    #[error("malformed body of kind {kind}: {what}")]
    Malformed {
        /// Kind of the frame.
        kind: u16,
        /// What is wrong, in words.
        what: String,
    },
    /// A kind that must be understood and is not.
    #[error("unknown message kind {0}")]
    UnknownKind(u16),
    /// A value breaks its bounds.
    #[error("kind {kind}: {what}")]
    OutOfBounds {
        /// Kind of the frame.
        kind: u16,
        /// Which bound.
        what: &'static str,
    },
}

/// The head of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHead {
    /// What the body is.
    pub kind: u16,
    /// Bytes of the body.
    pub length: usize,
}

impl FrameHead {
    /// Reads a control frame's head.
    ///
    /// # Errors
    /// [`DecodeError::TooLong`] before a byte of the body is read or room for it is made.
    pub fn decode(head: [u8; CONTROL_HEAD]) -> Result<Self, DecodeError> {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let length = u32::from_be_bytes([head[2], head[3], head[4], head[5]]) as usize;
        if length > CONTROL_BODY_MAX {
            return Err(DecodeError::TooLong { length, limit: CONTROL_BODY_MAX });
        }
        Ok(Self { kind, length })
    }
}

/// Reads the head of a header frame: kind and body length.
///
/// # Errors
/// [`DecodeError::TooLong`] if the body would exceed [`HEADER_BODY_MAX`].
pub fn header_head(head: [u8; HEADER_HEAD]) -> Result<(u8, usize), DecodeError> {
    let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
    if length > HEADER_BODY_MAX {
        return Err(DecodeError::TooLong { length, limit: HEADER_BODY_MAX });
    }
    Ok((head[0], length))
}

/// Writes a control frame.
pub(crate) fn control_frame<T>(kind: u16, body: &T) -> Bytes
where
    T: SchemaWrite<DefaultConfig, Src = T>,
{
    let body = encode(body);
    debug_assert!(body.len() <= CONTROL_BODY_MAX, "senders keep to the limits they demand");
    let mut frame = BytesMut::with_capacity(CONTROL_HEAD + body.len());
    frame.put_u16(kind);
    frame.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    frame.put_slice(&body);
    frame.freeze()
}

/// Writes a header frame.
pub(crate) fn header_frame<T>(kind: u8, body: &T) -> Bytes
where
    T: SchemaWrite<DefaultConfig, Src = T>,
{
    let body = encode(body);
    debug_assert!(body.len() <= HEADER_BODY_MAX, "senders keep to the limits they demand");
    let mut frame = BytesMut::with_capacity(HEADER_HEAD + body.len());
    frame.put_u8(kind);
    frame.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
    frame.put_slice(&body);
    frame.freeze()
}

fn encode<T>(body: &T) -> Vec<u8>
where
    T: SchemaWrite<DefaultConfig, Src = T>,
{
    wincode::serialize(body).expect("plain structs of strings and numbers always encode")
}

/// What can be read as a body.
pub(crate) trait Body<'de>: SchemaRead<'de, Configuration<true, CONTROL_BODY_MAX>, Dst = Self> + Sized {}

impl<'de, T: SchemaRead<'de, Configuration<true, CONTROL_BODY_MAX>, Dst = T>> Body<'de> for T {}

/// Reads a body, all of it.
pub(crate) fn decode<'de, T: Body<'de>>(kind: u16, body: &'de [u8]) -> Result<T, DecodeError> {
    wincode::config::deserialize_exact(body, CONFIG).map_err(|e| DecodeError::Malformed { kind, what: e.to_string() })
}
