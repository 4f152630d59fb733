//! One HTTP/1.1 connection for GET requests, as the lab's clients and its look at the admin endpoints need it.

use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinHandle};

/// Largest body that is read.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum GetError {
    /// The connection could not be made.
    #[error("connect: {0}")]
    Connect(#[from] std::io::Error),
    /// It ended, or brought something that is no HTTP.
    #[error("{}", deepest(.0))]
    Http(#[from] hyper::Error),
    /// The answer's body did not come whole.
    #[error("body: {0}")]
    Body(String),
}

/// An open connection; dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    host: String,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If nobody answers there.
    pub(super) async fn open(at: SocketAddr) -> Result<Self, GetError> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told of the error.
            let _ = connection.await;
        });
        Ok(Self { sender, host: at.to_string(), driver })
    }

    /// Asks for a path and keeps the connection open.
    ///
    /// # Errors
    /// If no whole answer comes.
    pub(super) async fn get(&mut self, path: &str) -> Result<(StatusCode, Bytes), GetError> {
        self.send(path, "keep-alive").await
    }

    /// Asks for a path and has the server close the connection.
    ///
    /// # Errors
    /// If no whole answer comes.
    pub(super) async fn get_last(mut self, path: &str) -> Result<(StatusCode, Bytes), GetError> {
        self.send(path, "close").await
    }

    async fn send(&mut self, path: &str, connection: &str) -> Result<(StatusCode, Bytes), GetError> {
        self.sender.ready().await?;
        let request = Request::get(path).header(header::HOST, &self.host).header(header::CONNECTION, connection);
        let request = request.body(Empty::new()).expect("the paths and headers of the lab are well formed");
        let answer = self.sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_MAX).collect().await.map_err(|e| body_error(&*e))?;
        Ok((status, body.to_bytes()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn body_error(error: &(dyn std::error::Error + Send + Sync + 'static)) -> GetError {
    if error.is::<LengthLimitError>() {
        return GetError::Body(format!("an answer must not exceed {BODY_MAX} bytes"));
    }
    GetError::Body(deepest(error))
}

/// The cause that says most: hyper's own texts only say in which step it happened.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
