//! How long, by the kernel's own count, something waited for a processor of this machine.

use std::time::Duration;

/// For how long, since the machine's start, something waited for a processor; none where the kernel does not tell.
#[must_use]
pub fn waited() -> Option<Duration> {
    parse(&std::fs::read_to_string("/proc/pressure/cpu").ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let total = some.split(' ').find_map(|word| word.strip_prefix("total="))?;
    Some(Duration::from_micros(total.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let text =
            "some avg10=1.25 avg60=0.90 avg300=0.51 total=7654321\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(parse(text), Some(Duration::from_micros(7_654_321)));
        assert_eq!(parse(""), None);
        assert_eq!(parse("some total=x"), None);
    }
}
