//! As much of DNS (RFC 1035) as is spoken here: a question, and an answer of texts or addresses to whatever is asked. Pure.

use std::net::IpAddr;

/// An IPv4 address.
pub const A: u16 = 1;
/// A text.
pub const TXT: u16 = 16;
/// An IPv6 address.
pub const AAAA: u16 = 28;

const IN: u16 = 1;
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
/// Of a record, before its data: that name, type, class, time to live, length.
const BEFORE_DATA: usize = 2 + 2 + 2 + 4 + 2;

/// A question of this kind about a name.
#[must_use]
pub fn question(id: u16, labels: &[&str], kind: u16) -> Vec<u8> {
    let mut question = words([id, 0, 1, 0, 0, 0]);
    for label in labels {
        debug_assert!((1..=LABEL_MAX).contains(&label.len()), "{label:?}");
        question.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend(words([kind, IN]));
    question
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A text; only what fits into one piece is said.
    Text(String),
    /// An address.
    Address(IpAddr),
}

impl Record {
    /// Its kind, as questions name it.
    #[must_use]
    pub fn kind(&self) -> u16 {
        match self {
            Self::Text(_) => TXT,
            Self::Address(IpAddr::V4(_)) => A,
            Self::Address(IpAddr::V6(_)) => AAAA,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => {
                let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
                [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text].concat()
            }
            Self::Address(IpAddr::V4(v4)) => v4.octets().to_vec(),
            Self::Address(IpAddr::V6(v6)) => v6.octets().to_vec(),
        }
    }
}

/// A question as its server reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked<'a> {
    head: [u16; 2],
    /// The name, the kind and the class.
    question: &'a [u8],
}

impl<'a> Asked<'a> {
    /// Reads a message; none if that is no question of DNS.
    #[must_use]
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let [id, flags, questions, answers] = [0, 2, 4, 6].map(|at| word(message, at));
        if flags? & (ANSWER | ODD) != 0 || questions? != 1 || answers? != 0 {
            return None;
        }
        let question = message.get(HEAD..name_end(message)? + 4)?;
        Some(Self { head: [id?, flags?], question })
    }

    /// The kind that is asked for.
    #[must_use]
    pub fn kind(&self) -> u16 {
        word(self.question, self.question.len() - 4).unwrap_or_default()
    }

    /// The name, in small letters, with dots between its parts.
    #[must_use]
    pub fn name(&self) -> String {
        let (mut labels, mut rest) = (Vec::new(), self.question);
        while let Some((len, after)) = rest.split_first().filter(|(len, _)| **len > 0) {
            let (label, after) = after.split_at(usize::from(*len).min(after.len()));
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            rest = after;
        }
        labels.join(".")
    }

    /// The answer that says all of these, whatever was asked for; they hold for no time at all.
    #[must_use]
    pub fn answer(&self, records: &[Record]) -> Vec<u8> {
        let [id, flags] = self.head;
        let flags = ANSWER | AUTHORITATIVE | flags & RECURSION;
        let count = u16::try_from(records.len()).unwrap_or(u16::MAX);
        let mut answer = words([id, flags, 1, count, 0, 0]);
        answer.extend(self.question);
        for record in &records[..usize::from(count)] {
            let data = record.data();
            answer.extend(words([THAT_NAME, record.kind(), IN, 0, 0, u16::try_from(data.len()).unwrap_or(u16::MAX)]));
            answer.extend(data);
        }
        answer
    }
}

/// What a server said to exactly this question: its code, 0 if it is an answer; none if it is said to another.
#[must_use]
pub fn code_for(question: &[u8], said: &[u8]) -> Option<u8> {
    let is_for = said.get(..2)? == question.get(..2)? && said.get(HEAD..question.len())? == question.get(HEAD..)?;
    let flags = word(said, 2).filter(|flags| is_for && flags & ANSWER != 0)?;
    u8::try_from(flags & 0x0f).ok()
}

/// The data of the first record in the answer to exactly this question, if its kind is this.
#[must_use]
pub fn data_for<'a>(question: &[u8], said: &'a [u8], kind: u16) -> Option<&'a [u8]> {
    code_for(question, said).filter(|code| *code == 0)?;
    let record = said.get(question.len()..)?;
    let len = word(record, BEFORE_DATA - 2).filter(|_| word(record, 2) == Some(kind))?;
    record.get(BEFORE_DATA..BEFORE_DATA + usize::from(len))
}

/// The text in the answer to exactly this question.
#[must_use]
pub fn text_for<'a>(question: &[u8], said: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(data_for(question, said, TXT)?.get(1..)?).ok()
}

fn word(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

fn words<const N: usize>(words: [u16; N]) -> Vec<u8> {
    words.into_iter().flat_map(u16::to_be_bytes).collect()
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

    fn answer(message: &[u8], text: &str) -> Option<Vec<u8>> {
        Asked::read(message).map(|asked| asked.answer(&[Record::Text(text.to_owned())]))
    }

    #[test]
    fn a_question_is_answered_with_the_text() {
        let asked = question(0x1234, &["who", "lab"], TXT);
        let answered = answer(&asked, "it is me").expect("it is a question");
        assert_eq!(answered[..2], [0x12, 0x34]);
        assert_eq!(answered[2..HEAD], [0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
        assert_eq!(text_for(&asked, &answered), Some("it is me"));
        assert_eq!(text_for(&question(0x1235, &["who", "lab"], TXT), &answered), None);
        assert_eq!(text_for(&question(0x1234, &["who", "lap"], TXT), &answered), None);
        assert_eq!(code_for(&asked, &asked), None, "a question that comes back is no answer");
    }

    #[test]
    fn a_server_reads_what_is_asked_and_says_addresses() {
        let asked = question(7, &["Db", "test"], A);
        let read = Asked::read(&asked).expect("it is a question");
        assert_eq!((read.name().as_str(), read.kind()), ("db.test", A));
        let [four, six]: [IpAddr; 2] = [[192, 0, 2, 7].into(), [0; 16].into()];
        let mut said = read.answer(&[four, six].map(Record::Address));
        assert_eq!(said[6..8], [0, 2]);
        assert_eq!((code_for(&asked, &said), data_for(&asked, &said, A)), (Some(0), Some(&[192, 0, 2, 7][..])));
        assert_eq!((data_for(&asked, &said, AAAA), text_for(&asked, &said)), (None, None));
        said[3] |= 3;
        assert_eq!((code_for(&asked, &said), data_for(&asked, &said, A)), (Some(3), None), "there is no such name");
        assert_eq!(data_for(&asked, &read.answer(&[]), A), None);
    }

    #[test]
    fn what_is_no_question_has_no_answer() {
        let good = question(7, &["who"], TXT);
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

    proptest! {
        #[test]
        fn no_message_is_too_odd(message in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(answered) = answer(&message, "x") {
                prop_assert_eq!(&answered[..2], &message[..2]);
            }
            let _ = Asked::read(&message).map(|asked| (asked.name(), asked.kind()));
            let _ = text_for(&question(7, &["who"], TXT), &message);
        }
    }
}
