//! A request that might come, from the words of whoever asks about it, judged by what judges those that do.

use http::{HeaderMap, HeaderName, HeaderValue, Request, header, request::Parts, uri::PathAndQuery};

use super::message::{
    authority::Authority,
    fault::Fault,
    path::UrlPath,
    request::{self, Asked, Reading},
};
use crate::{listener::state::Serving, model::Paths, tls::Shown};

/// What is said of a request that might come.
#[derive(Debug, Clone, Copy)]
pub(in crate::listener) struct Words<'a> {
    /// The host it asks for.
    pub(in crate::listener) host: Option<&'a str>,
    /// The path it asks for; unless said `/`.
    pub(in crate::listener) path: Option<&'a str>,
    /// Its Cookie field.
    pub(in crate::listener) cookie: Option<&'a str>,
    /// Its other fields, one a line.
    pub(in crate::listener) headers: Option<&'a str>,
    /// The server name that its client asks for in the handshake.
    pub(in crate::listener) sni: Option<&'a str>,
}

/// A request that might come.
#[derive(Debug)]
pub(in crate::listener) struct Imagined {
    /// The host it asks for, as rules read it.
    pub(in crate::listener) host: Option<String>,
    /// The path it asks for, in every reading that rules go by.
    pub(in crate::listener) paths: Vec<String>,
    /// Its fields.
    pub(in crate::listener) headers: HeaderMap,
    /// The certificate its client is shown, if it asks for a name.
    pub(in crate::listener) certificate: Option<String>,
    /// Its head, and what that asks for; absent if it would be refused.
    pub(super) asked: Option<(Parts, Asked)>,
    /// How it would be answered here, before any place is looked for: the code, the status and words.
    pub(in crate::listener) refused: Option<(&'static str, String)>,
}

/// Reads what is said of a request.
///
/// # Errors
/// What cannot be said of one, in words.
pub(in crate::listener) fn imagine(words: Words<'_>, serving: &Serving) -> Result<Imagined, String> {
    let listener = &serving.listener;
    let path = words.path.unwrap_or("/");
    let host = words.host.map(read_host).transpose()?;
    let paths = read_path(path, listener.http.paths)?;
    let headers = fields(words)?;
    let shown = match (words.sni, &serving.tls) {
        (None, _) => None,
        (Some(name), Some(tls)) => Some(tls.shown(name)),
        (Some(_), None) => return Err(format!("listener \"{}\" speaks no TLS: no `sni` matters there", listener.name)),
    };
    let certificate = shown.as_ref().and_then(Shown::file).map(|file| file.display().to_string());
    let target: PathAndQuery = path.parse().map_err(|_| format!("`path` {path:?} is no path"))?;
    let mut request = Request::builder().uri(target.as_str()).body(String::new()).map_err(|error| error.to_string())?;
    request.headers_mut().clone_from(&headers);
    let default_port = if serving.tls.is_some() { 443 } else { 80 };
    let reading = Reading { default_port, paths: listener.http.paths };
    let asked = request::check_request(&request, reading).and_then(|asked| {
        let covers = |host: &Authority| shown.as_ref().is_none_or(|shown| shown.covers(&host.host));
        let is_served = asked.host.as_ref().is_none_or(covers);
        if is_served { asked.choose(&listener.http.upgrade, &request) } else { Err(Fault::MISDIRECTED) }
    });
    let refused = asked.as_ref().err().map(|fault| (fault.code, format!("{}: {}", fault.status, fault.words.trim())));
    let asked = asked.ok().map(|asked| (request.into_parts().0, asked));
    let asked_host = asked.as_ref().and_then(|(_, asked)| asked.host.as_ref()).map(|authority| authority.host.clone());
    Ok(Imagined { host: asked_host.or(host), paths, headers, certificate, asked, refused })
}

fn fields(words: Words<'_>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let mut add = |name: HeaderName, value: &str, wrong: String| {
        headers.append(name, HeaderValue::from_str(value).map_err(|_| wrong)?);
        Ok::<_, String>(())
    };
    for line in words.headers.unwrap_or_default().lines() {
        let wrong = || format!("`headers` has {line:?}, which is no NAME: VALUE");
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        add(name.parse().map_err(|_| wrong())?, value.trim_matches([' ', '\t']), wrong())?;
    }
    if let Some(cookie) = words.cookie {
        add(header::COOKIE, cookie, "`cookie` is no value of a field".to_owned())?;
    }
    if let Some(host) = words.host {
        add(header::HOST, host, format!("`host` {host:?} is no HOST or HOST:PORT"))?;
    }
    Ok(headers)
}

fn read_host(host: &str) -> Result<String, String> {
    let read = Authority::parse(host);
    read.map(|authority| authority.host).ok_or_else(|| format!("`host` {host:?} is no HOST or HOST:PORT"))
}

fn read_path(path: &str, paths: Paths) -> Result<Vec<String>, String> {
    let read = UrlPath::read(path, paths);
    read.map(|path| path.ruled).map_err(|fault| format!("`path` {path:?} would be refused: {}", fault.code))
}
