//! Stands between a client's bytes and hyper: judges every HTTP/1 head and chunk as it passes, holds back what may not
//! pass yet, and keeps the deadlines that bytes do not reset.
//!
//! A head that is refused never reaches hyper: a harmless one takes its place, and the request at its position is answered
//! with the fault. What follows a refused head is not read.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    chunks::Chunks,
    fault::Fault,
    head::{self, Framing, Scan},
    stall::Stall,
};

/// From the first byte of a head, or from the connection's begin, to its end.
pub(super) const HEAD_WAIT: Duration = Duration::from_secs(10);
/// A connection without a request on its way is closed after this long, unless the listener says otherwise.
pub(super) const IDLE_WAIT: Duration = Duration::from_secs(60);
/// How much is read at a time.
const READ: usize = 16 * 1024;
/// Stands in for a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// What the guard and the service of one connection tell each other.
#[derive(Debug, Default)]
pub(super) struct Talk(Mutex<Told>);

#[derive(Debug)]
struct Told {
    /// When the last request was over, or the connection began.
    idle_since: Instant,
    heads: u64,
    refused: Option<(u64, Fault)>,
    broken_body: Option<Fault>,
    under_way: usize,
    interim: BytesMut,
    reader: Option<Waker>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            idle_since: Instant::now(),
            heads: 0,
            refused: None,
            broken_body: None,
            under_way: 0,
            interim: BytesMut::new(),
            reader: None,
        }
    }
}

impl Talk {
    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong with the request at this position, if it was refused.
    pub(super) fn refused(&self, position: u64) -> Option<Fault> {
        self.told().refused.filter(|(at, _)| *at == position).map(|(_, fault)| fault)
    }

    /// What was wrong with the framing of a body.
    pub(super) fn broken_body(&self) -> Option<Fault> {
        self.told().broken_body
    }

    /// Queues an interim answer.
    pub(super) fn interim(&self, head: &[u8]) {
        let mut told = self.told();
        told.interim.extend_from_slice(head);
        if let Some(reader) = told.reader.take() {
            reader.wake();
        }
    }

    /// True while a request is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.told().under_way > 0
    }

    /// True if no request has been under way for so long.
    pub(super) fn is_idle_for(&self, long: Duration) -> bool {
        self.idle_until(long) <= Instant::now() && !self.is_busy()
    }

    /// True while nothing was ever asked.
    pub(super) fn is_fresh(&self) -> bool {
        let told = self.told();
        told.heads == 0 && told.refused.is_none()
    }

    /// When the connection will have been idle for so long, if nothing comes before.
    fn idle_until(&self, limit: Duration) -> Instant {
        let told = self.told();
        let since = if told.under_way > 0 { Instant::now() } else { told.idle_since };
        since + limit
    }

    /// Completes once no request has been under way for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let until = self.idle_until(limit);
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Counts a request as under way until dropped.
    pub(super) fn under_way(self: &Arc<Self>) -> UnderWay {
        self.told().under_way += 1;
        UnderWay(self.clone())
    }
}

/// A request under way; without one the connection is idle.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Talk>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut told = self.0.told();
        told.under_way -= 1;
        told.idle_since = Instant::now();
    }
}

#[derive(Debug)]
enum At {
    Head(Scan),
    Body(u64),
    Chunks(Chunks),
    /// A change of protocol was asked for: held until the service has taken the connection over.
    Held,
    /// Whatever comes passes.
    Raw,
    /// A head was refused.
    Refused,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Guard<S> {
    io: S,
    talk: Arc<Talk>,
    at: At,
    bytes: BytesMut,
    /// So many of `bytes` may pass.
    passed: usize,
    deadline: Pin<Box<Sleep>>,
    in_head: bool,
    /// How long the connection may be without a request on its way.
    idle: Duration,
    stall: Stall,
    /// hyper may hold bytes of an answer that it has not written yet.
    pub(super) unflushed: bool,
}

impl<S> Guard<S> {
    /// Judges HTTP/1.
    pub(super) fn http1(io: S, first: BytesMut, talk: Arc<Talk>) -> Self {
        let deadline = Box::pin(sleep_until(Instant::now() + HEAD_WAIT));
        Self {
            io,
            talk,
            at: At::Head(Scan::default()),
            bytes: first,
            passed: 0,
            deadline,
            in_head: true,
            idle: IDLE_WAIT,
            stall: Stall::default(),
            unflushed: false,
        }
    }

    /// Closed after this long without a request on its way.
    pub(super) fn idle_after(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// The protocol was changed: everything passes from here on.
    pub(super) fn release(&mut self) {
        self.at = At::Raw;
    }

    /// The connection itself.
    pub(super) fn into_io(self) -> S {
        self.io
    }

    fn refuse(&mut self, fault: Fault) {
        let mut told = self.talk.told();
        told.refused = Some((told.heads, fault));
        drop(told);
        self.bytes = BytesMut::from(STAND_IN);
        self.passed = self.bytes.len();
        self.at = At::Refused;
    }

    /// Judges what has come; true if some of it may pass.
    fn judge(&mut self) -> io::Result<bool> {
        match &mut self.at {
            At::Head(scan) => {
                if self.bytes.starts_with(b"\r\n") && self.in_head {
                    // One empty line before a request line is forgiven (RFC 9112 section 2.2), and not passed on.
                    self.bytes.advance(2);
                    *scan = Scan::default();
                }
                match scan.feed(&self.bytes) {
                    Ok(None) => {}
                    Ok(Some(end)) => match head::check(&self.bytes[..end]) {
                        Ok(framing) => self.pass_head(end, framing),
                        Err(fault) => self.refuse(fault),
                    },
                    Err(fault) => self.refuse(fault),
                }
            }
            At::Body(left) => {
                let here = u64::try_from(self.bytes.len()).unwrap_or(u64::MAX).min(*left);
                *left -= here;
                self.passed = usize::try_from(here).unwrap_or(usize::MAX);
                if *left == 0 {
                    self.next_head();
                }
            }
            At::Chunks(chunks) => match chunks.pass(&self.bytes) {
                Ok(passed) => {
                    self.passed = passed;
                    if chunks.is_done() {
                        self.next_head();
                    }
                }
                Err(fault) => {
                    self.talk.told().broken_body = Some(fault);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
                }
            },
            At::Raw => self.passed = self.bytes.len(),
            At::Held | At::Refused => {}
        }
        Ok(self.passed > 0)
    }

    fn pass_head(&mut self, end: usize, framing: Framing) {
        self.passed = head::respell(&mut self.bytes, end);
        self.talk.told().heads += 1;
        match framing {
            Framing::None | Framing::Length(0) => self.next_head(),
            Framing::Length(length) => self.at = At::Body(length),
            Framing::Chunked => self.at = At::Chunks(Chunks::new()),
            Framing::Upgrade => self.at = At::Held,
        }
    }

    fn next_head(&mut self) {
        self.at = At::Head(Scan::default());
        self.in_head = false;
        self.deadline.as_mut().reset(Instant::now() + self.idle);
    }

    /// Waits for the deadline of a head, or of idleness; true when it has passed and the connection is to end.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if !matches!(self.at, At::Head(_)) {
            return Poll::Pending;
        }
        if !self.in_head && !self.bytes.is_empty() {
            self.in_head = true;
            self.deadline.as_mut().reset(Instant::now() + HEAD_WAIT);
        }
        ready!(self.deadline.as_mut().poll(cx));
        if self.in_head && !self.bytes.is_empty() {
            self.refuse(Fault::HEAD_TIMEOUT);
            return Poll::Ready(false);
        }
        let idle_until = self.talk.idle_until(self.idle);
        if !self.in_head && idle_until > Instant::now() {
            self.deadline.as_mut().reset(idle_until);
            return self.poll_deadline(cx);
        }
        Poll::Ready(true)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Guard<S> {
    /// Writes interim answers, at a moment when hyper holds nothing back.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let talk = self.talk.clone();
        let mut told = talk.told();
        while !told.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &told.interim))?;
            told.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.bytes.reserve(READ);
        let mut read = std::pin::pin!(tokio::io::AsyncReadExt::read_buf(&mut self.io, &mut self.bytes));
        read.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guard<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.talk.told().reader = Some(cx.waker().clone());
        if this.poll_interim(cx)?.is_pending() {
            return Poll::Pending;
        }
        loop {
            if this.passed > 0 || (!this.bytes.is_empty() && this.judge()?) {
                let count = this.passed.min(out.remaining());
                out.put_slice(&this.bytes[..count]);
                this.bytes.advance(count);
                this.passed -= count;
                return Poll::Ready(Ok(()));
            }
            match this.at {
                At::Held | At::Refused => return Poll::Pending,
                At::Raw => return Pin::new(&mut this.io).poll_read(cx, out),
                At::Head(_) | At::Body(_) | At::Chunks(_) => {}
            }
            match this.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if ready!(this.poll_deadline(cx)) {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.unflushed = true;
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.stall.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        this.unflushed = true;
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.stall.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        this.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
