//! `allow`, `deny` and the bounds of a listener's clients.

use std::{num::NonZeroU32, time::Duration};

use config::{Table, Value};
use ipnetwork::IpNetwork;

use crate::model::{Admission, ListenProtocol, Rate};

/// Most networks of one list: each flow is held against all of them.
const NETWORKS_MAX: usize = 1_000;
const CONNECTIONS_MAX: u64 = 1_000_000;
/// Most of anything in its time.
const RATE_MAX: u32 = 10_000_000;

/// Who may use a listener, and how much of it.
pub(super) fn read(t: &Table<'_>, protocol: Option<ListenProtocol>) -> Admission {
    let networks = |key| t.or(key, Vec::new(), |v| networks(&v));
    let often = |key| t.optional(key).and_then(|v| v.read("a rate", rate)).map(|at| at.value);
    let requests_per_source = match protocol {
        Some(ListenProtocol::Tcp | ListenProtocol::Udp) => {
            t.refuse("requests_per_source", "is for listeners with `protocol` \"http\" or \"https\"");
            None
        }
        Some(ListenProtocol::Http | ListenProtocol::Https) | None => often("requests_per_source"),
    };
    Admission {
        allow: networks("allow"),
        deny: networks("deny"),
        connections_per_source: t.optional("connections_per_source").and_then(|v| v.integer(1..=CONNECTIONS_MAX)),
        rate: often("rate"),
        rate_per_source: often("rate_per_source"),
        requests_per_source,
    }
}

fn networks(v: &Value<'_>) -> Option<Vec<IpNetwork>> {
    let items = v.items()?;
    if items.len() > NETWORKS_MAX {
        v.wrong(format_args!("must have at most {NETWORKS_MAX} networks, found {}", items.len()));
    }
    Some(items.iter().filter_map(|item| item.network().map(|at| at.value)).collect())
}

/// `100/s`, `600/m` or `1000/h`.
fn rate(text: &str) -> Result<Rate, String> {
    const RIGHT: &str = "a rate is COUNT/s, COUNT/m or COUNT/h, such as \"100/s\"";
    let (count, unit) = text.split_once('/').ok_or(RIGHT)?;
    let per = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(RIGHT.to_owned()),
    };
    if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RIGHT.to_owned());
    }
    let bounds = || format!("the count of a rate is 1 to {RATE_MAX}");
    let count = count.parse().ok().filter(|count| *count <= RATE_MAX).and_then(NonZeroU32::new).ok_or_else(bounds)?;
    Ok(Rate { count, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_count_in_a_second_a_minute_or_an_hour() {
        let of = |text| rate(text).map(|rate| (rate.count.get(), rate.per.as_secs()));
        assert_eq!(of("100/s"), Ok((100, 1)));
        assert_eq!(of("1/m"), Ok((1, 60)));
        assert_eq!(of("10000000/h"), Ok((10_000_000, 3600)));
        for wrong in
            ["", "100", "/s", "0/s", "-1/s", "+1/s", "1.5/s", "1/d", "1/S", "1 /s", "10000001/s", "99999999999/s"]
        {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
