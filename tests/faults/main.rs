//! Breaks the product on networks of its own, one fault after the other under steady load, and judges what clients saw.
//!
//! `cargo run --release -p underpass-tests --bin faults [-- --quick] [NAME…]`; `--list` shows the names. Needs root. A run
//! without `--quick` writes its rows into the table of `docs/reliability.md`.

#![expect(clippy::print_stdout, reason = "a program that tells people what it finds")]

mod cases;
mod lab;
mod load;
mod netns;
mod readers;
mod report;
mod run;
mod shim;

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

use rig::judge::Clock;
use underpass_tests::harness::process::raise_file_limit;

use self::{cases::Case, report::Row, run::Run};

/// Tells the program that it has mounts of its own already.
const INSIDE: &str = "FAULTS_INSIDE";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let cases = cases::all();
    if arguments.iter().any(|argument| argument == "--list") {
        for case in &cases {
            println!("{:<20} {}{}", case.name, case.title, if case.quick { " (quick)" } else { "" });
        }
        return ExitCode::SUCCESS;
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let names: Vec<&String> = arguments.iter().filter(|argument| *argument != "--quick").collect();
    if let Some(unknown) = names.iter().find(|name| !cases.iter().any(|case| case.name == **name)) {
        println!("no fault is called {unknown}; --list shows them all");
        return ExitCode::from(2);
    }
    let mut chosen: Vec<&Case> = if names.is_empty() {
        cases.iter().filter(|case| case.quick || !quick).collect()
    } else {
        // As they were named: what a fault leaves behind may matter to the next.
        names.iter().filter_map(|name| cases.iter().find(|case| case.name == **name)).collect()
    };
    chosen.sort_by_key(|case| case.last);
    enter_mount_namespace();
    build_product();
    let _ = raise_file_limit();
    let rows = run(&chosen, if quick { Clock::Busy } else { Clock::Trusted });
    let held = rows.iter().filter(|row| row.held()).count();
    println!("{held} of {} faults kept every promise", rows.len());
    if !quick {
        let titles: Vec<&str> = cases.iter().map(|case| case.title).collect();
        write_table(&rows, &titles);
    }
    if held == rows.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(cases: &[&Case], clock: Clock) -> Vec<Row> {
    println!("building two edges, two sites with the same addresses, and four replicas …");
    let began = Instant::now();
    let mut run = Run::start(clock);
    println!("they stand after {:.1} s", began.elapsed().as_secs_f64());
    let mut rows = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        println!("{:>2}/{} {}: {}", number + 1, cases.len(), case.name, case.title);
        let row = run.fault(case);
        print!("{}", row.text());
        rows.push(row);
    }
    rows
}

/// Starts over where mounts are its own and so are files: no trace of either outlives it, however it ends.
fn enter_mount_namespace() {
    if env::var_os(INSIDE).is_some() {
        return;
    }
    let own = env::current_exe().expect("a process knows its own file");
    let mut again = Command::new("unshare");
    again.args(["--mount", "--", "sh", "-c", "mount -t tmpfs tmpfs /dev/shm && exec \"$0\" \"$@\""]);
    let error = again.arg(own).args(env::args().skip(1)).env(INSIDE, "1").env("TMPDIR", "/dev/shm").exec();
    panic!("unshare does not start: {error}");
}

/// Under `cargo run`: the product as it is now, in the profile of this program. Else what lies beside this program is taken.
fn build_product() {
    let Some(cargo) = env::var_os("CARGO") else { return };
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "underpass"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let built = build.status().expect("cargo is there").success();
    assert!(built, "the product does not build");
}

fn write_table(rows: &[Row], titles: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reliability.md");
    let document = fs::read_to_string(&path).expect("the document is there");
    match report::update(&document, rows, titles) {
        Ok(document) => fs::write(&path, document).expect("the document can be written"),
        Err(error) => println!("{error}"),
    }
}
