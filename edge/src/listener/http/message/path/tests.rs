use proptest::prelude::*;

use super::*;
use crate::routing;

fn sent(path: &str) -> Result<String, Fault> {
    UrlPath::read(path, Paths::AsSent).map(|path| path.sent)
}

fn ruled(path: &str) -> Result<Vec<String>, Fault> {
    UrlPath::read(path, Paths::AsSent).map(|path| path.ruled)
}

#[test]
fn a_path_goes_on_as_it_came() {
    for path in [
        "/",
        "/a/b/",
        "//a///b//",
        "/%41%7euser",
        "/bucket/key%2fwith%2Fslashes%20and+more",
        "/a;b=c@d:e,(f)'g'*!$&",
        "/%c3%a9?",
        "/..a/...",
        "/\"{}|^[]",
        "/a%5cb",
        "/%25",
    ] {
        assert_eq!(sent(path).as_deref(), Ok(path));
    }
    assert_eq!(sent("/`<\u{e9}>").as_deref(), Ok("/%60%3C%C3%A9%3E"), "no target has these");
}

#[test]
fn dot_segments_are_resolved_however_they_are_spelt() {
    for (path, expected) in [
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/.", "/a/"),
        ("/%61/%2e%2E/b", "/b"),
        ("/%41/.%2e/%2e/%42", "/%42"),
        ("//a//../b", "//a/b"),
        ("/a//..", "/a/"),
    ] {
        assert_eq!(sent(path).as_deref(), Ok(expected), "{path}");
    }
}

#[test]
fn what_readers_would_resolve_in_two_ways_is_refused() {
    for bad in [
        "/..",
        "/a/../../b",
        "/%2e%2e/",
        "/a/..%2fb",
        "/a/%2e%2E%2Fb",
        "/a%2f../b%2f..",
        "/a/..%5cb",
        "/a%5C..%5cb",
        "/a/..;/b",
        "/a/..;x=y/b",
        "/a/.;/b",
        "/a/..%3b/b",
        "/a\\..\\b",
        "/a\\b",
        "/%00",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a b",
    ] {
        assert_eq!(sent(bad), Err(Fault::PATH), "{bad}");
    }
    assert_eq!(sent("a"), Err(Fault::TARGET));
    assert_eq!(sent(""), Err(Fault::TARGET));
}

#[test]
fn rules_read_one_spelling() {
    for (path, expected) in [
        ("/", "/"),
        ("//", "/"),
        ("//admin//x", "/admin/x"),
        ("/%61dmin", "/admin"),
        ("/admin%2fx", "/admin/x"),
        ("/admin%5Cx", "/admin/x"),
        ("/admin;v=1/x", "/admin/x"),
        ("/admin%3bv", "/admin"),
        ("/;/admin/", "/admin/"),
        ("/admin/;x", "/admin/"),
        ("/a%24b%20c", "/a$b%20c"),
        ("/%2561", "/%2561"),
    ] {
        assert_eq!(ruled(path), Ok(vec![expected.to_owned()]), "{path}");
    }
}

#[test]
fn rules_read_every_way_in_which_parameters_may_end() {
    let ruled = |path| ruled(path).expect("good");
    assert_eq!(ruled("/;%2fx/admin"), ["/x/admin", "/admin"]);
    assert_eq!(ruled("/;%2fx%5cadmin"), ["/x/admin", "/", "/admin"]);
}

#[test]
fn a_listener_may_have_one_spelling_for_all() {
    let sent = |path| UrlPath::read(path, Paths::Normalised).map(|path| path.sent);
    for (path, expected) in [
        ("//a///b", "/a/b"),
        ("/%61/%2e%2E/b", "/b"),
        ("/a%2fb", "/a%2Fb"),
        ("/%7euser", "/~user"),
        ("/a/b/..//", "/a/"),
    ] {
        assert_eq!(sent(path).as_deref(), Ok(expected), "{path}");
    }
    assert_eq!(sent("/a/..%2fb"), Err(Fault::PATH));
}

#[test]
fn a_target_is_escaped_only_where_it_must_be() {
    assert_eq!(target(b"/a\"b?c`{}|\\^d%zz"), None);
    assert_eq!(target(b"/`?`\"<>\xe9").as_deref(), Some(&b"/%60?`%22%3C%3E%E9"[..]));
}

/// A way in which some server reads a path.
#[derive(Debug, Clone, Copy)]
struct Reader {
    escapes: Escapes,
    escaped_slashes: bool,
    backslashes: bool,
    parameters: Parameters,
    runs: bool,
}

/// When what stands behind `;` is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Parameters {
    Never,
    First,
    Last,
}

#[derive(Debug, Clone, Copy)]
enum Escapes {
    Kept,
    Unreserved,
    All,
}

impl Reader {
    fn read(self, path: &str) -> String {
        let undone = |b: u8| match self.escapes {
            Escapes::Kept => false,
            Escapes::Unreserved => is_unreserved(b),
            Escapes::All => !b"/\\".contains(&b),
        };
        let plain = |b: u8| undone(b) || (self.escaped_slashes && b"/\\".contains(&b));
        let bare = |text: &str| {
            let bare = text.split('/').map(|segment| segment.split(';').next().expect("one at least"));
            bare.collect::<Vec<_>>().join("/")
        };
        let path = if self.parameters == Parameters::First { bare(path) } else { path.to_owned() };
        let mut text = unescaped(&path, plain).expect("it was accepted");
        if self.backslashes {
            text = text.replace('\\', "/");
        }
        if self.parameters == Parameters::Last {
            text = bare(&text);
        }
        let mut segments: Vec<&str> = Vec::new();
        let parts: Vec<&str> = text[1..].split('/').collect();
        for (at, part) in parts.iter().enumerate() {
            let is_last = at + 1 == parts.len();
            match *part {
                "." => {}
                ".." => drop(segments.pop()),
                "" if self.runs && !is_last => continue,
                _ => {
                    segments.push(part);
                    continue;
                }
            }
            if is_last {
                segments.push("");
            }
        }
        format!("/{}", segments.join("/"))
    }
}

fn reader() -> impl Strategy<Value = Reader> {
    let escapes = prop_oneof![Just(Escapes::Kept), Just(Escapes::Unreserved), Just(Escapes::All)];
    let parameters = prop_oneof![Just(Parameters::Never), Just(Parameters::First), Just(Parameters::Last)];
    let reader = (escapes, parameters, any::<[bool; 3]>());
    reader.prop_map(|(escapes, parameters, [escaped_slashes, backslashes, runs])| Reader {
        escapes,
        escaped_slashes,
        backslashes,
        parameters,
        runs,
    })
}

/// Paths around `/admin/x`, in every spelling of every part.
fn spelling() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/", "/", "//", "%2f", "%2F", "%5c", "\\", ".", "..", "%2e", "%2E%2e", ".%2e", ";", ";v=1", "%3B", "admin",
        "admin", "%61dmin", "adm%69n", "x", "%78", "public", "%25", "%2561", "%20", "\"", "$", "%24",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_spelling_passes_a_path_rule_by(path in spelling(), reader in reader(), strict in any::<bool>()) {
        let paths = if strict { Paths::Normalised } else { Paths::AsSent };
        if let Ok(UrlPath { sent, ruled }) = UrlPath::read(&path, paths) {
            let read = reader.read(&sent);
            for rule in ["/admin", "/admin/", "/admin/x", "/x", "/a$b"] {
                let (there, here) = (routing::is_under(rule, &read), ruled.iter().any(|ruled| routing::is_under(rule, ruled)));
                prop_assert!(!there || here, "{reader:?} reads {sent} as {read}, below {rule}; rules read {ruled:?}");
            }
        }
    }

    #[test]
    fn what_goes_on_is_read_as_it_was(path in spelling(), strict in any::<bool>()) {
        let paths = if strict { Paths::Normalised } else { Paths::AsSent };
        if let Ok(read) = UrlPath::read(&path, paths) {
            prop_assert_eq!(UrlPath::read(&read.sent, paths), Ok(read.clone()));
            for reading in &read.ruled {
                prop_assert_eq!(ruled(reading), Ok(vec![reading.clone()]));
            }
        }
    }
}
