//! HTTP clients. Every answer must name the question it belongs to, and the site that was asked.

use std::time::Duration;

use rig::{
    client::http::{Answer, Connection},
    load::Client,
    sample::{Kind, Outcome, Trouble},
};

use super::{Site, To, fresh_id};

/// Longest that a client waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a POST.
const POST_BYTES: usize = 2_000;

/// GET after GET on one connection, for as long as it lives.
pub(super) fn kept(client: &Client, to: To, every: Duration) {
    let (mut connection, mut on) = (None, None);
    client.pace(every, || {
        if client.record(&mut on, Kind::GetKept, |_| ask(&mut connection, to, "GET")) != Outcome::Served {
            (connection, on) = (None, None);
        }
    });
}

/// GETs on connections of their own.
pub(super) fn new(client: &Client, to: To, every: Duration) {
    client.pace(every, || {
        client.record(&mut None, Kind::GetNew, |_| ask(&mut None, to, "GET"));
    });
}

/// POSTs on connections of their own.
pub(super) fn post(client: &Client, to: To, every: Duration) {
    client.pace(every, || {
        client.record(&mut None, Kind::Post, |_| ask(&mut None, to, "POST"));
    });
}

fn ask(connection: &mut Option<Connection>, to: To, method: &str) -> Result<(), Trouble> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(Connection::open(to.at, PATIENCE)?),
    };
    let (id, body) = (fresh_id(), if method == "POST" { POST_BYTES } else { 0 });
    let head = format!("{method} /id?id={id} HTTP/1.1\r\nHost: lab.test\r\nContent-Length: {body}\r\n\r\n");
    judge(&connection.exchange(&[head.into_bytes(), vec![b'x'; body]].concat())?, id, to.site)
}

fn judge(Answer { code, body, .. }: &Answer, id: u64, site: Site) -> Result<(), Trouble> {
    if *code != 200 {
        return Err(Trouble::Failed(format!("{code} {}", body.lines().next().unwrap_or_default())));
    }
    let names = match site {
        Site::A => &["a-1", "a-2"][..],
        Site::B => &["b-1"],
    };
    if names.iter().any(|name| *body == format!("{name} {id}")) {
        Ok(())
    } else {
        Err(Trouble::Wrong(format!("asked site {site:?} for {id}, got {body:?}")))
    }
}
