//! Reads along what an HTTP/2 server says in its SETTINGS: whether it offers extended CONNECT (RFC 8441 section 3), and
//! how many streams it takes at once (RFC 9113 section 6.5.2). hyper knows both, but the first cannot be waited for, and
//! the second only be asked for where a request is sent.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
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
const MAX_CONCURRENT_STREAMS: u16 = 3;
const ENABLE_CONNECT_PROTOCOL: u16 = 8;
/// How many streams are taken to be allowed before the server has said anything, as hyper does.
const STREAMS_FIRST: usize = 100;

/// A connection whose settings are read along.
#[derive(Debug)]
pub(super) struct Tap<S> {
    io: S,
    /// What has come of a frame's head, and of its payload if that is wanted.
    frame: Vec<u8>,
    /// So many bytes of a payload that nobody wants are still to come.
    skip: usize,
    tell: Option<oneshot::Sender<bool>>,
    streams: Arc<AtomicUsize>,
}

/// What is known of a server by its settings.
#[derive(Debug)]
pub struct Server {
    /// Where its word on extended CONNECT arrives.
    pub offers_connect: oneshot::Receiver<bool>,
    /// How many streams it takes at once; it may change its mind.
    pub streams: Arc<AtomicUsize>,
}

impl<S> Tap<S> {
    /// The connection, and what will be known of its server.
    pub(super) fn new(io: S) -> (Self, Server) {
        let (tell, offers_connect) = oneshot::channel();
        let streams = Arc::new(AtomicUsize::new(STREAMS_FIRST));
        let tap = Self { io, frame: Vec::new(), skip: 0, tell: Some(tell), streams: streams.clone() };
        (tap, Server { offers_connect, streams })
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            let lacking = wanted(&self.frame) - self.frame.len();
            let (taken, rest) = rest.split_at(lacking.min(rest.len()));
            self.frame.extend_from_slice(taken);
            if self.frame.len() == wanted(&self.frame) {
                self.judge();
                self.frame.clear();
            }
            bytes = rest;
        }
    }

    /// Looks at a frame whose head is here, and whose payload is if it is wanted.
    fn judge(&mut self) {
        let Some((head, payload)) = self.frame.split_first_chunk::<FRAME_HEAD>() else { return };
        let is_first = self.tell.is_some();
        if !is_settings(head) {
            self.skip = length(head);
        }
        let mut offers = false;
        let mut streams = is_first.then_some(usize::MAX);
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                ENABLE_CONNECT_PROTOCOL => offers = value == 1,
                MAX_CONCURRENT_STREAMS => streams = usize::try_from(value).ok(),
                _ => {}
            }
        }
        if let (true, Some(streams)) = (is_settings(head), streams) {
            self.streams.store(streams, Ordering::Relaxed);
        }
        if let Some(tell) = self.tell.take() {
            // Nobody may want to know.
            let _ = tell.send(offers);
        }
    }
}

/// How many bytes of a frame are wanted, by what there is of it.
fn wanted(frame: &[u8]) -> usize {
    match frame.first_chunk::<FRAME_HEAD>() {
        Some(head) if is_settings(head) => FRAME_HEAD + length(head),
        Some(_) | None => FRAME_HEAD,
    }
}

fn length(head: &[u8; FRAME_HEAD]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// True for settings of a length that they may have; others are none, and end the connection.
fn is_settings(head: &[u8; FRAME_HEAD]) -> bool {
    head[3] == SETTINGS && length(head) <= FRAME_MAX
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
    use oneshot::error::TryRecvError;

    use super::*;

    fn heard(pieces: &[&[u8]]) -> (Result<bool, TryRecvError>, usize) {
        let (mut tap, mut server) = Tap::new(());
        pieces.iter().for_each(|piece| tap.hear(piece));
        (server.offers_connect.try_recv(), server.streams.load(Ordering::Relaxed))
    }

    fn told(pieces: &[&[u8]]) -> Result<bool, TryRecvError> {
        heard(pieces).0
    }

    const OFFER: &[u8] = &[0, 0, 12, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 128, 0, 8, 0, 0, 0, 1];
    const NOTHING: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const FEWER: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 7];
    /// Data whose payload looks like settings.
    const DATA: &[u8] = &[0, 0, 15, 0, 0, 0, 0, 0, 1, 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9];

    #[test]
    fn the_offer_stands_in_the_first_frame() {
        assert_eq!(told(&[OFFER]), Ok(true));
        let withdrawn = [&OFFER[..OFFER.len() - 1], &[0]].concat();
        assert_eq!(told(&[&withdrawn]), Ok(false));
        assert_eq!(told(&[NOTHING, OFFER]), Ok(false));
        assert_eq!(told(&[b"HTTP/1.1 400 Bad Request\r\n"]), Ok(false));
        assert_eq!(told(&[&[255, 255, 255, 4, 0, 0, 0, 0, 0]]), Ok(false));
    }

    #[test]
    fn it_is_waited_for_byte_by_byte() {
        let pieces: Vec<&[u8]> = OFFER.chunks(1).collect();
        for end in 0..pieces.len() {
            assert!(told(&pieces[..end]).is_err(), "told after {end} bytes");
        }
        assert_eq!(heard(&pieces), (Ok(true), 128));
    }

    #[test]
    fn the_number_of_streams_is_the_last_that_was_said() {
        assert_eq!(heard(&[]).1, STREAMS_FIRST);
        assert_eq!(heard(&[NOTHING]).1, usize::MAX, "no word in the first is no limit");
        assert_eq!(heard(&[OFFER, NOTHING]).1, 128, "no word later is no change");
        let all = [OFFER, DATA, DATA, FEWER, DATA].concat();
        for size in [1, 2, 7, 16, 1000] {
            let pieces: Vec<&[u8]> = all.chunks(size).collect();
            assert_eq!(heard(&pieces).1, 7, "in pieces of {size}");
        }
    }
}
