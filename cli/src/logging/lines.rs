//! Lines of the log on their way out: a bounded queue, and a thread of its own that writes them.
//!
//! Whoever logs never waits and never fails. What the reader does (it stalls, it has gone, its disk is full) is the writing
//! thread's affair alone: what finds no room, or cannot be written, is lost and counted.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written, and their bytes. As much again may be on its way out.
const LINES_MAX: usize = 16_384;
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Lines that come within this of the last are written together: to wake a thread for each costs more than the line.
const PAUSE: Duration = Duration::from_millis(5);
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
    bytes: Vec<u8>,
    lines: usize,
    /// Some were taken out and are being written.
    writing: bool,
    /// The thread that writes sleeps until a line comes.
    idle: bool,
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
        if waiting.lines >= LINES_MAX || waiting.bytes.len() + line.len() > BYTES_MAX {
            self.lose(1);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        if mem::take(&mut waiting.idle) {
            drop(waiting);
            self.0.come.notify_one();
        }
    }

    /// How many lines were lost so far; it goes on counting.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.0.lost.clone()
    }

    /// Waits until all is written, or as long as given.
    pub(super) fn flush(&self, wait: Duration) {
        let waiting = self.waiting();
        let pending = |waiting: &mut Waiting| waiting.writing || waiting.lines > 0;
        // Late: the reader has stalled, and nobody waits for it.
        let _ = self.0.gone.wait_timeout_while(waiting, wait, pending);
    }

    fn write_to(&self, out: impl Write) {
        let (mut out, mut told) = (Out { to: out, within: false, torn: false }, Told { lost: 0, at: None });
        loop {
            let lines = self.next();
            let lost = out.put(&lines);
            self.lose(lost);
            if lost == 0 {
                self.tell(&mut told);
            }
            if !lines.is_empty() {
                self.written();
                thread::park_timeout(PAUSE);
            }
        }
    }

    /// What has come; nothing if nothing comes for a while.
    fn next(&self) -> Vec<u8> {
        let mut waiting = self.waiting();
        waiting.idle = waiting.lines == 0;
        let waited = self.0.come.wait_timeout_while(waiting, TELL_EVERY, |waiting| waiting.lines == 0);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.idle = false;
        waiting.writing = waiting.lines > 0;
        waiting.lines = 0;
        mem::take(&mut waiting.bytes)
    }

    fn written(&self) {
        let mut waiting = self.waiting();
        waiting.writing = false;
        if waiting.lines == 0 {
            self.0.gone.notify_all();
        }
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

    fn lose(&self, lines: u64) {
        self.0.lost.fetch_add(lines, Ordering::Relaxed);
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
    /// A line was begun and not ended yet.
    within: bool,
    /// The last line was cut in its middle.
    torn: bool,
}

impl<W: Write> Out<W> {
    /// Writes lines, each ended by a line feed, and says how many of them are lost.
    fn put(&mut self, mut lines: &[u8]) -> u64 {
        let mut lost = 0;
        while !lines.is_empty() {
            match self.some(lines) {
                Ok(written) => lines = &lines[written..],
                Err(_) => {
                    // The next may be written, if only because somebody has made room.
                    lost += 1;
                    self.torn |= mem::take(&mut self.within);
                    let end = lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1);
                    lines = &lines[end..];
                }
            }
        }
        lost
    }

    fn some(&mut self, lines: &[u8]) -> io::Result<usize> {
        if self.torn {
            self.write(b"\n")?;
            self.torn = false;
        }
        let written = self.write(lines)?;
        self.within = lines[..written].last() != Some(&b'\n');
        Ok(written)
    }

    /// Writes at least a byte.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.to.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Somebody else has made it non-blocking; this thread may wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(TRY_AGAIN),
                done => return done,
            }
        }
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
    fn lines_that_come_together_are_written_together() {
        let (lines, written, answer) = read();
        lines.add(b"first\n");
        assert_eq!(written.recv().expect("being written"), b"first\n");
        lines.add(b"second\n");
        lines.add(b"third\n");
        answer.send(Ok(6)).expect("it listens");
        assert_eq!(written.recv().expect("being written"), b"second\nthird\n");
        // The second is out, the third begun; what cannot be written is the third alone.
        answer.send(Ok(9)).expect("it listens");
        assert_eq!(written.recv().expect("being written"), b"ird\n");
        answer.send(Err(ErrorKind::StorageFull.into())).expect("it listens");
        lines.flush(Duration::from_secs(10));
        assert_eq!(lines.lost().load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_single_line_beyond_all_bounds_is_lost() {
        let (lines, _written, _answer) = read();
        lines.add(&vec![b'x'; BYTES_MAX + 1]);
        assert_eq!(lines.lost().load(Ordering::Relaxed), 1);
    }
}
