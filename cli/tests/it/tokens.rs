//! Join tokens that cannot be handed over are void, and every way of giving one to a connector.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::{fs::symlink, net::UnixDatagram},
    process::Stdio,
};

use crate::dir::{Dir, FAILED, Ran, SETTINGS, USAGE};

/// Token files of the edge.
fn open(dir: &Dir) -> usize {
    let Ok(files) = fs::read_dir(dir.path("edge-state/tokens")) else { return 0 };
    files.flatten().filter(|file| file.path().extension().is_some_and(|ending| ending == "json")).count()
}

fn printing_to(dir: &Dir, line: &str, out: impl Into<Stdio>) -> Ran {
    Ran::of(dir.command(line).stdout(out).output().expect("the binary runs"))
}

#[test]
fn a_token_that_cannot_be_printed_is_void() {
    let dir = Dir::new();
    let full = || File::options().write(true).open("/dev/full").expect("there");
    let made = printing_to(&dir, "token create dc1 -c edge.toml", full());
    made.failed(FAILED, &["No space left on device", "void"]);
    assert_eq!(open(&dir), 0);

    // Nobody reads: to print nothing for nobody is fine, to give a token to nobody is not.
    let (reader, nobody) = std::io::pipe().expect("a pipe");
    drop(reader);
    let made = printing_to(&dir, "token create dc1 -c edge.toml", nobody.try_clone().expect("open"));
    made.failed(FAILED, &["void"]);
    assert_eq!(open(&dir), 0);
    printing_to(&dir, "check edge.toml", nobody).went_well();

    // What is in a file is in it, whoever can be told of that.
    let made = printing_to(&dir, "token create dc1 -c edge.toml --out one,two", full());
    made.failed(FAILED, &["No space left on device", "one, two"]);
    assert_eq!(open(&dir), 2);
    for name in ["one", "two"] {
        let text = fs::read_to_string(dir.path(name)).expect("there");
        text.parse::<certs::token::JoinToken>().expect("a token and nothing else");
    }
}

#[test]
fn a_flag_that_names_a_token_beats_a_variable_that_is_one() {
    let dir = Dir::new();
    let with = |line: &str| Ran::of(dir.command(line).env("UNDERPASS_TOKEN", "nonsense").output().expect("it runs"));
    with("connector -c connector.toml --token-file nowhere").failed(SETTINGS, &["token file nowhere"]);
    with("connector -c connector.toml").failed(SETTINGS, &["--token: "]);
    with("connector --token a --token-file b").failed(USAGE, &["give one of them"]);
}

#[test]
fn a_token_takes_no_place_but_another_tokens() {
    let dir = Dir::new();
    let before = fs::read(dir.path("edge.toml")).expect("there");
    let made = dir.run("token create dc1 -c edge.toml --out first,edge.toml");
    made.failed(FAILED, &["edge.toml", "holds something that is no join token"]);
    assert_eq!(fs::read(dir.path("edge.toml")).expect("there"), before);
    assert_eq!((open(&dir), dir.path("first").exists()), (0, false));
    fs::write(dir.path("empty"), "").expect("writable");
    dir.run("token create dc1 -c edge.toml --out empty").went_well();
    dir.run("token create dc1 -c edge.toml --out empty").went_well();
}

#[test]
fn a_token_alone_is_printed_for_a_pipe() {
    let dir = Dir::new();
    let made = dir.run("token create dc1 -c edge.toml --out -");
    made.went_well();
    made.out.parse::<certs::token::JoinToken>().expect("a token and nothing else");
    dir.run("token create dc1 -c edge.toml --out one,-").failed(USAGE, &["--out -"]);
    assert!(!dir.path("-").exists());
}

#[test]
fn a_token_is_written_to_ordinary_files_alone() {
    let dir = Dir::new();
    fs::create_dir(dir.path("directory")).expect("writable");
    symlink("/dev/null", dir.path("link")).expect("writable");
    let _socket = UnixDatagram::bind(dir.path("socket")).expect("writable");
    for out in ["directory", "link", "socket"] {
        let made = dir.run(&format!("token create dc1 -c edge.toml --out first,{out}"));
        made.failed(FAILED, &[out, "no ordinary file"]);
        assert_eq!((open(&dir), dir.path("first").exists()), (0, false), "{out}");
    }
    for twice in ["a,./a", "directory/a,directory/../directory/a"] {
        dir.run(&format!("token create dc1 -c edge.toml --out {twice}")).failed(USAGE, &["is given twice"]);
    }
    assert_eq!(open(&dir), 0);
}

/// It has read the token, and finds that it is another's.
const READ: &[&str] = &["the settings name this connector other", "dc1"];

#[test]
fn a_token_is_read_however_it_is_given() {
    let dir = Dir::new();
    let token = fs::read_to_string(dir.token()).expect("there").trim().to_owned();
    let join = "connector -c connector.toml --name other --token-file";
    let bare = [token.clone(), format!("{token}\r\n"), format!("\n\n  {token} \t \n\n")];
    for text in &bare {
        fs::write(dir.path("given"), text).expect("writable");
        dir.run(&format!("{join} given")).failed(SETTINGS, READ);
        let mut child = dir.command(&format!("{join} -")).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.as_mut().expect("the binary runs");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        let mut said = String::new();
        let mut err = BufReader::new(child.stderr.take().expect("piped"));
        while err.read_line(&mut said).expect("text") > 0 {}
        assert_eq!(child.wait().expect("it ends").code(), Some(SETTINGS), "{said}");
        assert!(READ.iter().all(|word| said.contains(word)), "{said}");
    }
    let twice = format!("{token}\n{token}\n");
    let wrong: [(&[u8], &str); 4] =
        [(b"", "is empty"), (b" \r\n", "is empty"), (twice.as_bytes(), "mistyped"), (b"\xff\xfe\0", "cannot be read")];
    for (text, why) in wrong {
        fs::write(dir.path("given"), text).expect("writable");
        dir.run(&format!("{join} given")).failed(SETTINGS, &["token file given", why]);
    }
    fs::create_dir(dir.path("directory")).expect("writable");
    dir.run(&format!("{join} directory")).failed(SETTINGS, &["token file directory: cannot be read", "directory"]);
    dir.run(&format!("{join} /dev/zero")).failed(SETTINGS, &["token file /dev/zero"]);
    dir.run(&format!("{join} -")).failed(SETTINGS, &["token file -"]);
}

#[test]
fn who_waits_for_a_token_says_so() {
    let dir = Dir::new();
    let mut child = dir.command("connector -c connector.toml --token-file -");
    let mut child = child.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut said = String::new();
    BufReader::new(child.stderr.take().expect("piped")).read_line(&mut said).expect("it says something");
    assert!(said.contains("the join token is read up to its end") && said.contains("token_file=-"), "{said}");
    child.kill().expect("it waits");
    let _ = child.wait();
}

#[test]
fn help_that_cannot_be_printed_is_a_failure_unless_nobody_reads() {
    let dir = Dir::new();
    for line in ["--help", "connector --help", "--version", "completion bash"] {
        let full = File::options().write(true).open("/dev/full").expect("there");
        printing_to(&dir, line, full).failed(FAILED, &["cannot print: No space left on device"]);
        let (reader, nobody) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ran = printing_to(&dir, line, nobody);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
    }
}
