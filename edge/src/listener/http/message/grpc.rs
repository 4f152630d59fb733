//! What the edge knows of gRPC: how a call is told, how long it may take, how it is told that it failed. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

use super::fault::Fault;

/// True if the request is a gRPC call.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|v| v.strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// How long a call may take, from its `grpc-timeout`: at most eight digits and a unit.
///
/// # Errors
/// Anything else.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let (digits, unit) =
        value.as_bytes().split_last().map(|(unit, digits)| (digits, *unit)).ok_or(Fault::GRPC_TIMEOUT)?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::GRPC_TIMEOUT);
    }
    let count = digits.iter().fold(0_u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Ok(Some(Duration::from_secs(count * 3600))),
        b'M' => Ok(Some(Duration::from_secs(count * 60))),
        b'S' => Ok(Some(Duration::from_secs(count))),
        b'm' => Ok(Some(Duration::from_millis(count))),
        b'u' => Ok(Some(Duration::from_micros(count))),
        b'n' => Ok(Some(Duration::from_nanos(count))),
        _ => Err(Fault::GRPC_TIMEOUT),
    }
}

/// The fields that tell a call that it failed: trailers, or the head of an answer that is nothing else.
pub(crate) fn failed(fault: Fault) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from(status(fault)));
    fields.insert("grpc-message", HeaderValue::from_static(fault.code));
    fields
}

/// The gRPC status that stands for a fault.
fn status(fault: Fault) -> u16 {
    match fault.status.as_u16() {
        _ if fault == Fault::GRPC_DEADLINE => 4,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_call_is_told_by_its_content_type() {
        for (kind, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x", true),
            ("application/grpc-web", false),
            ("text/plain", false),
        ] {
            assert_eq!(is_call(&with("content-type", kind)), expected, "{kind}");
        }
    }

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        for (text, expected) in [
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("9n", Duration::from_nanos(9)),
        ] {
            assert_eq!(timeout(&with("grpc-timeout", text)), Ok(Some(expected)), "{text}");
        }
        for bad in ["", "S", "1", "+1S", "-1S", "1.5S", "123456789S", "1s", "1 S"] {
            assert_eq!(timeout(&with("grpc-timeout", bad)), Err(Fault::GRPC_TIMEOUT), "{bad}");
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn faults_have_a_status_of_their_own() {
        for (code, expected) in
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (405, 2), (500, 2)]
        {
            let fault = Fault { status: StatusCode::from_u16(code).expect("a status"), code: "x", words: "" };
            assert_eq!(status(fault), expected, "{code}");
        }
        assert_eq!(failed(Fault::GRPC_DEADLINE)["grpc-status"], "4");
    }
}
