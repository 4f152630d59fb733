//! The trace that a request belongs to, as W3C's Trace Context (level 1) spells it: read from the client, written for the origin.
//! Pure.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::{Rng, RngExt};

use crate::model::FlowId;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// `VERSION-TRACE-PARENT-FLAGS`.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;
/// Whoever came before has recorded something of the request.
const SAMPLED: u8 = 1;

/// The trace of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Its id, which is the request's.
    pub(crate) id: FlowId,
    flags: u8,
    /// The client began it; else it begins here.
    is_clients: bool,
}

impl Trace {
    /// The trace that a request says it belongs to; one that begins here if it says none, or not as it should.
    pub(crate) fn of(headers: &HeaderMap, dice: &mut impl Rng) -> Self {
        let mut fields = headers.get_all(TRACEPARENT).iter();
        let said = fields.next().filter(|_| fields.next().is_none()).and_then(|field| read(field.as_bytes()));
        // The access log has a line of each, so what begins here is recorded, and those behind need not leave it out.
        let begun = |dice| Self { id: FlowId::draw(dice), flags: SAMPLED, is_clients: false };
        said.map_or_else(|| begun(dice), |(id, flags)| Self { id, flags, is_clients: true })
    }

    /// Says it to the origin: this hop is the parent there. What others have added goes with their trace alone.
    pub(crate) fn write(self, headers: &mut HeaderMap, dice: &mut impl Rng) {
        let parent = dice.random::<u64>().max(1);
        let text = format!("00-{}-{parent:016x}-{:02x}", self.id, self.flags);
        headers.insert(TRACEPARENT, HeaderValue::try_from(text).expect("digits and dashes are visible characters"));
        if !self.is_clients {
            headers.remove(TRACESTATE);
        }
    }
}

/// The id and the flags; what a later version says behind them is passed over.
fn read(field: &[u8]) -> Option<(FlowId, u8)> {
    let text = std::str::from_utf8(field).ok()?;
    let (known, more) = text.split_at_checked(LENGTH)?;
    let mut parts = known.split('-');
    let mut part = |length: usize| parts.next().filter(|part| part.len() == length && part.bytes().all(is_digit));
    let (version, id, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let fits = match version {
        "ff" => false,
        "00" => more.is_empty(),
        _ => more.is_empty() || more.starts_with('-'),
    };
    if !fits || parent.bytes().all(|b| b == b'0') {
        return None;
    }
    // Flags that level 1 does not know are not passed on.
    Some((id.parse().ok()?, u8::from_str_radix(flags, 16).ok()? & SAMPLED))
}

fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
        };
        fields.iter().map(field).collect()
    }

    /// What an origin is told by a client that says this.
    fn passed_on(fields: &[(&'static str, &str)]) -> (Trace, HeaderMap) {
        let mut headers = headers(fields);
        let trace = Trace::of(&headers, &mut rand::rng());
        trace.write(&mut headers, &mut rand::rng());
        (trace, headers)
    }

    fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[test]
    fn a_clients_trace_goes_on_with_this_hop_as_parent() {
        for (said, flags) in [
            (format!("00-{ID}-00f067aa0ba902b7-01"), "01"),
            (format!("00-{ID}-00f067aa0ba902b7-00"), "00"),
            (format!("00-{ID}-00f067aa0ba902b7-ff"), "01"),
            (format!("cc-{ID}-00f067aa0ba902b7-01"), "01"),
            (format!("cc-{ID}-00f067aa0ba902b7-01-what-the-future-will-be-like"), "01"),
        ] {
            let (trace, headers) = passed_on(&[("traceparent", &said), ("tracestate", "rojo=1")]);
            assert_eq!(trace.id.to_string(), ID, "{said}");
            let passed = text(&headers, "traceparent").expect("it is there");
            assert!(passed.starts_with(&format!("00-{ID}-")) && passed.ends_with(&format!("-{flags}")), "{passed}");
            assert!(!passed.contains("00f067aa0ba902b7"), "the parent is this hop: {passed}");
            assert_eq!(text(&headers, "tracestate"), Some("rojo=1"));
        }
    }

    #[test]
    fn what_is_no_trace_is_replaced_and_what_belongs_to_it_left_out() {
        let zeros = "0".repeat(32);
        for said in [
            String::new(),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("cc-{ID}-00f067aa0ba902b7-01.more"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
            format!("00-{ID}-00f067aa0ba902b7-0"),
            format!("00-{ID}-00f067aa0ba902b7-0x"),
            format!("0-0{ID}-00f067aa0ba902b7-01"),
            format!("00_{ID}_00f067aa0ba902b7_01"),
        ] {
            let (trace, headers) = passed_on(&[("traceparent", &said), ("tracestate", "rojo=1")]);
            assert_ne!(trace.id.to_string(), ID, "{said}");
            let passed = text(&headers, "traceparent").expect("it is there");
            assert!(passed.starts_with(&format!("00-{}-", trace.id)) && passed.ends_with("-01"), "{said}: {passed}");
            assert_eq!(text(&headers, "tracestate"), None, "{said}");
        }
    }

    #[test]
    fn two_parents_are_none() {
        let said = format!("00-{ID}-00f067aa0ba902b7-01");
        let mut both = headers(&[("traceparent", &said)]);
        both.append(TRACEPARENT, HeaderValue::from_str(&said).expect("a value"));
        assert_ne!(Trace::of(&both, &mut rand::rng()).id.to_string(), ID);
    }

    #[test]
    fn a_request_that_says_nothing_begins_a_trace() {
        let (trace, headers) = passed_on(&[]);
        assert!(text(&headers, "traceparent").is_some_and(|passed| passed.starts_with(&format!("00-{}-", trace.id))));
    }
}
