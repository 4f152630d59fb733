//! One spelling for every path, before routing and for the origin alike: what is routed is what is sent. Pure.
//!
//! Decided here once: escapes of unreserved characters are undone, others are kept with capital digits (`%2F` stays an
//! escape, never a separator), dot segments are resolved, runs of slashes count as one.

use super::fault::Fault;

/// The path in its one spelling.
pub(super) fn normal(path: &str) -> Result<String, Fault> {
    if !path.starts_with('/') {
        return Err(Fault::TARGET);
    }
    let path = unescape(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = path[1..].split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            "." | "" => {}
            ".." => drop(segments.pop().ok_or(Fault::PATH)?),
            _ => {
                segments.push(part);
                continue;
            }
        }
        if is_last {
            segments.push("");
        }
    }
    Ok(format!("/{}", segments.join("/")))
}

fn unescape(path: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            if !super::head::is_target(byte) {
                return Err(Fault::PATH);
            }
            out.push(char::from(byte));
            continue;
        }
        let mut digit = || bytes.next().and_then(|d| char::from(d).to_digit(16)).ok_or(Fault::PATH);
        let (high, low) = (digit()?, digit()?);
        let meant = u8::try_from(high << 4 | low).expect("two hexadecimal digits make a byte");
        match meant {
            0 => return Err(Fault::PATH),
            _ if meant.is_ascii_alphanumeric() || b"-._~".contains(&meant) => out.push(char::from(meant)),
            _ => out.push_str(&format!("%{meant:02X}")),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_have_one_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..a", "/..a"),
            ("//a///b", "/a/b"),
            ("/%61/%2e%2E/b", "/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/%2e%2e%2fb", "/a/..%2Fb"),
            ("/%7euser", "/~user"),
            ("/a;b=c@d", "/a;b=c@d"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn nul_broken_escapes_and_climbing_are_refused() {
        for bad in ["/%00", "/a%", "/a%2", "/a%zz", "/..", "/a/../../b", "/%2e%2e/", "/a\\b", "/a b", "/\u{e9}"] {
            assert_eq!(normal(bad), Err(Fault::PATH), "{bad}");
        }
        assert_eq!(normal("a"), Err(Fault::TARGET));
        assert_eq!(normal(""), Err(Fault::TARGET));
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(path in "/[a-c./%2eF5~]{0,20}") {
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once), Ok(once.clone()));
                prop_assert!(!once.contains("//") && !once.contains("/../") && !once.ends_with("/.."));
            }
        }
    }
}
