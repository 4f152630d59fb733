//! The admin endpoint of a running edge or connector, as commands ask it: where it is, with which token, within which time.

use std::{
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use api::{Problem, code::Code};
use bytes::Bytes;
use certs::secret::Secret;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    args::{AdminArgs, Common},
    edge_file,
    failure::Failure,
    settings_file::{self, Settings},
};

/// Limit of one question, unless it is known to take longer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever ends before it has answered is asked so often in all, with this in between.
const TRIES: usize = 4;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);
/// Largest answer, bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Most characters of an edge's refusal that are repeated.
const ECHO_MAX: usize = 300;
/// Most characters of what somebody lacks, ready or not.
const LACKS_MAX: usize = 8_000;
/// Where an edge's admin endpoint is if nothing says otherwise.
const PORT: u16 = 7842;
/// The file in an edge's state directory that holds the admin token.
const TOKEN_FILE: &str = "admin.token";
/// Longest admin token, bytes.
const TOKEN_MAX: usize = 4096;

/// A running edge or connector, found but not yet asked.
#[derive(Debug)]
pub(crate) struct AdminEndpoint {
    /// What is there, in words.
    who: &'static str,
    /// `HOST:PORT`, to dial and for the Host header.
    authority: String,
    token: Token,
    /// Limit of one question, from the dial to the last byte of the answer.
    wait: Duration,
}

/// The admin token, or why there is none.
#[derive(Debug)]
enum Token {
    Known { file: PathBuf, token: Secret<String> },
    Unreadable { file: PathBuf, error: String },
    Unnamed,
}

impl AdminEndpoint {
    /// Finds the edge by `--admin`, else by its file, else where an edge is by default.
    pub(crate) fn find(common: &Common, args: &AdminArgs) -> Result<Self, Failure> {
        let contact = common.config.as_deref().map(|file| edge_file::contact(file, &args.over)).transpose()?;
        let authority = match (&args.admin, &contact) {
            (Some(url), _) => given(url)?,
            (None, Some(contact)) => dialled(contact.admin)?.to_string(),
            (None, None) => default_edge(),
        };
        let state_dir = contact.map(|contact| contact.state_dir).or_else(|| args.over.state_dir.clone());
        let file = args.admin_token_file.clone().or_else(|| state_dir.map(|dir| dir.join(TOKEN_FILE)));
        Ok(Self {
            who: "edge",
            authority,
            token: file.map_or(Token::Unnamed, |file| Token::read(&file)),
            wait: TIMEOUT,
        })
    }

    /// Finds an edge or a connector by its URL, else by its file, else where an edge is by default. Without a token:
    /// whoever is asked like this tells everybody.
    pub(crate) fn find_any(url: Option<&str>, file: Option<&Path>) -> Result<Self, Failure> {
        let (who, authority) = match (url, file) {
            (Some(url), _) => ("edge or connector", given(url)?),
            (None, Some(file)) => match Settings::read(file)? {
                Settings::Edge(config) => ("edge", dialled(config.admin.listen)?.to_string()),
                Settings::Connector(config) => ("connector", dialled(config.admin_listen)?.to_string()),
            },
            (None, None) => ("edge", default_edge()),
        };
        Ok(Self { who, authority, token: Token::Unnamed, wait: TIMEOUT })
    }

    /// Finds whoever can be asked for a status: a connector by its file, else an edge.
    pub(crate) fn find_either(common: &Common, args: &AdminArgs) -> Result<Self, Failure> {
        match (&args.admin, &common.config) {
            (None, Some(file)) if settings_file::is_connectors(file)? => Self::find_any(None, Some(file)),
            (Some(_) | None, _) => Self::find(common, args),
        }
    }

    /// Whether it is ready; if not, why. Ready, it may still say what it lacks.
    pub(crate) async fn ready(&self) -> Result<String, Failure> {
        let (status, body) = self.answer(Method::GET, "/readyz").await?;
        match status {
            StatusCode::OK => Ok(lacks(&body)),
            StatusCode::SERVICE_UNAVAILABLE => Err(Failure::Failed(reasons(&body)).coded(Code::NotReady)),
            other => Err(self.unexpected(other, &body)),
        }
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.ask(Method::GET, path, StatusCode::is_success).await
    }

    /// Changes something; that needs the token.
    pub(crate) async fn post(&self, path: &str) -> Result<Bytes, Failure> {
        self.change(Method::POST, path, StatusCode::is_success).await
    }

    /// The same; that something wrong was found is an answer too.
    pub(crate) async fn post_checked(&self, path: &str) -> Result<Bytes, Failure> {
        let is_answer = |status: &StatusCode| status.is_success() || *status == StatusCode::UNPROCESSABLE_ENTITY;
        self.change(Method::POST, path, is_answer).await
    }

    /// Takes something back; that needs the token.
    pub(crate) async fn delete(&self, path: &str) -> Result<Bytes, Failure> {
        self.change(Method::DELETE, path, StatusCode::is_success).await
    }

    /// Waits that long for each answer.
    pub(crate) fn patient(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    async fn change(&self, method: Method, path: &str, is_answer: fn(&StatusCode) -> bool) -> Result<Bytes, Failure> {
        match &self.token {
            Token::Known { .. } => self.ask(method, path, is_answer).await,
            Token::Unreadable { .. } | Token::Unnamed => {
                Err(Failure::Refused(self.token.lacking()).coded(Code::AdminToken))
            }
        }
    }

    async fn ask(&self, method: Method, path: &str, is_answer: fn(&StatusCode) -> bool) -> Result<Bytes, Failure> {
        let (status, body) = self.answer(method, path).await?;
        if is_answer(&status) {
            return Ok(body);
        }
        let (lacking, code) = match status {
            StatusCode::UNAUTHORIZED => (self.token.lacking(), Code::AdminToken),
            StatusCode::FORBIDDEN => (said(&body), Code::HostRefused),
            other => return Err(self.unexpected(other, &body)),
        };
        let (who, at) = (self.who, &self.authority);
        Err(Failure::Refused(format!("the {who} at http://{at} refused: {lacking}")).coded(code))
    }

    fn unexpected(&self, status: StatusCode, body: &[u8]) -> Failure {
        let (who, at, status) = (self.who, &self.authority, status.as_u16());
        Failure::Failed(format!("the {who} at http://{at} answered {status}: {}", said(body))).coded(code(body))
    }

    /// Asks again where whoever was asked was just about to end: another process may have its place now, and nothing that is asked does
    /// harm if it is asked twice.
    async fn answer(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        for _ in 1..TRIES {
            match self.once(method.clone(), path).await {
                Err(failure) if failure.code() == Code::Ending => {}
                Ok((StatusCode::SERVICE_UNAVAILABLE, body)) if code(&body) == Code::Ending => {}
                answered => return answered,
            }
            sleep(BETWEEN_TRIES).await;
        }
        self.once(method, path).await
    }

    async fn once(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let late = |_| {
            let (who, at) = (self.who, &self.authority);
            let text = format!("the {who} at http://{at} did not answer within {}", config::spell(self.wait));
            Failure::Failed(text).coded(Code::NoAnswerInTime)
        };
        timeout(self.wait, self.exchange(method, path)).await.map_err(late)?
    }

    async fn exchange(&self, method: Method, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let (who, at) = (self.who, &self.authority);
        let unreachable = |e: std::io::Error| {
            let right = "is it running? name another by --admin URL or -c FILE";
            Failure::Failed(format!("no {who} answers at http://{at} ({e}): {right}")).coded(Code::NobodyAnswers)
        };
        let broken = |e: &dyn std::fmt::Display| {
            Failure::Failed(format!("no {who} speaks at http://{at}: {e}")).coded(Code::StrangeAnswer)
        };
        let stream = TcpStream::connect(at).await.map_err(unreachable)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
        let request = self.request(method, path)?;
        let answer = async {
            let cut_off = |e: hyper::Error| {
                let is_end = e.is_incomplete_message() || e.is_canceled();
                if is_end { broken(&e).coded(Code::Ending) } else { broken(&e) }
            };
            let answer = sender.send_request(request).await.map_err(cut_off)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await.map_err(|e| broken(&e))?;
            Ok((status, body.to_bytes()))
        };
        let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
        tokio::select! {
            answer = &mut answer => answer,
            // The connection may end before the answer has been looked at; its own error shows there.
            _ = &mut connection => answer.await,
        }
    }

    fn request(&self, method: Method, path: &str) -> Result<Request<Empty<Bytes>>, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.authority);
        if let Token::Known { token, .. } = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        request.body(Empty::new()).map_err(|_| {
            let text = "the admin token has characters no token has".to_owned();
            Failure::Settings(text).coded(Code::AdminToken)
        })
    }
}

impl Token {
    fn read(file: &Path) -> Self {
        // What is named may be no file with an end.
        let bounded = |file: File| {
            let mut text = String::new();
            file.take(TOKEN_MAX as u64 + 1).read_to_string(&mut text).map(|_| text)
        };
        match File::open(file).and_then(bounded) {
            Ok(text) if text.len() <= TOKEN_MAX => {
                Self::Known { file: file.to_owned(), token: Secret::new(text.trim().to_owned()) }
            }
            Ok(_) => Self::Unreadable { file: file.to_owned(), error: "it is too long for a token".to_owned() },
            Err(error) => Self::Unreadable { file: file.to_owned(), error: error.to_string() },
        }
    }

    /// Why the edge does not let us in.
    fn lacking(&self) -> String {
        match self {
            Self::Known { file, .. } => format!("the admin token in {} is not this edge's", file.display()),
            Self::Unreadable { file, error } => {
                let right = "the edge makes it when it first starts, for its own user";
                format!("the edge's admin token in {} cannot be read ({error}): {right}", file.display())
            }
            Self::Unnamed => {
                "this needs the edge's admin token: give -c edge.toml, or --admin-token-file FILE".to_owned()
            }
        }
    }
}

/// `HOST:PORT` of what `--admin` names.
fn given(url: &str) -> Result<String, Failure> {
    authority(url).map_err(|why| Failure::Usage(format!("--admin {url}: {why}")))
}

/// `HOST:PORT` of an edge whose file says nothing.
fn default_edge() -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)).to_string()
}

/// `HOST:PORT` of an endpoint as users write it.
fn authority(url: &str) -> Result<String, &'static str> {
    const RIGHT: &str = "an admin endpoint is http://HOST:PORT, such as http://127.0.0.1:7842";
    let uri: Uri = url.trim().trim_end_matches('/').parse().map_err(|_| RIGHT)?;
    match uri.scheme_str() {
        None | Some("http") => {}
        Some("https") => return Err("an admin endpoint speaks plain HTTP: write http://"),
        Some(_) => return Err(RIGHT),
    }
    let authority = uri.authority().ok_or(RIGHT)?;
    let bare = authority.as_str().find('@').is_none() && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host = authority.host();
    let port = match authority.as_str().strip_prefix(host) {
        Some("") => Some(PORT),
        Some(_) | None => authority.port_u16(),
    };
    let port = port.filter(|port| bare && *port != 0 && !host.is_empty()).ok_or(RIGHT)?;
    Ok(format!("{host}:{port}"))
}

/// The address to dial for one that is listened on.
fn dialled(listen: SocketAddr) -> Result<SocketAddr, Failure> {
    if listen.port() == 0 {
        let text = "the file lets it choose its admin port (port 0): name it by --admin URL";
        return Err(Failure::Settings(text.to_owned()));
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

/// Why somebody is not ready, a line each, fit for a terminal.
fn reasons(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(LACKS_MAX).collect();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let lines: Vec<_> = lines.map(|line| format!("not ready: {}", line.replace(char::is_control, " "))).collect();
    if lines.is_empty() { "not ready: it gave no reason".to_owned() } else { lines.join("\n") }
}

/// What stands under the `ok` of somebody who is ready, fit for a terminal.
fn lacks(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().take(LACKS_MAX).collect();
    let lines = text.lines().skip(1).map(|line| line.replace(char::is_control, " ") + "\n");
    lines.collect()
}

/// Under which code an edge says that its refusal is looked up. One of an older version says none.
fn code(body: &[u8]) -> Code {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    problem.and_then(|problem| Code::of(&problem.code?)).unwrap_or(Code::StrangeAnswer)
}

/// What an edge said, fit for one line: the text of a JSON `error`, or the text itself.
fn said(body: &[u8]) -> String {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    let text = problem.map(|problem| problem.error).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text: String = text.trim().chars().take(ECHO_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_as_users_write_them() {
        for (url, right) in [
            ("http://127.0.0.1:7842", "127.0.0.1:7842"),
            ("http://127.0.0.1:7842/", "127.0.0.1:7842"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("localhost:1", "localhost:1"),
            ("http://[::1]:9", "[::1]:9"),
            ("http://edge-1", "edge-1:7842"),
        ] {
            assert_eq!(authority(url).as_deref(), Ok(right), "{url}");
        }
        for wrong in
            ["", "https://a:1", "ftp://a:1", "http://a:1/x", "http://u@a:1", "http://a:99999", "/status", "a b"]
        {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wildcard_is_dialled_on_loopback() {
        let dial = |listen: &str| dialled(listen.parse().expect("an address")).map(|a| a.to_string()).ok();
        assert_eq!(dial("0.0.0.0:1").as_deref(), Some("127.0.0.1:1"));
        assert_eq!(dial("[::]:1").as_deref(), Some("[::1]:1"));
        assert_eq!(dial("10.0.0.1:1").as_deref(), Some("10.0.0.1:1"));
        assert_eq!(dial("127.0.0.1:0"), None);
    }

    #[test]
    fn what_is_lacking_is_told_line_by_line() {
        assert_eq!(lacks(b"ok\n"), "");
        assert_eq!(lacks(b"ok\na: 0 of 2\x1b links\nb\n"), "a: 0 of 2  links\nb\n");
    }

    #[test]
    fn a_token_file_without_an_end_is_too_long() {
        let read = Token::read(Path::new("/dev/zero"));
        assert!(read.lacking().contains("it is too long for a token"), "{}", read.lacking());
    }

    #[test]
    fn reasons_are_told_line_by_line() {
        assert_eq!(reasons(b"a: 0 of 2\x1b links\nb\n"), "not ready: a: 0 of 2  links\nnot ready: b");
        assert_eq!(reasons(b"\n"), "not ready: it gave no reason");
    }

    #[test]
    fn a_refusal_is_repeated_in_one_short_line() {
        assert_eq!(said(br#"{"error":"no such connector"}"#), "no such connector");
        assert_eq!(said(b"no\x1b[2J\nway\n"), "no [2J way");
        assert_eq!(said(b""), "it gave no reason");
        assert_eq!(said(&[b'x'; 1000]).len(), ECHO_MAX);
    }
}
