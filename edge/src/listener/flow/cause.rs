//! Why a flow of any kind came to nothing: a word for programs, and what was met, in words for people. Its line in the
//! access log has both.
//!
//! A flow that goes well pays nothing for it, and no client is told the words: they name addresses.

use std::borrow::Cow;

use crate::{balancer::NoPlace, offramp::Why};

/// Why, if nothing has failed.
const NO_PLACE: &str = "no_place";
/// Most bytes of words in a line; what is longer is cut.
const WORDS_MAX: usize = 512;

/// Why it ended, if there is a reason, and what was met last on its way.
#[derive(Debug, Default)]
pub(in crate::listener) struct Cause {
    code: Option<&'static str>,
    /// The words, with the code they belong to.
    met: Option<(&'static str, Cow<'static, str>)>,
}

impl Cause {
    /// This was met. It may go well elsewhere, so it is not the end yet.
    pub(in crate::listener) fn met(&mut self, code: &'static str, words: impl Into<Cow<'static, str>>) {
        self.met = Some((code, words.into()));
    }

    /// It ends for this reason, unless it goes well elsewhere.
    pub(in crate::listener) fn failed(&mut self, why: Why) {
        let code = why.reason.as_str();
        self.code = Some(code);
        self.met(code, why.detail);
    }

    /// It ends because there is no place for it.
    pub(in crate::listener) fn no_place(&mut self, no: &NoPlace) {
        // What is only drained has failed nowhere.
        self.code = no.reason.map(|reason| reason.as_str()).or(no.detail.as_ref().map(|_| NO_PLACE));
        if let (Some(code), Some(words)) = (self.code, &no.detail) {
            self.met(code, words.to_string());
        }
    }

    /// It ends with this code, and these words if nothing was met that says more.
    pub(in crate::listener) fn ends(&mut self, code: &'static str, words: &'static str) {
        self.code = Some(code);
        if self.words().is_none() && !words.is_empty() {
            self.met(code, words);
        }
    }

    /// It goes well now.
    pub(in crate::listener) fn heals(&mut self) {
        self.code = None;
    }

    /// The reason it ended for.
    pub(in crate::listener) fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// What was met last, if it belongs to this code: the end of an attempt that need not be the flow's.
    pub(in crate::listener) fn words_of(&self, code: &str) -> Option<Cow<'_, str>> {
        self.met.as_ref().filter(|(of, _)| *of == code).map(|(_, words)| on_a_line(words))
    }

    /// What was met, if it belongs to that reason: on one line, and not too long.
    pub(in crate::listener) fn words(&self) -> Option<Cow<'_, str>> {
        self.words_of(self.code?)
    }
}

/// Connectors and libraries write what they like: control characters are escaped, and the rest is cut.
fn on_a_line(words: &str) -> Cow<'_, str> {
    if words.len() <= WORDS_MAX && !words.contains(char::is_control) {
        return Cow::Borrowed(words);
    }
    let mut line = String::new();
    for c in words.chars() {
        let before = line.len();
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
        if line.len() > WORDS_MAX {
            line.truncate(before);
            line.push('…');
            break;
        }
    }
    line.into()
}

#[cfg(test)]
mod tests {
    use protocol::error::Reason;

    use super::*;

    #[test]
    fn words_are_told_with_the_reason_they_belong_to() {
        let mut cause = Cause::default();
        assert_eq!((cause.code(), cause.words()), (None, None));
        cause.failed(Why::new(Reason::ConnectRefused, "192.0.2.1:80: refused"));
        assert_eq!((cause.code(), cause.words().as_deref()), (Some("connect_refused"), Some("192.0.2.1:80: refused")));
        cause.ends("connect_refused", "less");
        assert_eq!(cause.words().as_deref(), Some("192.0.2.1:80: refused"), "what was met says more");
        cause.heals();
        assert_eq!((cause.code(), cause.words()), (None, None), "it went well elsewhere");
        cause.ends("idle", "nothing was carried");
        assert_eq!((cause.code(), cause.words().as_deref()), (Some("idle"), Some("nothing was carried")));
        cause.ends("no_place", "");
        assert_eq!((cause.code(), cause.words()), (Some("no_place"), None));
    }

    #[test]
    fn where_there_is_no_place_the_last_attempt_or_the_nearest_origin_says_why() {
        let mut cause = Cause::default();
        cause.failed(Why::new(Reason::PolicyDenied, "not on the list"));
        cause.no_place(&NoPlace::because(Some(Reason::PolicyDenied)));
        assert_eq!((cause.code(), cause.words().as_deref()), (Some("policy_denied"), Some("not on the list")));
        cause.no_place(&NoPlace { detail: Some("no route".into()), ..NoPlace::because(Some(Reason::NoRoute)) });
        assert_eq!((cause.code(), cause.words().as_deref()), (Some("no_route"), Some("no route")));
        cause.no_place(&NoPlace::because(None));
        assert_eq!((cause.code(), cause.words()), (None, None));
    }

    #[test]
    fn words_stay_on_one_line_and_are_bounded() {
        assert_eq!(on_a_line("a\r\n\u{1b}[31mb\0"), "a\\r\\n\\u{1b}[31mb\\u{0}");
        assert!(matches!(on_a_line("plain"), Cow::Borrowed("plain")), "nothing is copied");
        for long in ["ä".repeat(WORDS_MAX), "\u{1b}".repeat(WORDS_MAX)] {
            let line = on_a_line(&long).into_owned();
            assert!(line.ends_with('…') && line.len() <= WORDS_MAX + '…'.len_utf8(), "{}", line.len());
        }
    }
}
