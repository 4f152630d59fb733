//! Golden bytes for tests, and the same bytes as `docs/protocol.md` shows them, so that neither drifts.

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// Bytes of a text in hex; white space is ignored, and so is what follows a `#` in a line.
pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.lines().filter_map(|line| line.split('#').next()).collect();
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

/// The bytes that the document shows in its block "hex NAME".
pub(crate) fn documented(name: &str) -> Vec<u8> {
    let fence = format!("```hex {name}\n");
    let (_, rest) = DOCUMENT.split_once(&fence).unwrap_or_else(|| panic!("docs/protocol.md has no block {name:?}"));
    let (block, _) = rest.split_once("```").expect("the block ends");
    bytes(block)
}

/// The rows of the table below the heading with this text: the cells of each, without blanks and backquotes.
pub(crate) fn table(heading: &str) -> Vec<Vec<String>> {
    let (_, rest) = DOCUMENT.split_once(heading).unwrap_or_else(|| panic!("docs/protocol.md has no {heading:?}"));
    let rows = rest.lines().skip_while(|l| !l.starts_with('|')).take_while(|l| l.starts_with('|')).skip(2);
    let cell = |text: &str| text.trim().trim_matches('`').to_owned();
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect()).collect()
}

mod tests {
    use std::time::Duration;

    use super::table;
    use crate::{
        control::RefusalCode,
        error::{CloseCode, Reason, StreamCode},
        limits::*,
    };

    /// First and second column, with the rows that follow them in the code.
    fn check(heading: &str, expected: &[(u64, String)]) {
        let row = |row: &Vec<String>| (row[0].parse().expect("a number"), row[1].clone());
        assert_eq!(table(heading).iter().map(row).collect::<Vec<_>>(), expected, "{heading}");
    }

    #[test]
    fn the_document_lists_every_code() {
        let close = (0..).map_while(CloseCode::from_wire).map(|c| (c as u64, c.to_string()));
        check("### Close codes", &close.collect::<Vec<_>>());
        let reasons = Reason::ALL.iter().map(|r| (r.to_wire().into(), r.to_string()));
        check("### Reasons", &reasons.collect::<Vec<_>>());
        let refusals = (1..=9).map(RefusalCode::from_wire).map(|c| (c as u64, c.to_string()));
        check("### Refusal codes", &refusals.collect::<Vec<_>>());
        assert_eq!(RefusalCode::from_wire(10), RefusalCode::Unavailable, "nine are known");
        let streams = [
            (StreamCode::Reset, "reset"),
            (StreamCode::Stalled, "stalled"),
            (StreamCode::Cancelled, "cancelled"),
            (StreamCode::BadHeader, "bad_header"),
            (StreamCode::Unreachable, "unreachable"),
        ];
        check("### Stream codes", &streams.map(|(code, word)| (code as u64, word.to_owned())));
        assert!(streams.iter().all(|(code, _)| StreamCode::from_wire(*code as u64) == *code));
    }

    #[test]
    fn the_document_lists_the_limits_as_they_are() {
        let bytes = |n: usize| format!("{n} bytes");
        let time = |t: Duration| {
            if t.subsec_millis() == 0 { format!("{} s", t.as_secs()) } else { format!("{} ms", t.as_millis()) }
        };
        let limits = [
            ("CONTROL_BODY_MAX", bytes(CONTROL_BODY_MAX)),
            ("HEADER_BODY_MAX", bytes(HEADER_BODY_MAX)),
            ("ROUTES_MAX", ROUTES_MAX.to_string()),
            ("CLAIM_TEXT_MAX", bytes(CLAIM_TEXT_MAX)),
            ("TEXT_MAX", bytes(TEXT_MAX)),
            ("DER_MAX", bytes(DER_MAX)),
            ("HOST_NAME_MAX", bytes(HOST_NAME_MAX)),
            ("LINKS_MAX", LINKS_MAX.to_string()),
            ("STREAMS_MAX", STREAMS_MAX.to_string()),
            ("STREAMS_FIRST", STREAMS_FIRST.to_string()),
            ("CREDIT_WAIT", time(CREDIT_WAIT)),
            ("FIRST_BYTES_MAX", bytes(FIRST_BYTES_MAX)),
            ("HEADER_WAIT", time(HEADER_WAIT)),
            ("REGISTER_WAIT", time(REGISTER_WAIT)),
            ("HEARD_WAIT", time(HEARD_WAIT)),
            ("STRANGER_WINDOW", bytes(STRANGER_WINDOW as usize)),
            ("DIAL_WAIT_MAX", time(DIAL_WAIT_MAX)),
            ("FLOW_WINDOW", bytes(FLOW_WINDOW as usize)),
            ("WINDOWS_MAX", WINDOWS_MAX.to_string()),
            ("HELD_MAX", format!("{HELD_MAX} bytes")),
            ("SLOW_AFTER", time(SLOW_AFTER)),
            ("STALL_AFTER", time(STALL_AFTER)),
            ("RESET_LEAD", time(RESET_LEAD)),
        ];
        let documented: Vec<_> = table("### Limits").into_iter().map(|r| (r[2].clone(), r[1].clone())).collect();
        assert_eq!(documented, limits.map(|(name, value)| (name.to_owned(), value)));
    }
}
