//! Header fields in settings: what probes send, and what rules change.

use config::{Seen, Table, Value};
use http::{HeaderName, HeaderValue};

use crate::model::FieldEdits;

/// Most fields that one rule changes in one head.
const EDITS_MAX: usize = 32;

/// Fields that belong to a connection or frame a message; whoever speaks HTTP writes them.
pub(super) const OWN: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// `NAME = "VALUE"` for each field; `why` none of `own` may be among them, and `host` is the setting for Host.
pub(super) fn read(t: &Table<'_>, (own, why): (&[&str], &str), host: &str) -> Vec<(HeaderName, HeaderValue)> {
    let mut seen = Seen::default();
    let mut fields = Vec::new();
    for (place, key, value) in t.entries() {
        let Ok(name) = HeaderName::from_bytes(key.as_bytes()) else {
            t.wrong(place, format!("`{}` is no name of a header field", key.escape_debug()));
            continue;
        };
        if own.contains(&name.as_str()) {
            let right = if name == http::header::HOST { host } else { "" };
            t.wrong(place, format!("`{key}` {why}{right}"));
        }
        if let Some(first) = seen.insert(place, name.to_string()) {
            t.wrong(place, format!("`{key}` is given twice, first in {}", t.words(first)));
        }
        let Some(text) = value.any_string() else { continue };
        // The value may be a credential, so no message repeats it.
        match HeaderValue::from_str(text) {
            Ok(value) => fields.push((name, value)),
            Err(_) => value.wrong("has a character that no header field may have"),
        }
    }
    fields
}

/// `request_headers` or `response_headers` of a rule.
pub(super) fn edits(r: &Table<'_>, key: &'static str) -> FieldEdits {
    const WHY: &str = "belongs to the connection, and no rule changes it";
    let read = r.table(key, |t| {
        let set = t.table("set", |fields| read(fields, (&OWN, WHY), "; a pool has `host`")).unwrap_or_default();
        let remove = t.or("remove", Vec::new(), |v| Some(v.items()?.iter().filter_map(name).collect::<Vec<_>>()));
        if let Some((both, _)) = set.iter().find(|(name, _)| remove.contains(name)) {
            t.wrong(t.place(), format!("`{both}` is set and removed; to set it is to replace it"));
        }
        if set.len() + remove.len() > EDITS_MAX {
            t.wrong(t.place(), format!("`{key}` changes at most {EDITS_MAX} fields"));
        }
        if set.is_empty() && remove.is_empty() {
            t.lacking(t.place(), format!("`{key}` has `set`, `remove` or both"));
        }
        FieldEdits { remove, set }
    });
    read.unwrap_or_default()
}

fn name(v: &Value<'_>) -> Option<HeaderName> {
    let read = v.read("the name of a header field", |text| {
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| "a field's name has no blanks or separators")?;
        if OWN.contains(&name.as_str()) {
            Err("it belongs to the connection, and no rule changes it")
        } else {
            Ok(name)
        }
    });
    read.map(|at| at.value)
}
