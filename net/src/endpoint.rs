//! A small HTTP/1 endpoint for people and machines that watch a process: bounded in connections and in time, and never
//! waited for. What it answers is its caller's business.

use std::{collections::VecDeque, error::Error, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Listener, Socket};

/// Connections at once. One more, and the oldest is closed: whoever watches needs it for milliseconds, and whoever holds
/// many for long must keep nobody out.
const CONNECTIONS_MAX: usize = 64;
/// How long a request's head may take, and how long a connection may be without a request.
const HEAD_WAIT: Duration = Duration::from_secs(5);
/// Longest life of a connection.
const LIFE: Duration = Duration::from_secs(30);
/// After an accept that failed (descriptors used up, most likely), others need time to end.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until stopped; connections that are open then are closed.
pub async fn serve<S, B>(listener: Arc<dyn Listener>, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Aborted when dropped.
    let mut connections = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => {
                by_age.retain(|connection| !connection.is_finished());
                continue;
            }
            () = stop.cancelled() => return,
        };
        let Ok((client, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        if by_age.len() >= CONNECTIONS_MAX
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        by_age.push_back(connections.spawn(one(client, service.clone())));
    }
}

async fn one<S, B>(client: Socket, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT);
    // How it ends concerns its client alone, who sees it.
    let _ = timeout(LIFE, builder.serve_connection(TokioIo::new(client), service)).await;
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::service::service_fn;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::Instant,
    };

    use super::*;
    use crate::{Network, Os};

    fn start() -> (std::net::SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let listener = Os.listen(([127, 0, 0, 1], 0).into()).expect("loopback");
        let (address, stop) = (listener.local_addr().expect("bound"), CancellationToken::new());
        let answer = service_fn(|_| async { Ok::<_, Infallible>(Response::new("ok".to_owned())) });
        (address, stop.clone(), tokio::spawn(serve(listener.into(), answer, stop)))
    }

    async fn asked(at: std::net::SocketAddr) -> String {
        let mut client = TcpStream::connect(at).await.expect("it listens");
        let mut answer = String::new();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("it reads");
        client.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    #[tokio::test]
    async fn whoever_says_nothing_is_neither_waited_for_nor_in_the_way() {
        let (at, stop, serving) = start();
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 8 {
            let mut client = TcpStream::connect(at).await.expect("it listens");
            client.write_all(b"G").await.expect("a byte");
            silent.push(client);
        }
        assert!(asked(at).await.ends_with("ok"));
        let mut first = silent.remove(0);
        assert!(matches!(first.read(&mut [0]).await, Ok(0) | Err(_)), "the oldest has made room");
        let asked_to = Instant::now();
        stop.cancel();
        serving.await.expect("it ends");
        assert!(asked_to.elapsed() < HEAD_WAIT / 2);
    }
}
