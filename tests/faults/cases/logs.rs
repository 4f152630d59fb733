//! Logs that cannot be written, of an edge and of a connector under load. They leave the lab changed: whoever is started
//! again as usual has its usual log.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, PipeReader, Read, Write, pipe},
    os::fd::AsRawFd,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rig::judge::Gone;
use rustix::io::ioctl_fionbio;
use underpass_tests::harness::{
    disk::SmallDisk,
    http,
    process::Signal,
    wait::{self, SOON},
};

use super::{Case, Stage, metric, processes::ORDERLY};

/// How long nothing can be written.
const FULL: Duration = Duration::from_secs(5);
const STALLED: Duration = Duration::from_secs(10);
/// How often a reader reads.
const READ_EVERY: Duration = Duration::from_millis(10);
/// All is whole again so soon after a process was started with another log.
const WHOLE_WITHIN: Duration = Duration::from_secs(30);
/// What a log says that lacks lines.
const LACKS: &str = "lines of this log were lost";
/// The only ones that are started with another log.
const WHO: [&str; 2] = ["edge-1", "a1"];

/// Where the logs of both go.
#[derive(Debug)]
pub(super) enum Logs {
    /// Into files on a small disk.
    Disk(SmallDisk),
    /// To readers.
    Read([Reader; 2]),
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        Case::new("log-disk-full", "disk full under the logs of an edge and of a connector")
            .cuts_nothing()
            .prepare(logs_on_a_disk)
            .strike(|stage| {
                let disk = disk(stage);
                // As a rotation does it: what was logged before would leave no room afterwards.
                let files = disk.files().into_iter().map(|(path, _)| path);
                files.for_each(|path| drop(File::create(path).expect("a file can be emptied")));
                disk.fill();
            })
            .hold(FULL)
            .heal(|stage| {
                disk(stage).empty();
                check_lost(stage);
            }),
        Case::new("log-reader-stalled", "reader of the logs of an edge and of a connector stalled")
            .cuts_nothing()
            .prepare(logs_to_readers)
            .strike(|stage| readers(stage).iter().for_each(Reader::stall))
            .hold(STALLED)
            .heal(|stage| {
                check_waiting(stage);
                readers(stage).iter().for_each(Reader::resume);
            }),
        Case::new("log-stalled-stop", "edge and connector stopped politely while the reader of their logs is stalled")
            .gone(Gone::Edge(0))
            .prepare(logs_to_readers)
            .strike(|stage| {
                readers(stage).iter().for_each(Reader::stall);
                stage.lab.edges[0].edge.process.signal(Signal::TERM);
                stage.lab.replicas[0].connector.process.signal(Signal::TERM);
            })
            .hold(ORDERLY)
            .heal(|stage| {
                let host = &mut stage.lab.edges[0];
                let replica = &mut stage.lab.replicas[0].connector;
                for (name, process) in WHO.into_iter().zip([&mut host.edge.process, &mut replica.process]) {
                    if process.is_running() {
                        stage.amiss.push(format!("{name} has not ended {ORDERLY:?} after it was asked to"));
                        process.kill();
                    }
                }
                host.netns.inside(|| host.edge.crash_and_restart());
                stage.lab.restart_replica(0);
            }),
    ]
}

fn logs_on_a_disk(stage: &mut Stage) {
    let disk = SmallDisk::mount(&stage.lab.world, "logs");
    let files = WHO.map(|name| {
        let file = File::options().create(true).append(true).open(log_file(&disk, name));
        Stdio::from(file.expect("an empty disk has room"))
    });
    start_writing(stage, files);
    stage.logs = Some(Logs::Disk(disk));
}

fn logs_to_readers(stage: &mut Stage) {
    let (readers, pipes): (Vec<Reader>, Vec<Stdio>) = WHO.iter().map(|_| Reader::start()).unzip();
    let readers = <[Reader; 2]>::try_from(readers).expect("one each");
    start_writing(stage, <[Stdio; 2]>::try_from(pipes).expect("one each"));
    stage.logs = Some(Logs::Read(readers));
}

/// Starts both again with logs that go there. The connector has more to say than it usually says, to say enough.
fn start_writing(stage: &mut Stage, [edge, connector]: [Stdio; 2]) {
    let host = &mut stage.lab.edges[0];
    host.netns.inside(|| {
        host.edge.restart_writing(edge);
        host.edge.wait_ready();
    });
    let replica = &mut stage.lab.replicas[0];
    replica.connector.file = replica.connector.file.clone().log_level("debug");
    replica.netns.inside(|| replica.connector.restart_writing(connector));
    stage.amiss.extend(stage.lab.wait_whole(WHOLE_WITHIN));
}

fn log_file(disk: &SmallDisk, name: &str) -> PathBuf {
    disk.path.join(format!("{name}.log"))
}

fn disk(stage: &Stage) -> &SmallDisk {
    match &stage.logs {
        Some(Logs::Disk(disk)) => disk,
        Some(Logs::Read(_)) | None => panic!("the logs are on no disk"),
    }
}

fn readers(stage: &Stage) -> &[Reader; 2] {
    match &stage.logs {
        Some(Logs::Read(readers)) => readers,
        Some(Logs::Disk(_)) | None => panic!("nobody reads the logs"),
    }
}

/// What has come of the log of the first or the second.
fn log(stage: &Stage, index: usize) -> String {
    match &stage.logs {
        Some(Logs::Disk(disk)) => std::fs::read_to_string(log_file(disk, WHO[index])).unwrap_or_default(),
        Some(Logs::Read(readers)) => readers[index].text(),
        None => String::new(),
    }
}

/// Lines were lost, which is counted, and each log says so as soon as it can.
fn check_lost(stage: &mut Stage) {
    let (host, replica) = (&stage.lab.edges[0], &stage.lab.replicas[0]);
    let edge = host.netns.inside(|| host.edge.try_metrics());
    let connector = replica.netns.inside(|| http::get(replica.connector.file.admin, "/metrics"));
    let metrics = [edge, connector.map(|answer| answer.body)].map(Option::unwrap_or_default);
    let lost = metrics.map(|text| metric(&text, &["log_lines_lost_total"]));
    stage.notes.push(format!("{} and {} log lines lost", lost[0], lost[1]));
    for (index, name) in WHO.into_iter().enumerate() {
        if lost[index] == 0 {
            stage.amiss.push(format!("{name} has lost no line, so nothing is proved"));
        } else if wait::poll(SOON, || log(stage, index).contains(LACKS).then_some(())).is_none() {
            stage.amiss.push(format!("the log of {name} does not say that it lacks lines"));
        }
    }
}

/// Nothing has gone out for all that time, although both had something to say.
fn check_waiting(stage: &mut Stage) {
    let blocked = readers(stage).each_ref().map(Reader::is_full);
    if blocked != [true, true] {
        stage.amiss.push(format!("the pipes of {WHO:?} have room ({blocked:?}), so nothing is proved"));
    }
}

/// Somebody who reads what a process writes, unless told not to.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Mutex<Reading>>,
    /// The pipe's other end, to fill it up.
    filler: File,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Reading {
    manner: Manner,
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Reads,
    Stalls,
    Leaves,
}

impl Reader {
    fn start() -> (Self, Stdio) {
        let (read, write) = pipe().expect("a pipe");
        let filler = open_anew(&write, OpenOptions::new().write(true));
        let shared = Arc::new(Mutex::new(Reading { manner: Manner::Reads, text: Vec::new() }));
        let thread = thread::spawn({
            let shared = shared.clone();
            move || take(&read, &shared)
        });
        (Self { shared, filler, thread: Some(thread) }, write.into())
    }

    /// Reads no more, and has nothing more fit into the pipe.
    fn stall(&self) {
        self.turn(Manner::Stalls);
        while !self.is_full() {}
    }

    /// Whether not a byte more fits into the pipe, trying it.
    fn is_full(&self) -> bool {
        let mut filler = &self.filler;
        filler.write(b"\n").is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    fn resume(&self) {
        self.turn(Manner::Reads);
    }

    fn turn(&self, manner: Manner) {
        self.shared.lock().expect("reading does not panic").manner = manner;
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.lock().expect("reading does not panic").text).into_owned()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.turn(Manner::Leaves);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn take(read: &PipeReader, shared: &Mutex<Reading>) {
    let mut from = open_anew(read, OpenOptions::new().read(true));
    let mut next = Instant::now();
    loop {
        wait::beat(&mut next, READ_EVERY);
        let mut reading = shared.lock().expect("nobody panics with it");
        match reading.manner {
            // It would block where there is no more.
            Manner::Reads => {
                let _ = from.read_to_end(&mut reading.text);
            }
            Manner::Stalls => {}
            Manner::Leaves => return,
        }
    }
}

/// The same end of a pipe, which blocks nobody here and whoever else has it as before.
fn open_anew(end: &impl AsRawFd, options: &mut OpenOptions) -> File {
    let path = format!("/proc/self/fd/{}", end.as_raw_fd());
    let file = options.open(path).expect("an open file can be opened again");
    ioctl_fionbio(&file, true).expect("a pipe need not block");
    file
}
