//! `[[monitor]]`: how to probe.

use std::{ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use config::{Named, Table, Value};
use http::uri::PathAndQuery;
use protocol::id::Name;

use super::{
    fields,
    origin_tls::{self, Given},
    words::{METHODS, MONITOR_TYPES, MonitorType, Probing},
};
use crate::model::{Check, HttpCheck, Monitor, TcpCheck, UdpCheck, Upstream};

/// All monitors.
pub(super) type Monitors = Named<Name, Configured>;

/// A monitor, not yet bound to a pool.
#[derive(Debug)]
pub(super) struct Configured {
    /// As it probes where the pool says nothing.
    pub(super) monitor: Arc<Monitor>,
    /// What an `https` monitor says of TLS.
    tls: Option<Given>,
}

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
const INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60);
const RETRIES_MAX: u64 = 10;
const CONSECUTIVE_MAX: u64 = 100;
const PASSIVE_FAILURES_MAX: u64 = 1_000;
const JITTER_MAX: f64 = 0.5;
/// Longest text looked for in a body, bytes.
const EXPECTED_BODY_MAX: usize = 4096;

/// Keys that only HTTP checks have.
const HTTP_KEYS: [&str; 7] = ["method", "path", "host", "headers", "expected_codes", "expected_body", "keep_alive"];
/// Keys that only TCP and UDP checks have.
const BYTES_KEYS: [&str; 2] = ["send", "expect"];
/// Longest bytes a TCP or UDP check sends or expects: what any path carries in one packet.
const BYTES_MAX: usize = 1_200;
/// Fields that belong to the connection, not to the user.
const OWN_FIELDS: [&str; 6] = ["connection", "content-length", "host", "te", "transfer-encoding", "upgrade"];

pub(super) fn read(root: &Table<'_>, path: &Path) -> Monitors {
    Named::read(root, "monitor", "monitor", |t, name: Option<&Name>| {
        let expects = "\"tcp\", \"http\", \"https\", \"udp\" or \"icmp\"";
        let kind = t.required("type", expects).and_then(|v| v.word(&MONITOR_TYPES));
        refuse_others(t, kind);
        let mut tls = None;
        let check = match kind {
            Some(MonitorType::Udp) => udp_check(t).map(Check::Udp),
            Some(MonitorType::Tcp) => tcp_check(t),
            Some(MonitorType::Icmp) => Some(Check::Icmp),
            Some(MonitorType::Http) => http_check(t, Upstream::Http1).map(Check::Http),
            Some(MonitorType::Https) => {
                let given = tls.insert(Given::read(t, path));
                let speaks = Upstream::Https(Arc::new(given.over(&origin_tls::plain())));
                http_check(t, speaks).map(Check::Http)
            }
            None => http_check(t, Upstream::Http1).and(None),
        };
        let (interval, timeout) = times(t);
        let count = |key, default| t.or(key, default, |v| v.integer(1..=CONSECUTIVE_MAX));
        let monitor = Monitor {
            interval,
            timeout,
            retries: t.or("retries", 1, |v| v.integer(0..=RETRIES_MAX)),
            consecutive_up: count("consecutive_up", 2),
            consecutive_down: count("consecutive_down", 2),
            passive_failures: t.or("passive_failures", 3, |v| v.integer(0..=PASSIVE_FAILURES_MAX)),
            jitter: t.or("jitter", 0.1, |v| v.float(0.0..=JITTER_MAX)),
            name: name?.clone(),
            check: check?,
        };
        Some(Configured { monitor: Arc::new(monitor), tls })
    })
}

/// Notes keys of other types; of no type, only that nothing is known of them.
fn refuse_others(t: &Table<'_>, kind: Option<MonitorType>) {
    let Some(kind) = kind else {
        // Whether they are right cannot be told.
        for key in origin_tls::KEYS.iter().chain(&BYTES_KEYS) {
            let _ = t.optional(key);
        }
        return;
    };
    let is_http = matches!(kind, MonitorType::Http | MonitorType::Https);
    let takes_bytes = matches!(kind, MonitorType::Tcp | MonitorType::Udp);
    let all: [(bool, &[&'static str], &str); 3] = [
        (is_http, &HTTP_KEYS, "is for monitors of type \"http\" or \"https\""),
        (kind == MonitorType::Https, &origin_tls::KEYS, "is for monitors of type \"https\""),
        (takes_bytes, &BYTES_KEYS, "is for monitors of type \"tcp\" or \"udp\""),
    ];
    for (_, keys, why) in all.iter().filter(|(its_own, ..)| !its_own) {
        keys.iter().for_each(|key| t.refuse(key, why));
    }
}

impl Configured {
    /// The monitor as it probes a pool with this upstream: it speaks what requests would speak there, to the host they name,
    /// and TLS as the pool has it unless it says otherwise itself.
    pub(super) fn of_pool(&self, upstream: &Upstream, host: Option<&str>) -> Arc<Monitor> {
        let Check::Http(check) = &self.monitor.check else { return self.monitor.clone() };
        let speaks = match (&self.tls, upstream) {
            (None, _) => upstream.clone(),
            (Some(given), Upstream::Https(pool)) => Upstream::Https(Arc::new(given.over(pool))),
            (Some(_), Upstream::Http1 | Upstream::H2c) => check.speaks.clone(),
        };
        let check =
            Check::Http(HttpCheck { speaks, host: check.host.clone().or(host.map(str::to_owned)), ..check.clone() });
        Arc::new(Monitor { check, ..(*self.monitor).clone() })
    }

    /// True if it speaks HTTP without TLS.
    pub(super) fn is_plain_http(&self) -> bool {
        matches!(self.monitor.check, Check::Http(_)) && self.tls.is_none()
    }
}

/// Interval and timeout. A timeout that is not given shrinks with the interval.
fn times(t: &Table<'_>) -> (Duration, Duration) {
    let interval = t.optional("interval").map(|v| v.duration(INTERVAL_RANGE));
    let timeout = t.optional("timeout").map(|v| v.duration(TIMEOUT_RANGE));
    let known_interval = match interval {
        None => Some(INTERVAL),
        Some(read) => read.map(|at| at.value),
    };
    if let (Some(Some(timeout)), Some(interval)) = (timeout, known_interval)
        && timeout.value > interval
    {
        let (timeout_ms, interval_ms) = (timeout.value.as_millis(), interval.as_millis());
        let both = format!("`timeout` ({timeout_ms} ms) must not exceed `interval` ({interval_ms} ms)");
        t.lacking(timeout.place, both);
    }
    let interval = known_interval.unwrap_or(INTERVAL);
    (interval, timeout.flatten().map_or(TIMEOUT.min(interval), |at| at.value))
}

/// With neither key a connection is all that is asked for.
fn tcp_check(t: &Table<'_>) -> Option<Check> {
    let (send, expect) = (t.optional("send"), t.optional("expect"));
    let Some(expect) = expect else {
        if let Some(send) = send {
            t.wrong(
                send.place(),
                "`send` needs `expect` with monitors of type \"tcp\": what is answered is to be judged",
            );
        }
        return send.is_none().then_some(Check::Tcp);
    };
    let send = send.map_or(Some(Vec::new()), |v| payload(&v));
    let read = payload(&expect)?;
    if read.is_empty() {
        expect.wrong("must not be empty; leave it out if a connection is enough");
        return None;
    }
    Some(Check::TcpAnswer(TcpCheck { send: send?, expect: read }))
}

fn udp_check(t: &Table<'_>) -> Option<UdpCheck> {
    let send = t.required("send", "what is sent, as text or as \"0x…\"").and_then(|v| payload(&v));
    let expect = t.optional("expect").map_or(Some(Vec::new()), |v| payload(&v));
    Some(UdpCheck { send: send?, expect: expect? })
}

/// Bytes as text, or as hexadecimal digits after "0x".
fn payload(v: &Value<'_>) -> Option<Vec<u8>> {
    let read = v.read("text, or bytes such as \"0x17f0\"", |text| {
        let bytes = match text.strip_prefix("0x") {
            Some(digits) => hex(digits).ok_or("after \"0x\" come pairs of hexadecimal digits")?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() > BYTES_MAX { Err("at most 1,200 bytes fit any path") } else { Ok(bytes) }
    });
    read.map(|at| at.value)
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = digits.chars().map(|c| c.to_digit(16)).collect();
    let (pairs, rest) = digits.as_ref()?.as_chunks::<2>();
    let byte = |[high, low]: &[u32; 2]| u8::try_from(high * 16 + low).expect("two digits are a byte");
    rest.is_empty().then(|| pairs.iter().map(byte).collect())
}

fn http_check(t: &Table<'_>, speaks: Upstream) -> Option<HttpCheck> {
    let probing = t.or("method", Probing::Get, |v| v.word(&METHODS));
    let path = t.or("path", "/".to_owned(), |v| v.read("a path such as \"/healthz\"", request_path).map(|at| at.value));
    let host = t.optional("host").and_then(|v| v.read("a host name", host_field)).map(|at| at.value);
    let headers = t.table("headers", |h| fields::read(h, (&OWN_FIELDS, "is set by the probe itself"), "; give `host`"));
    let headers = headers.unwrap_or_default();
    let expected_codes =
        t.or("expected_codes", vec![(200, 299)], |v| Some(v.some_items()?.into_iter().filter_map(codes).collect()));
    let expected_body = t.optional("expected_body");
    if let Some(body) = expected_body
        && probing == Probing::Head
    {
        t.wrong(body.place(), "`expected_body` needs method \"GET\" or \"OPTIONS\": an answer to HEAD has no body");
    }
    let expected_body = expected_body.and_then(|v| body(&v)).unwrap_or_default();
    let keep_alive = t.or("keep_alive", false, |v| v.boolean());
    let method = probing.method();
    Some(HttpCheck { speaks, method, path, host, headers, expected_codes, expected_body, keep_alive })
}

fn request_path(text: &str) -> Result<String, &'static str> {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    if text.starts_with('/') && plain && text.parse::<PathAndQuery>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("a path begins with \"/\" and has only what a URL may have; escape the rest with %")
}

pub(super) fn host_field(text: &str) -> Result<String, &'static str> {
    match text.parse::<http::uri::Authority>() {
        Ok(authority) if !text.contains('@') => Ok(authority.to_string()),
        Ok(_) | Err(_) => Err("a Host header is NAME or NAME:PORT"),
    }
}

fn codes(v: Value<'_>) -> Option<(u16, u16)> {
    if v.is_integer() {
        return v.integer::<u16>(100..=599).map(|code| (code, code));
    }
    v.read("a status code such as \"2xx\"", code_range).map(|at| at.value)
}

fn code_range(text: &str) -> Result<(u16, u16), &'static str> {
    let right = "a status code is \"2xx\", \"204\" or \"200-299\", from 100 to 599";
    let code = |text: &str| match text.parse::<u16>() {
        Ok(code) if text.len() == 3 && (100..=599).contains(&code) => Ok(code),
        Ok(_) | Err(_) => Err(right),
    };
    if let Some(class) = text.strip_suffix("xx") {
        let first = code(&format!("{class}00"))?;
        return Ok((first, first + 99));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (code(first)?, code(last)?);
    if first > last { Err("a range begins with its lower end") } else { Ok((first, last)) }
}

fn body(v: &Value<'_>) -> Option<String> {
    let text = v.any_string()?;
    if text.len() > EXPECTED_BODY_MAX {
        v.wrong(format_args!("must be at most {EXPECTED_BODY_MAX} bytes, found {}", text.len()));
        return None;
    }
    Some(text.to_owned())
}
