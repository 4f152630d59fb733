//! Frames over the streams of a link: reads and writes whole messages, and says how it went wrong when it did.

use bytes::BytesMut;
use tokio::time;

use crate::{
    codec::{self, CONTROL_HEAD, DecodeError, FrameHead, HEADER_HEAD},
    control::Message,
    inflow::{Cut, Inflow},
    limits::{CONTROL_BODY_MAX, HEARD_WAIT},
    link::{Lost, ReadError, RecvStream, SendStream, WriteError},
    stream::{Open, Reply},
};

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The bytes are no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message that must not come here and now.
    #[error("a {0} message is out of order")]
    OutOfOrder(&'static str),
    /// The stream ended before or within a message.
    #[error("the stream ended within a message")]
    Ended,
    /// The peer cut the stream, with this code.
    #[error("the peer cut the stream (code {0})")]
    Cut(u64),
    /// The peer does not read what it is told.
    #[error("the peer has not taken a message within {} s", HEARD_WAIT.as_secs())]
    Deaf,
    /// The link is gone.
    #[error("link lost: {0}")]
    Lost(Lost),
}

impl From<ReadError> for WireError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Cut(code) => Self::Cut(code),
            ReadError::Lost(lost) => Self::Lost(lost),
            ReadError::Ended => Self::Ended,
        }
    }
}

impl From<Cut> for WireError {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Peer(code) => Self::Cut(u64::from(code as u32)),
            Cut::Lost(error) => Self::Lost(error),
        }
    }
}

impl From<WriteError> for WireError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Stopped(code) => Self::Cut(code),
            WriteError::Lost(lost) => Self::Lost(lost),
            WriteError::Ended => Self::Ended,
        }
    }
}

/// Reads control messages one after the other. Dropping a pending [`ControlReader::next`] loses nothing.
#[derive(Debug)]
pub struct ControlReader {
    recv: RecvStream,
    buffer: BytesMut,
}

impl ControlReader {
    /// Reads from this stream on.
    #[must_use]
    pub fn new(recv: RecvStream) -> Self {
        Self { recv, buffer: BytesMut::new() }
    }

    /// The next message that its receiver may not ignore.
    ///
    /// # Errors
    /// As [`ControlReader::next`].
    pub async fn next_known(&mut self) -> Result<Message, WireError> {
        loop {
            match self.next().await? {
                Message::Ignored(_) => {}
                known @ (Message::Hello(_)
                | Message::Welcome(_)
                | Message::Refused(_)
                | Message::Goodbye(_)
                | Message::Renew(_)
                | Message::Renewed(_)
                | Message::Windows(_)
                | Message::Claims(_)
                | Message::Judged(_)
                | Message::Successor(_)
                | Message::Enrol(_)
                | Message::Enrolled(_)) => return Ok(known),
            }
        }
    }

    /// The next message; kinds that are unknown and may be ignored come back as [`Message::Ignored`].
    ///
    /// # Errors
    /// [`WireError`]. After [`WireError::Decode`] the link must be closed with `CloseCode::Protocol`.
    pub async fn next(&mut self) -> Result<Message, WireError> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<CONTROL_HEAD>() {
                let head = FrameHead::decode(*head)?;
                if self.buffer.len() >= CONTROL_HEAD + head.length {
                    let frame = self.buffer.split_to(CONTROL_HEAD + head.length);
                    return Ok(Message::decode(head.kind, &frame[CONTROL_HEAD..])?);
                }
            }
            let missing = CONTROL_HEAD + CONTROL_BODY_MAX - self.buffer.len();
            match self.recv.read_chunk(missing).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Err(WireError::Ended),
            }
        }
    }
}

/// Writes one control message. Whoever waits for it does nothing else, so a deaf peer is not waited for long.
///
/// # Errors
/// [`WireError::Cut`], [`WireError::Deaf`] or [`WireError::Lost`]. After any of them the link must be closed.
pub async fn write_message(send: &mut SendStream, message: &Message) -> Result<(), WireError> {
    let written = time::timeout(HEARD_WAIT, send.write_chunk(message.encode())).await;
    Ok(written.map_err(|_| WireError::Deaf)??)
}

/// Reads the header of a stream that an edge opened.
///
/// # Errors
/// [`WireError`]. After [`WireError::Decode`] the stream is cut with `StreamCode::BadHeader`.
pub async fn read_open(recv: &mut Inflow) -> Result<Open, WireError> {
    let (kind, body) = read_header(recv).await?;
    Ok(Open::decode(kind, &body)?)
}

/// Reads the connector's reply to an open.
///
/// # Errors
/// [`WireError`].
pub async fn read_reply(recv: &mut Inflow) -> Result<Reply, WireError> {
    let (kind, body) = read_header(recv).await?;
    Ok(Reply::decode(kind, &body)?)
}

/// The body goes to the heap, at most 1,024 bytes of it: a flow's task keeps room for what it awaits as long as it lives.
async fn read_exact(recv: &mut Inflow, buffer: &mut [u8]) -> Result<(), WireError> {
    if recv.fill(buffer).await? { Ok(()) } else { Err(WireError::Ended) }
}

async fn read_header(recv: &mut Inflow) -> Result<(u8, Vec<u8>), WireError> {
    let mut head = [0; HEADER_HEAD];
    read_exact(recv, &mut head).await?;
    let (kind, length) = codec::header_head(head)?;
    let mut body = vec![0; length];
    read_exact(recv, &mut body).await?;
    Ok((kind, body))
}

#[cfg(test)]
mod tests;
