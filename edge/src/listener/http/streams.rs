//! Runs hyper's tasks of a client's HTTP/2 connection, so that a stream that carries another protocol can be cut.
//!
//! hyper ends such a stream in peace, however it is dropped: its own task writes the end. Only without that task the
//! stream is reset, and the client learns that something broke.

use hyper::rt::Executor;
use tokio_util::sync::CancellationToken;

use super::drain;

tokio::task_local! {
    /// Of the request whose task this is.
    static CUT: CancellationToken;
}

/// hyper's executor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams;

/// What cuts the stream of the request whose task asks; `None` outside of HTTP/2.
pub(super) fn cut() -> Option<CancellationToken> {
    CUT.try_with(Clone::clone).ok()
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, task: F) {
        match cut() {
            None => tokio::spawn(CUT.scope(CancellationToken::new(), drain::watch(task))),
            // What a request's task starts is what writes its stream once another protocol is spoken.
            Some(cut) => tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = cut.cancelled() => {}
                    () = task => {}
                }
            }),
        };
    }
}
