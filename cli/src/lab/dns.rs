//! As much of DNS (RFC 1035) as the lab speaks: a question, and an answer of one text to whatever is asked. Pure.

use bytes::{Buf, BufMut};

const HEAD: usize = 12;
/// Longest part of a name, and longest name.
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 255;
/// Longest text of one piece.
const TEXT_MAX: usize = 255;
/// This message is an answer.
const ANSWER: u16 = 0x8000;
/// Not a plain question: another operation, or cut short.
const ODD: u16 = 0x7a00;
/// The server speaks for the name itself.
const AUTHORITATIVE: u16 = 0x0400;
/// The client would like other servers to be asked: repeated in the answer.
const RECURSION: u16 = 0x0100;
/// Stands for the name in the question.
const THAT_NAME: u16 = 0xc00c;
const TXT: u16 = 16;
const IN: u16 = 1;
/// Type, class, time to live, length, and the length of the piece.
const BEFORE_TEXT: usize = 2 + 2 + 4 + 2 + 1;

/// A question for the text of a name.
pub(super) fn question(id: u16, labels: &[&str]) -> Vec<u8> {
    let mut question = Vec::new();
    [id, 0, 1, 0, 0, 0].into_iter().for_each(|word| question.put_u16(word));
    for label in labels {
        debug_assert!((1..=LABEL_MAX).contains(&label.len()), "{label:?}");
        question.put_u8(u8::try_from(label.len()).unwrap_or(u8::MAX));
        question.put_slice(label.as_bytes());
    }
    question.put_u8(0);
    question.put_u16(TXT);
    question.put_u16(IN);
    question
}

/// The answer to a message; none if that is no question of DNS.
pub(super) fn answer(message: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut head = message.get(..HEAD)?;
    let (id, flags, questions, answers) = (head.get_u16(), head.get_u16(), head.get_u16(), head.get_u16());
    if flags & (ANSWER | ODD) != 0 || questions != 1 || answers != 0 {
        return None;
    }
    let asked = message.get(HEAD..name_end(message)? + 4)?;
    let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
    let len = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut answer = Vec::with_capacity(HEAD + asked.len() + 2 + BEFORE_TEXT + text.len());
    let flags = ANSWER | AUTHORITATIVE | flags & RECURSION;
    [id, flags, 1, 1, 0, 0].into_iter().for_each(|word| answer.put_u16(word));
    answer.put_slice(asked);
    [THAT_NAME, TXT, IN].into_iter().for_each(|word| answer.put_u16(word));
    answer.put_u32(0);
    answer.put_u16(u16::from(len) + 1);
    answer.put_u8(len);
    answer.put_slice(text);
    Some(answer)
}

/// The text in the answer to exactly this question; none if it answers another.
pub(super) fn text_for<'a>(question: &[u8], answer: &'a [u8]) -> Option<&'a str> {
    let (id, asked) = (question.get(..2)?, question.get(HEAD..)?);
    let body = answer.strip_prefix(id)?.get(HEAD - id.len()..)?;
    let text = body.strip_prefix(asked)?.get(2 + BEFORE_TEXT..)?;
    std::str::from_utf8(text).ok()
}

/// Where the name behind the head ends. A question has no name to point back to.
fn name_end(message: &[u8]) -> Option<usize> {
    let mut at = HEAD;
    loop {
        let len = usize::from(*message.get(at)?);
        at += 1 + len;
        if len > LABEL_MAX || at > HEAD + NAME_MAX {
            return None;
        }
        if len == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lab::plan::{Ground, SERVERS, Saying, Speech, replicas_of};

    #[test]
    fn a_question_is_answered_with_the_text() {
        let asked = question(0x1234, &["who", "lab"]);
        let answered = answer(&asked, "it is me").expect("it is a question");
        assert_eq!(answered[..2], [0x12, 0x34]);
        assert_eq!(answered[2..HEAD], [0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(text_for(&asked, &answered), Some("it is me"));
        assert_eq!(text_for(&question(0x1235, &["who", "lab"]), &answered), None);
        assert_eq!(text_for(&question(0x1234, &["who", "lap"]), &answered), None);
    }

    #[test]
    fn what_is_no_question_has_no_answer() {
        let good = question(7, &["who"]);
        let changed = |at: usize, byte| {
            let mut bad = good.clone();
            bad[at] = byte;
            bad
        };
        let bad = [b"".to_vec(), b"hello\n".to_vec(), good[..good.len() - 1].to_vec(), changed(2, 0x80), changed(5, 2)];
        for bad in bad.into_iter().chain([changed(HEAD, 0xc0), changed(7, 1), changed(2, 0x28)]) {
            assert_eq!(answer(&bad, "x"), None, "{bad:?}");
        }
    }

    /// A first answer beyond three times the question is held back by the edge.
    #[test]
    fn every_origin_may_answer_a_dig_at_once() {
        let edns = 11 + 12; // with its cookie
        let asked = question(0, &["who"]);
        for ground in Ground::all() {
            for server in &SERVERS {
                for replica in replicas_of(server.vnet) {
                    let says = Saying::of(ground, server, replica, Speech::Dns).to_string();
                    let answered = answer(&asked, says.trim_end()).expect("it is a question");
                    assert!(answered.len() <= 3 * (asked.len() + edns), "{says}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_message_is_too_odd(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answered) = answer(&message, "x") {
                prop_assert_eq!(&answered[..2], &message[..2]);
            }
        }
    }
}
