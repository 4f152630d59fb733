//! The servers of the lab's private networks: small, real, and able to die and come back.
//!
//! They know nothing of edges or connectors beyond the line they say.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rig::dns::{Asked, Record};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::plan::{Ground, SERVICES, Saying, Server, Speech, replicas_of};

/// Connections served at once at one door; more wait to be accepted.
const CONNECTIONS_MAX: usize = 1024;
/// An echo that hears nothing for this long hangs up.
const ECHO_IDLE: Duration = Duration::from_secs(600);
/// After an accept that failed: out of descriptors, most likely, so others must end first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const ECHO_BUFFER: usize = 16 * 1024;
/// No payload is longer.
const PAYLOAD_MAX: usize = 64 * 1024;

/// An address an origin is reached at, and what it says there.
#[derive(Debug, Clone)]
struct Door {
    at: SocketAddr,
    speech: Speech,
    says: Bytes,
}

/// A server with all its doors; dropping it kills it.
#[derive(Debug)]
pub(super) struct Origin {
    doors: Vec<Door>,
    death: CancellationToken,
    tasks: TaskTracker,
}

impl Origin {
    /// Opens every door of a server, or none.
    ///
    /// # Errors
    /// The kernel's, when an address is taken.
    pub(super) async fn start(ground: Ground, server: &Server) -> io::Result<Self> {
        let services = SERVICES.iter().filter(|service| service.vnet == server.vnet);
        let doors =
            services.flat_map(|service| replicas_of(service.vnet).map(move |replica| (replica, service.speech)));
        let door = |(replica, speech)| Door {
            at: ground.real(server, replica, speech),
            speech,
            says: Saying::of(ground, server, replica, speech).to_string().into(),
        };
        Self::open(doors.map(door).collect()).await
    }

    async fn open(mut doors: Vec<Door>) -> io::Result<Self> {
        let mut opened = Vec::with_capacity(doors.len());
        for door in &mut doors {
            opened.push(Opened::bind(door).await?);
        }
        let (death, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (opened, door) in opened.into_iter().zip(&doors) {
            let (says, dying) = (door.says.clone(), death.clone());
            match opened {
                Opened::Http(listener) => {
                    let serve = move |stream| serve_http(stream, says.clone(), dying.clone());
                    tasks.spawn(accept(listener, death.clone(), tasks.clone(), serve));
                }
                Opened::Echo(listener) => {
                    let serve = move |stream| serve_echo(stream, says.clone(), dying.clone());
                    tasks.spawn(accept(listener, death.clone(), tasks.clone(), serve));
                }
                Opened::Dns(socket) => {
                    tasks.spawn(serve_dns(socket, says, dying));
                }
            }
        }
        tasks.close();
        Ok(Self { doors, death, tasks })
    }

    /// Closes every door and resets every connection, as when a machine's power fails and comes back without the server.
    pub(super) async fn kill(&self) {
        self.death.cancel();
        self.tasks.wait().await;
    }

    /// Opens the doors again after [`Origin::kill`].
    ///
    /// # Errors
    /// The kernel's, if somebody took an address meanwhile.
    pub(super) async fn revive(&mut self) -> io::Result<()> {
        *self = Self::open(self.doors.clone()).await?;
        Ok(())
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.death.cancel();
    }
}

/// The socket behind a door, and what is spoken there.
enum Opened {
    Http(TcpListener),
    Echo(TcpListener),
    Dns(UdpSocket),
}

impl Opened {
    /// Binds it, and notes its port if any would do.
    async fn bind(door: &mut Door) -> io::Result<Self> {
        let opened = match door.speech {
            Speech::Http => Self::Http(TcpListener::bind(door.at).await?),
            Speech::Echo => Self::Echo(TcpListener::bind(door.at).await?),
            Speech::Dns => Self::Dns(UdpSocket::bind(door.at).await?),
        };
        door.at = match &opened {
            Self::Http(listener) | Self::Echo(listener) => listener.local_addr()?,
            Self::Dns(socket) => socket.local_addr()?,
        };
        Ok(opened)
    }
}

async fn accept<Serving>(
    listener: TcpListener,
    death: CancellationToken,
    tasks: TaskTracker,
    serve: impl Fn(TcpStream) -> Serving,
) where
    Serving: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let permit = room.clone().acquire_owned().await.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            () = death.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let serving = serve(stream);
        tasks.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
}

async fn serve_http(stream: TcpStream, says: Bytes, death: CancellationToken) {
    let service = service_fn(move |request| std::future::ready(Ok::<_, Infallible>(answer(&request, &says))));
    let mut server = http1::Builder::new();
    let mut connection = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // A client that goes away in the middle is its own affair.
        _ = &mut connection => (),
        () = death.cancelled() => reset(&connection.into_parts().io.into_inner()),
    }
}

fn answer(request: &Request<Incoming>, says: &Bytes) -> Response<Full<Bytes>> {
    let body = match request.uri().path() {
        "/healthz" => Bytes::from_static(b"ok\n"),
        _ => says.clone(),
    };
    Response::new(Full::new(body))
}

async fn serve_echo(mut stream: TcpStream, says: Bytes, death: CancellationToken) {
    tokio::select! {
        _ = echo(&mut stream, &says) => (),
        () = death.cancelled() => reset(&stream),
    }
}

async fn echo(stream: &mut TcpStream, says: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(says).await?;
    let mut buffer = vec![0; ECHO_BUFFER];
    loop {
        let len = timeout(ECHO_IDLE, stream.read(&mut buffer)).await??;
        if len == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..len]).await?;
    }
}

/// Answers questions of DNS with a text, and sends everything else back as it is.
async fn serve_dns(socket: UdpSocket, says: Bytes, death: CancellationToken) {
    let says = [Record::Text(String::from_utf8_lossy(&says).trim_end().to_owned())];
    let mut buffer = vec![0; PAYLOAD_MAX];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = death.cancelled() => return,
        };
        // What was sent earlier found nobody: the next may.
        let Ok((len, from)) = received else { continue };
        let answer = Asked::read(&buffer[..len]).map(|asked| asked.answer(&says));
        // A client that is gone is its own affair.
        let _ = socket.send_to(answer.as_deref().unwrap_or(&buffer[..len]), from).await;
    }
}

/// Makes the close that follows a reset.
fn reset(stream: &TcpStream) {
    // If it fails the connection is gone already.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use std::{io::ErrorKind, net::Ipv4Addr};

    use rig::dns;

    use super::*;
    use crate::lab::plan::SERVERS;

    const LINE: &[u8] = b"vnet=red\n";

    /// A first answer beyond three times the question is held back by the edge.
    #[test]
    fn every_origin_may_answer_a_dig_at_once() {
        let edns = 11 + 12; // with its cookie
        let question = dns::question(0, &["who"], dns::TXT);
        let asked = Asked::read(&question).expect("it is a question");
        for ground in Ground::all() {
            for server in &SERVERS {
                for replica in replicas_of(server.vnet) {
                    let says = Saying::of(ground, server, replica, Speech::Dns).to_string();
                    let answered = asked.answer(&[Record::Text(says.trim_end().to_owned())]);
                    assert!(answered.len() <= 3 * (question.len() + edns), "{says}");
                }
            }
        }
    }

    async fn origin(speech: Speech) -> (Origin, SocketAddr) {
        let door = Door { at: (Ipv4Addr::LOCALHOST, 0).into(), speech, says: Bytes::from_static(LINE) };
        let origin = Origin::open(vec![door]).await.expect("some port is free");
        let at = origin.doors[0].at;
        (origin, at)
    }

    async fn greeted(at: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(at).await?;
        let mut greeting = [0; LINE.len()];
        stream.read_exact(&mut greeting).await?;
        assert_eq!(greeting, LINE);
        Ok(stream)
    }

    #[tokio::test]
    async fn the_echo_greets_echoes_and_ends_after_its_client() {
        let (_origin, at) = origin(Speech::Echo).await;
        let mut stream = greeted(at).await.expect("it serves");
        stream.write_all(b"hello").await.expect("it reads");
        stream.shutdown().await.expect("it is open");
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.expect("it ends in order");
        assert_eq!(back, b"hello");
    }

    #[tokio::test]
    async fn death_resets_what_is_open_and_refuses_what_is_new() {
        let (mut origin, at) = origin(Speech::Echo).await;
        let mut stream = greeted(at).await.expect("it serves");
        origin.kill().await;
        let error = stream.read_u8().await.expect_err("it is dead");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = TcpStream::connect(at).await.expect_err("it is dead");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        origin.revive().await.expect("nobody took its address");
        greeted(at).await.expect("it is back");
    }

    #[tokio::test]
    async fn questions_are_answered_and_other_payloads_come_back() {
        let (mut origin, at) = origin(Speech::Dns).await;
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("some port is free");
        client.connect(at).await.expect("it has an address");
        let mut buffer = [0; 512];
        let question = dns::question(7, &["who"], dns::TXT);
        client.send(&question).await.expect("it serves");
        let len = client.recv(&mut buffer).await.expect("it answers");
        assert_eq!(dns::text_for(&question, &buffer[..len]), Some("vnet=red"));
        client.send(b"hello").await.expect("it serves");
        let len = client.recv(&mut buffer).await.expect("it answers");
        assert_eq!(&buffer[..len], b"hello");

        origin.kill().await;
        client.send(b"hello").await.expect("nobody has said anything yet");
        let error = client.recv(&mut buffer).await.expect_err("it is dead");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        origin.revive().await.expect("nobody took its address");
    }

    #[tokio::test]
    async fn http_connections_die_with_a_reset_too() {
        let (origin, at) = origin(Speech::Http).await;
        let mut stream = TcpStream::connect(at).await.expect("it serves");
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(LINE) {
            answer.push(stream.read_u8().await.expect("it answers"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        origin.kill().await;
        let error = stream.read_u8().await.expect_err("it is dead");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
