//! Stands between an HTTP/2 client's bytes and the library: counts frames as they pass, keeps the deadlines that bytes do not
//! reset, and ends what is too much with a GOAWAY of its own.
//!
//! It changes nothing that passes. When it ends a connection it hands it back, so that the GOAWAY is heard before the close.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use h2::Reason;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    frames,
    guard::{HEAD_WAIT, IDLE_WAIT},
    meter::{Abuse, Meter},
    stall::{Line, STALL_WAIT, Stall},
    talk::Talk,
};

/// Why a connection was ended here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing was asked for a while.
    Idle,
    /// Too much of something.
    Abuse(Abuse),
}

impl End {
    fn code(self) -> Reason {
        match self {
            Self::Idle => Reason::NO_ERROR,
            Self::Abuse(_) => Reason::ENHANCE_YOUR_CALM,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Abuse(abuse) => abuse.as_str(),
        }
    }
}

/// What the deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The end of this head.
    Head(u64),
    /// More progress than this.
    Progress(u64),
}

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    /// Gone once the connection was ended here.
    io: Option<S>,
    /// Read already, to find out which protocol it is.
    first: BytesMut,
    talk: Arc<Talk>,
    meter: Meter,
    back: Option<oneshot::Sender<(S, End)>>,
    deadline: Pin<Box<Sleep>>,
    awaited: Awaited,
    /// How long there may be no progress while no request is under way.
    quiet: Duration,
    stall: Stall,
    /// Grows whenever bytes come or are taken.
    moved: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    /// A connection whose first bytes have been read. What is ended here comes back.
    pub(crate) fn new(io: S, first: BytesMut, talk: Arc<Talk>, preface: usize) -> (Self, oneshot::Receiver<(S, End)>) {
        let (back, ended) = oneshot::channel();
        let deadline = Box::pin(sleep_until(Instant::now() + HEAD_WAIT));
        let watched = Self {
            io: Some(io),
            first,
            stall: Stall::new(STALL_WAIT, talk.clone()),
            talk,
            meter: Meter::new(preface),
            back: Some(back),
            deadline,
            awaited: Awaited::Head(0),
            quiet: IDLE_WAIT,
            moved: Arc::default(),
        };
        (watched, ended)
    }

    /// Ended after this long without progress; who serves it may ask for its end before, and wait for what is under way.
    pub(crate) fn ended_after(self, quiet: Duration) -> Self {
        Self { quiet, ..self }
    }

    /// Given up after this long in which the client takes nothing at all.
    pub(crate) fn patient(self, wait: Duration) -> Self {
        Self { stall: Stall::new(wait, self.talk.clone()), ..self }
    }

    /// Grows whenever bytes come or are taken.
    pub(crate) fn moved(&self) -> Arc<AtomicU64> {
        self.moved.clone()
    }

    fn io(&mut self) -> io::Result<&mut S> {
        self.io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl<S: AsyncRead + AsyncWrite + Line + Unpin> Watched<S> {
    /// Says goodbye as far as it is taken at once, hands the connection back, and fails.
    fn end(&mut self, cx: &mut Context<'_>, end: End) -> io::Error {
        if let Some(mut io) = self.io.take() {
            // In the middle of another frame nobody would understand it.
            if self.meter.is_between_answers() {
                let goodbye = frames::go_away(self.meter.last_stream(), end.code().into(), end.word());
                let _ = Pin::new(&mut io).poll_write(cx, &goodbye);
                let _ = Pin::new(&mut io).poll_flush(cx);
            }
            // Whoever served it may be gone: then nobody waits for it.
            let _ = self.back.take().map(|back| back.send((io, end)));
        }
        io::Error::other(end.word())
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let (awaited, wait) = match self.meter.open_head() {
            Some(head) => (Awaited::Head(head), HEAD_WAIT),
            None => (Awaited::Progress(self.meter.progress()), self.quiet),
        };
        if awaited != self.awaited {
            self.awaited = awaited;
            self.deadline.as_mut().reset(Instant::now() + wait);
        }
        ready!(self.deadline.as_mut().poll(cx));
        match awaited {
            Awaited::Head(_) => return Poll::Ready(End::Abuse(Abuse::SlowHead)),
            Awaited::Progress(_) if self.talk.is_busy() => {
                self.deadline.as_mut().reset(Instant::now() + self.quiet);
                ready!(self.deadline.as_mut().poll(cx));
            }
            Awaited::Progress(_) => {}
        }
        Poll::Ready(End::Idle)
    }

    /// Counts what was written of these bytes.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let written = match &self.io {
            Some(io) => self.stall.watch(cx, io, written),
            None => written,
        };
        let count = ready!(written)?;
        self.moved.fetch_add(1, Ordering::Relaxed);
        let mut left = count;
        for slice in slices {
            let here = left.min(slice.len());
            left -= here;
            if let Err(abuse) = self.meter.answered(&slice[..here]) {
                return Poll::Ready(Err(self.end(cx, End::Abuse(abuse))));
            }
        }
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncRead + AsyncWrite + Line + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        if this.first.is_empty() {
            if Pin::new(this.io()?).poll_read(cx, out)?.is_pending() {
                let end = ready!(this.poll_deadline(cx));
                return Poll::Ready(Err(this.end(cx, end)));
            }
        } else {
            let count = this.first.len().min(out.remaining());
            out.put_slice(&this.first[..count]);
            this.first.advance(count);
        }
        this.moved.fetch_add(1, Ordering::Relaxed);
        let counted = this.meter.asked(Instant::now().into_std(), &out.filled()[before..]);
        counted.map_err(|abuse| {
            out.set_filled(before);
            this.end(cx, End::Abuse(abuse))
        })?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Line + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(this.io()?).poll_write(cx, bytes);
        this.written(cx, &[io::IoSlice::new(bytes)], written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(this.io()?).poll_write_vectored(cx, slices);
        this.written(cx, slices, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().io()?).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().io()?).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
