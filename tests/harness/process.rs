//! Child processes: a server with its log in a file, a client run to its end. None outlives the thread that started it.

use std::{
    fs,
    io::Read,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

pub use rig::process::Signal;
use rig::process::{Group, Log, strip, tied, tied_as};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process_group, setrlimit};

use super::wait;

/// Most lines of a log that a failing test prints.
const LOG_LINES_SHOWN: usize = 150;

/// Nothing of these of the caller's own reaches a child.
const OWN_SETTINGS: [&str; 7] = ["UNDERPASS_", "PG", "RUST_LOG", "http_proxy", "HTTP_PROXY", "NOTIFY_", "WATCHDOG_"];

/// A command that the kernel kills when the thread that starts it ends, however it ends.
#[must_use]
pub fn command(program: impl AsRef<Path>) -> Command {
    plain(tied(program))
}

/// The same, as another user.
#[must_use]
pub fn command_as(user: &str, program: impl AsRef<Path>) -> Command {
    plain(tied_as(user, program))
}

/// Lets a command live with its clock off by so much, as libfaketime reads it, such as `+17h`, and as `file` says from then on.
/// Time still passes at its own pace.
///
/// # Panics
/// If libfaketime is not installed, or the file cannot be written.
pub fn set_clock(command: &mut Command, off: &str, file: &Path) {
    let places = fs::read_dir("/usr/lib").expect("a Linux machine").flatten();
    let library = places.map(|place| place.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    let library = library.expect("libfaketime is installed: ./test does so");
    fs::write(file, off).expect("the world's directory is writable");
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
    // Looked at each second: a clock may jump under a process.
    command.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// The same on every machine.
fn plain(mut command: Command) -> Command {
    strip(&mut command, &OWN_SETTINGS, &[]);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
    command
}

/// Clients and origins of ten thousand flows at once, in one process.
const FILES_WANTED: u64 = 65_536;

/// Lets this process and those it starts open as many files as it may, or as `FILES_WANTED` if it may decide that, and returns
/// how many that is.
#[must_use]
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(FILES_WANTED);
    // Root may have more than it was given.
    let wanted = [hard.max(FILES_WANTED), hard];
    let raised = wanted.into_iter().find(|files| {
        let all = Rlimit { current: Some(*files), maximum: Some(*files) };
        setrlimit(Resource::Nofile, all).is_ok()
    });
    raised.unwrap_or(limit.current.unwrap_or(1024))
}

/// A running server.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: rig::process::Process,
    /// None: what it says is written elsewhere.
    log: Option<Log>,
}

impl Process {
    /// Starts it in a process group of its own, with what it prints appended to `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(name: &str, command: Command, log: &Path) -> Self {
        let (words, log) = (words(&command), Log::at(log));
        let started = rig::process::Process::start(command, Group::Own, &log);
        Self { name: name.to_owned(), child: started_as(name, &words, started), log: Some(log) }
    }

    /// Starts it in a process group of its own, with what it says of itself written to `standard_error`.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_writing(name: &str, command: Command, standard_error: Stdio) -> Self {
        let words = words(&command);
        let started = rig::process::Process::start_writing(command, Group::Own, standard_error);
        Self { name: name.to_owned(), child: started_as(name, &words, started), log: None }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it printed so far; what it did last may not be there yet, because lines are written together.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.as_ref().map(Log::text).unwrap_or_default()
    }

    /// Everything it ever prints: asks it to end first.
    pub fn log_to_its_end(&mut self) -> String {
        let _ = self.terminate(wait::SOON);
        self.log()
    }

    /// Waits for a line of its log that holds all of `parts`.
    pub fn wait_log(&self, parts: &[&str]) -> String {
        wait::soon(&format!("{} to log {parts:?}", self.name), || self.find_log(parts))
    }

    /// The first line of its log that holds all of `parts`.
    #[must_use]
    pub fn find_log(&self, parts: &[&str]) -> Option<String> {
        self.log.as_ref()?.find(parts)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.ended().expect("it is our child")
    }

    /// Sends a signal to the process alone, as `kill` does.
    pub fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Ends it and all it started at once, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill().expect("it is our child");
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        wait::until(&what, limit, || self.ended())
    }

    /// Asks it to end with SIGTERM and waits for it.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Memory it holds, in KiB.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn memory_kib(&self) -> u64 {
        self.status_number("VmRSS:")
    }

    /// Most memory it has ever held, in KiB.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn memory_peak_kib(&self) -> u64 {
        self.status_number("VmHWM:")
    }

    /// How many threads it has.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.status_number("Threads:")
    }

    /// How many files it has open.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn files(&self) -> u64 {
        let files = fs::read_dir(format!("/proc/{}/fd", self.id())).expect("the process runs");
        u64::try_from(files.count()).expect("a process has not that many")
    }

    fn status_number(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a running process has it");
        line.trim().trim_end_matches(" kB").parse().expect("the kernel prints a number")
    }
}

fn started_as(name: &str, words: &str, started: std::io::Result<rig::process::Process>) -> rig::process::Process {
    started.unwrap_or_else(|error| panic!("{name} does not start: {error}: {words}"))
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the logs of a failed test belong beside its message")]
    fn drop(&mut self) {
        let how = match self.child.ended() {
            Ok(None) => "running".to_owned(),
            ended => format!("{ended:?}"),
        };
        let _ = self.child.kill();
        if thread::panicking() {
            let tail = self.log.as_ref().map(|log| log.tail(LOG_LINES_SHOWN)).unwrap_or_default();
            eprintln!("---- {} ({how}), at most {LOG_LINES_SHOWN} last lines", self.name);
            eprintln!("{tail}");
        }
    }
}

/// How a client program ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command, for messages.
    pub command: String,
    /// Its exit code; 128 and the signal if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
    /// How long it ran.
    pub took: Duration,
}

impl Ran {
    /// Passes on what succeeded.
    ///
    /// # Panics
    /// With everything the program printed, if it did not succeed.
    #[must_use]
    pub fn ok(self) -> Self {
        self.exited(0)
    }

    /// Passes on what ended with this code.
    ///
    /// # Panics
    /// With everything the program printed, if it ended otherwise.
    #[must_use]
    pub fn exited(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "{} ended with {} after {:?}, expected {code}\n{}\n{}",
            self.command,
            self.code,
            self.took,
            self.out,
            self.err
        );
        self
    }

    /// Everything it printed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    /// Passes on what printed all of `parts`.
    ///
    /// # Panics
    /// With everything the program printed, if a part is missing.
    #[must_use]
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.text().contains(part), "{} does not say {part:?}:\n{}", self.command, self.text());
        }
        self
    }
}

/// Runs a client program to its end.
///
/// # Panics
/// If it cannot be started or does not end within `limit`.
#[must_use]
pub fn run(mut command: Command, limit: Duration) -> Ran {
    let started = Instant::now();
    let line = words(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let out = gather(child.stdout.take().expect("piped"));
    let err = gather(child.stderr.take().expect("piped"));
    let ended = wait::poll(limit, || child.try_wait().expect("it is our child"));
    if ended.is_none() {
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
    let (out, err) = (out.join().expect("reading does not panic"), err.join().expect("reading does not panic"));
    let status = ended.unwrap_or_else(|| panic!("{line}: not done within {limit:?}\n{out}\n{err}"));
    Ran {
        command: line,
        code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        out,
        err,
        took: started.elapsed(),
    }
}

/// The command as one would type it, without what only the harness adds.
fn words(command: &Command) -> String {
    let all = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy());
    let all: Vec<_> = all.collect();
    let own = all.iter().position(|word| word == "--").map_or(0, |i| i + 1);
    all[own..].join(" ")
}

fn gather(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
