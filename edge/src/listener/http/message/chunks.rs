//! Chunked framing of an HTTP/1 request body, checked byte for byte as it passes. Pure.

use super::{fault::Fault, head};

/// Most bytes of chunk extensions of one message; they are dropped, and their count is bounded all the same.
const EXTENSIONS_MAX: usize = 4 * 1024;
/// Most digits of a chunk size.
const DIGITS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size { digits: usize },
    Extension,
    SizeEnd,
    Data(u64),
    DataCr,
    DataLf,
    Trailer,
    TrailerEnd,
    Done,
}

/// Where in a chunked body the bytes are.
#[derive(Debug)]
pub(crate) struct Chunks {
    at: At,
    size: u64,
    extensions: usize,
    trailer: Vec<u8>,
    trailers: usize,
    fields: usize,
}

impl Chunks {
    /// Before the first chunk.
    pub(crate) fn new() -> Self {
        Self { at: At::Size { digits: 0 }, size: 0, extensions: 0, trailer: Vec::new(), trailers: 0, fields: 0 }
    }

    /// True behind the last byte of the message.
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// How many of these bytes belong to the message; fewer than there are only when it is done.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut passed = 0;
        while let Some(byte) = bytes.get(passed) {
            match self.at {
                At::Done => break,
                At::Data(left) => {
                    let here = u64::try_from(bytes.len() - passed).unwrap_or(u64::MAX).min(left);
                    passed += usize::try_from(here).unwrap_or(usize::MAX);
                    self.at = if here == left { At::DataCr } else { At::Data(left - here) };
                }
                At::Size { .. } | At::Extension | At::SizeEnd => {
                    self.size_line(*byte)?;
                    passed += 1;
                }
                At::DataCr | At::DataLf => {
                    self.data_end(*byte)?;
                    passed += 1;
                }
                At::Trailer | At::TrailerEnd => {
                    self.trailer(*byte)?;
                    passed += 1;
                }
            }
        }
        Ok(passed)
    }

    fn size_line(&mut self, byte: u8) -> Result<(), Fault> {
        self.at = match (self.at, byte) {
            (At::Size { digits }, _) if byte.is_ascii_hexdigit() && digits < DIGITS_MAX => {
                let digit = u64::from(char::from(byte).to_digit(16).unwrap_or(0));
                self.size = (self.size << 4) | digit;
                At::Size { digits: digits + 1 }
            }
            (At::Size { digits: 1.. }, b';') => At::Extension,
            (At::Size { digits: 1.. } | At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.extensions += 1;
                if self.extensions > EXTENSIONS_MAX {
                    return Err(Fault::CHUNK);
                }
                At::Extension
            }
            (At::SizeEnd, b'\n') => match std::mem::take(&mut self.size) {
                0 => At::Trailer,
                size if i64::try_from(size).is_ok() => At::Data(size),
                _ => return Err(Fault::CHUNK),
            },
            _ => return Err(Fault::CHUNK),
        };
        Ok(())
    }

    fn data_end(&mut self, byte: u8) -> Result<(), Fault> {
        self.at = match (self.at, byte) {
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0 },
            _ => return Err(Fault::CHUNK),
        };
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), Fault> {
        self.trailers += 1;
        if self.trailers > head::HEAD_MAX {
            return Err(Fault::HEAD_TOO_LARGE);
        }
        match (self.at, byte) {
            (At::Trailer, b'\r') => self.at = At::TrailerEnd,
            (At::TrailerEnd, b'\n') if self.trailer.is_empty() => self.at = At::Done,
            (At::TrailerEnd, b'\n') => {
                self.fields += 1;
                if self.fields > head::FIELDS_MAX {
                    return Err(Fault::TOO_MANY_FIELDS);
                }
                head::field(&self.trailer)?;
                self.trailer.clear();
                self.at = At::Trailer;
            }
            (At::TrailerEnd, _) | (_, b'\n') => return Err(Fault::LINE_END),
            _ => self.trailer.push(byte),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes the bytes in pieces of every size; the answer must not depend on it.
    fn check(body: &str, expected: Result<usize, Fault>) {
        for piece in 1..=body.len() {
            let mut chunks = Chunks::new();
            let passed = body.as_bytes().chunks(piece).try_fold(0, |sum, bytes| Ok(sum + chunks.pass(bytes)?));
            assert_eq!(passed, expected, "{body:?} in pieces of {piece}");
            assert_eq!(chunks.is_done(), expected.is_ok(), "{body:?}");
        }
    }

    #[test]
    fn chunks_to_the_letter_pass() {
        check("0\r\n\r\n", Ok(5));
        check("5\r\nhello\r\n0\r\n\r\nGET", Ok(15));
        check("A;x=\"y\"\r\n0123456789\r\n00\r\n\r\n", Ok("A;x=\"y\"\r\n0123456789\r\n00\r\n\r\n".len()));
        check("1\r\na\r\n0\r\nx: y\r\nz:\r\n\r\n", Ok(21));
    }

    #[test]
    fn chunk_sizes_are_one_to_sixteen_hex_digits_and_nothing_else() {
        for bad in
            ["+1\r\n", "-1\r\n", "0x1\r\n", "1_0\r\n", " 1\r\n", "1 \r\n", "\r\n", "g\r\n", "00000000000000001\r\n"]
        {
            check(bad, Err(Fault::CHUNK));
        }
        check("ffffffffffffffff\r\n", Err(Fault::CHUNK));
        check("8000000000000000\r\n", Err(Fault::CHUNK));
    }

    #[test]
    fn crlf_after_chunk_data_is_checked_byte_for_byte() {
        for bad in ["1\na", "1\r\nab", "1\r\na\n", "1\r\na\rx", "1\r\nabc\r\n", "1;a\nb"] {
            check(bad, Err(Fault::CHUNK));
        }
        check("0\r\n\n", Err(Fault::LINE_END));
        check("0\r\nx: y\n", Err(Fault::LINE_END));
    }

    #[test]
    fn trailers_are_fields() {
        check("0\r\n x: y\r\n", Err(Fault::FOLDED));
        check("0\r\nx y: z\r\n", Err(Fault::FIELD_NAME));
        check("0\r\nx: \0\r\n", Err(Fault::FIELD_VALUE));
    }

    #[test]
    fn extensions_are_bounded() {
        check(&format!("1;{}", "x".repeat(5000)), Err(Fault::CHUNK));
    }
}
