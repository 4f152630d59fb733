//! Stands between a client's bytes and hyper: judges every HTTP/1 head and chunk as it passes, holds back what may not
//! pass yet, and keeps the deadlines that bytes do not reset.
//!
//! A head that is refused never reaches hyper: a harmless one takes its place, and the request at its position is answered
//! with the fault. What follows a refused head is not read.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    stall::{Line, STALL_WAIT, Stall},
    talk::Talk,
};
use crate::listener::http::message::{
    chunks::Chunks,
    fault::Fault,
    head::{self, Framing, Message, Scan},
};

/// From the first byte of a head to its end.
pub(crate) const HEAD_WAIT: Duration = Duration::from_secs(10);
/// A connection without a request on its way is closed after this long, unless the listener says otherwise.
pub(crate) const IDLE_WAIT: Duration = Duration::from_secs(60);
/// How long a client that has said its end waits for more of an answer. It may be gone altogether: nobody can tell.
const HALF_CLOSED_WAIT: Duration = Duration::from_secs(10);
/// Most empty lines before a head.
const EMPTY_LINES_MAX: usize = 8;
/// How much is read at a time.
const READ: usize = 16 * 1024;
/// Stands in for a head that was refused.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

#[derive(Debug)]
enum At {
    Head(Scan),
    Body(u64),
    Chunks(Chunks),
    /// A change of protocol was asked for, and what follows belongs to one or the other: held until the service has taken the connection over.
    Held,
    /// Whatever comes passes.
    Raw,
    /// A head was refused.
    Refused,
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Guard<S> {
    io: S,
    talk: Arc<Talk>,
    at: At,
    bytes: BytesMut,
    /// So many of `bytes` may pass.
    passed: usize,
    deadline: Pin<Box<Sleep>>,
    in_head: bool,
    /// So many empty lines before the head were forgiven.
    forgiven: usize,
    /// The client says nothing more, and answers may be under way; some of them was written since that was last looked at.
    half_closed: bool,
    written: bool,
    /// How long the connection may be without a request on its way.
    idle: Duration,
    stall: Stall,
    /// The message asks for another protocol behind it.
    switches: bool,
    /// Whatever closes the connection now, the client sees a reset.
    hard: bool,
    /// hyper may hold bytes of an answer that it has not written yet.
    pub(crate) unflushed: bool,
}

impl<S> Guard<S> {
    /// Judges HTTP/1.
    pub(crate) fn http1(io: S, first: BytesMut, talk: Arc<Talk>) -> Self {
        let (in_head, stall) = (!first.is_empty(), Stall::new(STALL_WAIT, talk.clone()));
        let wait = if in_head { HEAD_WAIT } else { IDLE_WAIT };
        Self {
            io,
            talk,
            at: At::Head(Scan::default()),
            bytes: first,
            passed: 0,
            deadline: Box::pin(sleep_until(Instant::now() + wait)),
            in_head,
            forgiven: 0,
            half_closed: false,
            written: false,
            idle: IDLE_WAIT,
            stall,
            switches: false,
            hard: false,
            unflushed: false,
        }
    }

    /// Closed after this long without a request on its way.
    pub(crate) fn idle_after(mut self, idle: Duration) -> Self {
        if !self.in_head {
            self.deadline.as_mut().reset(Instant::now() + idle);
        }
        Self { idle, ..self }
    }

    /// Given up after this long in which the client takes nothing.
    pub(crate) fn patient(self, wait: Duration) -> Self {
        Self { stall: Stall::new(wait, self.talk.clone()), ..self }
    }

    /// The protocol was changed: everything passes from here on.
    pub(crate) fn release(&mut self) {
        self.at = At::Raw;
    }

    /// The connection itself.
    pub(crate) fn into_io(self) -> S {
        self.io
    }

    fn refuse(&mut self, fault: Fault) {
        self.talk.refuse(fault);
        self.bytes = BytesMut::from(STAND_IN);
        self.passed = self.bytes.len();
        self.at = At::Refused;
    }

    /// Judges what has come; true if some of it may pass.
    fn judge(&mut self) -> io::Result<bool> {
        match &mut self.at {
            At::Head(scan) => {
                while self.bytes.starts_with(b"\r\n") && self.forgiven < EMPTY_LINES_MAX {
                    // Forgiven (RFC 9112 section 2.2), and not passed on.
                    self.bytes.advance(2);
                    self.forgiven += 1;
                    *scan = Scan::default();
                }
                match scan.feed(&self.bytes) {
                    Ok(None) => {}
                    Ok(Some(end)) => match head::check(&self.bytes[..end]) {
                        Ok(message) => self.pass_head(end, message),
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
                    self.end_message();
                }
            }
            At::Chunks(chunks) => match chunks.pass(&self.bytes) {
                Ok(passed) => {
                    self.passed = passed;
                    if chunks.is_done() {
                        self.end_message();
                    }
                }
                Err(fault) => {
                    self.talk.break_body(fault);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
                }
            },
            At::Raw => self.passed = self.bytes.len(),
            At::Held | At::Refused => {}
        }
        Ok(self.passed > 0)
    }

    fn pass_head(&mut self, end: usize, message: Message) {
        self.passed = head::respell(&mut self.bytes, end);
        self.switches = message.switches;
        self.talk.pass_head();
        match message.framing {
            Framing::None | Framing::Length(0) => self.end_message(),
            Framing::Length(length) => self.at = At::Body(length),
            Framing::Chunked => self.at = At::Chunks(Chunks::new()),
        }
        if matches!(self.at, At::Body(_) | At::Chunks(_)) && self.bytes.len() > self.passed {
            self.talk.body_came();
        }
    }

    fn end_message(&mut self) {
        if self.switches {
            self.at = At::Held;
            return;
        }
        self.at = At::Head(Scan::default());
        (self.in_head, self.forgiven) = (false, 0);
        self.deadline.as_mut().reset(Instant::now() + self.idle);
    }

    /// The client says nothing more, and is answered all the same, for as long as it takes what it is sent.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.talk.awaits_answer() || self.unflushed {
            ready!(self.deadline.as_mut().poll(cx));
            if !std::mem::take(&mut self.written) {
                break;
            }
            self.deadline.as_mut().reset(Instant::now() + HALF_CLOSED_WAIT);
        }
        Poll::Ready(())
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
        self.talk.poll_interim(|bytes| Pin::new(&mut self.io).poll_write(cx, bytes))
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
        this.talk.listen(cx);
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
                At::Head(_) if this.half_closed => return this.poll_end(cx).map(Ok),
                At::Head(_) | At::Body(_) | At::Chunks(_) => {}
            }
            match this.poll_fill(cx) {
                Poll::Ready(Ok(0)) if matches!(this.at, At::Head(_)) => {
                    this.half_closed = true;
                    this.deadline.as_mut().reset(Instant::now() + HALF_CLOSED_WAIT);
                }
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

impl<S: Line> Guard<S> {
    /// From here on every close is a hard one, until the end is said.
    pub(crate) fn close_hard(&mut self) {
        if !std::mem::replace(&mut self.hard, true) {
            self.io.close_hard(true);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Line + Unpin> Guard<S> {
    /// What comes before anything that hyper writes.
    fn poll_begin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_interim(cx))?;
        self.unflushed = true;
        if self.talk.is_ended_by_close() {
            self.close_hard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Line + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_begin(cx))?;
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.written |= written.is_ready();
        this.stall.watch(cx, &this.io, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_begin(cx))?;
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.written |= written.is_ready();
        this.stall.watch(cx, &this.io, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        if std::mem::take(&mut this.unflushed) && this.half_closed {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Asked for behind the end of what was to be said, and never otherwise.
        if std::mem::take(&mut this.hard) {
            this.io.close_hard(false);
        }
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
