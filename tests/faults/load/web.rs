//! HTTP clients. Every answer must name the question it belongs to, and the site that was asked.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use rig::sample::{Kind, Outcome};

use super::{Client, Site, failed, fresh_id};

/// Longest silence a client bears.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a POST.
const POST_BYTES: usize = 2_000;
/// Longest answer.
const ANSWER_MAX: usize = 64 * 1024;

/// GET after GET on one connection, for as long as it lives.
pub(super) fn kept(client: &Client, every: Duration) {
    let (mut connection, mut on) = (None, None);
    client.pace(every, || {
        let outcome = client.record_on(&mut on, Kind::GetKept, |_| ask(&mut connection, client, "GET", 0));
        if outcome != Outcome::Served {
            (connection, on) = (None, None);
        }
    });
}

/// GETs on connections of their own.
pub(super) fn new(client: &Client, every: Duration) {
    client.pace(every, || {
        client.record(Kind::GetNew, || ask(&mut None, client, "GET", 0));
    });
}

/// POSTs on connections of their own.
pub(super) fn post(client: &Client, every: Duration) {
    client.pace(every, || {
        client.record(Kind::Post, || ask(&mut None, client, "POST", POST_BYTES));
    });
}

/// One GET at this address; its status code.
pub(super) fn get(at: SocketAddr) -> io::Result<u16> {
    exchange(&mut None, at, "GET", (fresh_id(), 0)).map(|answer| answer.code)
}

fn ask(connection: &mut Option<BufReader<TcpStream>>, client: &Client, method: &str, body: usize) -> Outcome {
    let id = fresh_id();
    match exchange(connection, client.at, method, (id, body)) {
        Err(error) => failed(error),
        Ok(answer) => answer.judge(id, client.site),
    }
}

struct Answer {
    code: u16,
    text: String,
}

impl Answer {
    fn judge(self, id: u64, site: Site) -> Outcome {
        let Self { code, text } = self;
        if code != 200 {
            return Outcome::Failed(format!("{code} {}", text.lines().next().unwrap_or_default()));
        }
        let names = match site {
            Site::A => &["a-1", "a-2"][..],
            Site::B => &["b-1"],
        };
        if names.iter().any(|name| text == format!("{name} {id}")) {
            Outcome::Served
        } else {
            Outcome::Wrong(format!("asked site {site:?} for {id}, got {text:?}"))
        }
    }
}

fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    at: SocketAddr,
    method: &str,
    (id, body): (u64, usize),
) -> io::Result<Answer> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(BufReader::new(connect(at)?)),
    };
    let head = format!("{method} /id?id={id} HTTP/1.1\r\nHost: lab.test\r\nContent-Length: {body}\r\n\r\n");
    let request = [head.into_bytes(), vec![b'x'; body]].concat();
    stream.get_mut().write_all(&request)?;
    read(stream)
}

fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer");
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(invalid)?;
    let mut length = None;
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let length = length.filter(|length| *length <= ANSWER_MAX).ok_or_else(invalid)?;
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok(Answer { code, text: String::from_utf8_lossy(&text).into_owned() })
}
