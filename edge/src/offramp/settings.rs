//! Reads along what an HTTP/2 server says first, which is whether it offers extended CONNECT (RFC 8441 section 3). hyper
//! knows it too, but cannot be waited for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

const FRAME_HEAD: usize = 9;
/// No server may send a longer frame before it was allowed to.
const FRAME_MAX: usize = 16 * 1024;
const SETTINGS: u8 = 4;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;

/// A connection whose first frame is read along.
#[derive(Debug)]
pub(super) struct Tap<S> {
    io: S,
    first: Option<First>,
}

#[derive(Debug)]
struct First {
    bytes: Vec<u8>,
    tell: oneshot::Sender<bool>,
}

impl<S> Tap<S> {
    /// The connection, and where it is told whether its server offers extended CONNECT.
    pub(super) fn new(io: S) -> (Self, oneshot::Receiver<bool>) {
        let (tell, told) = oneshot::channel();
        (Self { io, first: Some(First { bytes: Vec::new(), tell }) }, told)
    }

    fn hear(&mut self, bytes: &[u8]) {
        let Some(mut first) = self.first.take() else { return };
        first.bytes.extend_from_slice(bytes);
        match offers_connect(&first.bytes) {
            None => self.first = Some(first),
            // Nobody may want to know.
            Some(offers) => drop(first.tell.send(offers)),
        }
    }
}

/// Whether the first frame offers extended CONNECT; `None` before it has come whole.
fn offers_connect(bytes: &[u8]) -> Option<bool> {
    let [high, middle, low, kind, ..] = *bytes.first_chunk::<FRAME_HEAD>()?;
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    if kind != SETTINGS || length > FRAME_MAX {
        return Some(false);
    }
    let settings = bytes.get(FRAME_HEAD..FRAME_HEAD + length)?;
    let offers = |setting: &[u8]| setting[..2] == ENABLE_CONNECT_PROTOCOL.to_be_bytes() && setting[2..] == [0, 0, 0, 1];
    Some(settings.chunks_exact(6).any(offers))
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        this.hear(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[&[u8]]) -> Result<bool, oneshot::error::TryRecvError> {
        let (mut tap, mut told) = Tap::new(());
        pieces.iter().for_each(|piece| tap.hear(piece));
        told.try_recv()
    }

    const OFFER: &[u8] = &[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100, 0, 8, 0, 0, 0, 1];

    #[test]
    fn the_offer_stands_in_the_first_frame() {
        assert_eq!(told(&[OFFER]), Ok(true));
        let withdrawn = [&OFFER[..OFFER.len() - 1], &[0]].concat();
        assert_eq!(told(&[&withdrawn]), Ok(false));
        assert_eq!(told(&[&[0, 0, 0, 4, 0, 0, 0, 0, 0], OFFER]), Ok(false));
        assert_eq!(told(&[b"HTTP/1.1 400 Bad Request\r\n"]), Ok(false));
        assert_eq!(told(&[&[255, 255, 255, 4, 0, 0, 0, 0, 0]]), Ok(false));
    }

    #[test]
    fn it_is_waited_for_byte_by_byte() {
        let pieces: Vec<&[u8]> = OFFER.chunks(1).collect();
        for end in 0..pieces.len() {
            assert!(told(&pieces[..end]).is_err(), "told after {end} bytes");
        }
        assert_eq!(told(&pieces), Ok(true));
    }
}
