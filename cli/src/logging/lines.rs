//! Lines of the log on their way out: a bounded queue, and a thread of its own that writes them.
//!
//! Whoever logs never waits and never fails. What the reader does (it stalls, it has gone, its disk is full) is the writing
//! thread's affair alone: what finds no room, or cannot be written, is lost and counted.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, and their bytes.
const LINES_MAX: usize = 16_384;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often it is told that lines were lost.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A reader that would have to be waited for is tried again after this.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// The queue; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// A line has come.
    come: Condvar,
    /// Every line has gone.
    gone: Condvar,
    lost: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// One was taken out and is being written.
    writing: bool,
}

impl Lines {
    /// An empty queue, written to standard error from now on.
    pub(super) fn to_standard_error() -> io::Result<Self> {
        let lines = Self::default();
        let writing = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_to(io::stderr()))?;
        Ok(lines)
    }

    /// Adds a line that ends in a line feed, if there is room for it.
    pub(super) fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines.len() >= LINES_MAX || waiting.bytes + line.len() > BYTES_MAX {
            self.lose();
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line.into());
        self.0.come.notify_one();
    }

    /// How many lines were lost so far; it goes on counting.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.0.lost.clone()
    }

    /// Waits until all is written, or as long as given.
    pub(super) fn flush(&self, wait: Duration) {
        let waiting = self.waiting();
        let pending = |waiting: &mut Waiting| waiting.writing || !waiting.lines.is_empty();
        // Late: the reader has stalled, and nobody waits for it.
        let _ = self.0.gone.wait_timeout_while(waiting, wait, pending);
    }

    fn write_to(&self, out: impl Write) {
        let (mut out, mut told) = (Out { to: out, torn: false }, Told { lost: 0, at: None });
        loop {
            let Some(line) = self.next() else {
                self.tell(&mut told);
                continue;
            };
            if out.put(&line).is_err() {
                self.lose();
            } else {
                self.tell(&mut told);
            }
        }
    }

    /// The next line; none if there is none for a while.
    fn next(&self) -> Option<Box<[u8]>> {
        let mut waiting = self.waiting();
        waiting.writing = false;
        if waiting.lines.is_empty() {
            self.0.gone.notify_all();
        }
        let waited = self.0.come.wait_timeout_while(waiting, TELL_EVERY, |waiting| waiting.lines.is_empty());
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let line = waiting.lines.pop_front()?;
        waiting.bytes -= line.len();
        waiting.writing = true;
        Some(line)
    }

    /// Says in the log what is missing from it: as a line like any other, which may be lost like any other.
    fn tell(&self, told: &mut Told) {
        let (lost, now) = (self.0.lost.load(Ordering::Relaxed), Instant::now());
        if lost == told.lost || told.at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            return;
        }
        let lines = lost - told.lost;
        *told = Told { lost, at: Some(now) };
        warn!(lines, "lines of this log were lost: it could not be written, or not fast enough");
    }

    fn lose(&self) {
        self.0.lost.fetch_add(1, Ordering::Relaxed);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that panics runs under the lock.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was last told of lost lines.
struct Told {
    lost: u64,
    at: Option<Instant>,
}

/// Where lines are written.
struct Out<W> {
    to: W,
    /// The last line was cut in its middle.
    torn: bool,
}

impl<W: Write> Out<W> {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.all(b"\n")?;
            self.torn = false;
        }
        self.all(line)
    }

    fn all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.torn = !bytes.is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody else has made it non-blocking; this thread may wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(TRY_AGAIN),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One line in the making: the log writes each in one piece.
#[derive(Debug)]
pub(crate) struct Line<'a>(&'a Lines);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Tells every write, and does with each what it is told to.
    struct Reader(Sender<Vec<u8>>, Receiver<io::Result<usize>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).expect("the test listens");
            // A test that is over leaves its reader behind for ever.
            self.1.recv().unwrap_or_else(|_| {
                loop {
                    thread::park()
                }
            })
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn read() -> (Lines, Receiver<Vec<u8>>, Sender<io::Result<usize>>) {
        let (lines, (wrote, written), (answer, answers)) = (Lines::default(), channel(), channel());
        let writing = lines.clone();
        thread::spawn(move || writing.write_to(Reader(wrote, answers)));
        (lines, written, answer)
    }

    #[test]
    fn who_logs_never_waits_for_a_reader_that_stalls() {
        let (lines, written, _stalled) = read();
        lines.add(b"first\n");
        assert_eq!(written.recv().expect("being written"), b"first\n");
        for _ in 0..LINES_MAX + 7 {
            lines.add(b"more\n");
        }
        assert_eq!(lines.lost().load(Ordering::Relaxed), 7);
        // It gives up.
        lines.flush(Duration::from_millis(1));
        lines.add(&[b'x'; 5]);
        assert_eq!(lines.lost().load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_the_next_begins_anew() {
        let (lines, written, answer) = read();
        let say = |result| answer.send(result).expect("it listens");
        let next = || String::from_utf8(written.recv().expect("it writes")).expect("text");
        lines.add(b"first\n");
        assert_eq!(next(), "first\n");
        say(Ok(3));
        assert_eq!(next(), "st\n");
        say(Err(ErrorKind::StorageFull.into()));
        lines.add(b"second\n");
        assert_eq!(next(), "\n");
        say(Err(ErrorKind::StorageFull.into()));
        lines.add(b"third\n");
        assert_eq!(next(), "\n");
        say(Ok(1));
        assert_eq!(next(), "third\n");
        say(Ok(6));
        lines.flush(Duration::from_secs(10));
        assert_eq!(lines.lost().load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_single_line_beyond_all_bounds_is_lost() {
        let (lines, _written, _answer) = read();
        lines.add(&vec![b'x'; BYTES_MAX + 1]);
        assert_eq!(lines.lost().load(Ordering::Relaxed), 1);
    }
}
