//! Join tokens that cannot be handed over are void, and every way of giving one to a connector.

use std::{
    fs::{self, File},
    os::unix::{fs::symlink, net::UnixDatagram},
    process::Stdio,
};

use crate::dir::{Dir, FAILED, Ran, USAGE};

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
