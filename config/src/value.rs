//! One value of the tree: typed getters that note what is wrong with it, and what would be right.

use std::{
    fmt::{Debug, Display},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};

use ipnetwork::IpNetwork;

use crate::{
    near::hint,
    notes::Notes,
    survey::Kind,
    tree::{Node, Word},
};

/// Most characters of a wrong value that a message repeats.
const ECHO_MAX: usize = 60;

/// Units of durations, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Something read, and the place to point at when a later check finds it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At<T> {
    /// Its number.
    pub place: usize,
    /// What was read.
    pub value: T,
}

/// The words a setting may hold: those of this version with their meaning, and those a later one will know.
#[derive(Debug)]
pub struct Words<T: 'static> {
    /// What each word means now.
    pub now: &'static [(&'static str, T)],
    /// Words that are right, but too early.
    pub later: &'static [&'static str],
}

/// A key that a later version will know.
#[derive(Debug, Clone, Copy)]
pub struct Later {
    /// The key.
    pub key: &'static str,
    /// What this version does in its stead.
    pub instead: &'static str,
}

/// One value under a key, or one item of a list under it.
#[derive(Debug, Clone, Copy)]
pub struct Value<'a> {
    notes: &'a Notes<'a>,
    key: &'a str,
    node: &'a Node,
}

impl<'a> Value<'a> {
    pub(crate) fn new(notes: &'a Notes<'a>, key: &'a str, node: &'a Node) -> Self {
        Self { notes, key, node }
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> usize {
        self.node.place.0
    }

    /// Notes that this value is wrong; the message begins with its key.
    pub fn wrong(&self, what: impl Display) {
        self.notes.wrong(self.place(), format!("`{}` {what}", self.key));
    }

    /// What it is, for a message about its type.
    pub(crate) fn found(&self) -> String {
        match &self.node.word {
            Word::Text(text) => format!("the string {}", echo(text)),
            Word::Integer(number) => format!("the integer {}", cut(number)),
            Word::Float(number) => format!("the float {}", cut(number)),
            Word::Truth(truth) => truth.to_string(),
            Word::Date(_) => "a date or time".to_owned(),
            Word::Nothing => "null".to_owned(),
            Word::List(_) => "a list".to_owned(),
            Word::Table(_) => "a table".to_owned(),
        }
    }

    fn mistyped<T>(&self, expected: &str) -> Option<T> {
        self.wrong(format_args!("must be {expected}, found {}", self.found()));
        None
    }

    fn at<T>(&self, value: T) -> At<T> {
        At { place: self.place(), value }
    }

    fn taken(&self, kind: impl FnOnce() -> Kind) {
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.taken(self.place(), kind());
        }
    }

    fn text(&self, expected: &str) -> Option<&'a str> {
        let Word::Text(text) = &self.node.word else { return self.mistyped(expected) };
        Some(text)
    }

    /// Any text but none.
    #[must_use]
    pub fn string(&self) -> Option<At<&'a str>> {
        self.taken(|| Kind::Text("a string".to_owned()));
        let text = self.text("a string")?;
        if text.is_empty() {
            self.wrong("must not be empty");
            return None;
        }
        Some(self.at(text))
    }

    /// Any text, also none.
    #[must_use]
    pub fn any_string(&self) -> Option<&'a str> {
        self.taken(|| Kind::Text("a string".to_owned()));
        self.text("a string")
    }

    /// A text of a form its type knows.
    #[must_use]
    pub fn parsed<T>(&self) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let form = std::any::type_name::<T>();
        self.form(form.rsplit("::").next().unwrap_or(form), "a string", str::parse)
    }

    /// A text that `parse` takes or says what is wrong with.
    pub fn read<T, E: Display>(&self, expected: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<At<T>> {
        self.form(expected, expected, parse)
    }

    fn form<T, E: Display>(
        &self,
        form: &str,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        self.taken(|| Kind::Text(form.to_owned()));
        let text = self.text(expected)?;
        match parse(text) {
            Ok(value) => Some(self.at(value)),
            Err(why) => {
                self.wrong(format_args!("cannot be {}: {why}", echo(text)));
                None
            }
        }
    }

    /// One of a set of words.
    #[must_use]
    pub fn word<T: Copy + Debug>(&self, words: &Words<T>) -> Option<T> {
        let now = || words.now.iter().map(|(word, _)| *word);
        self.taken(|| Kind::Words(now().collect()));
        let listed = now().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ");
        let text = self.text(&format!("one of {listed}"))?;
        if let Some((_, meaning)) = words.now.iter().find(|(word, _)| *word == text) {
            return Some(*meaning);
        }
        if words.later.contains(&text) {
            self.wrong(format_args!("\"{text}\" is not supported by this version; supported: {listed}"));
        } else {
            self.wrong(format_args!("cannot be {}{}", echo(text), hint(text, now())));
        }
        None
    }

    /// A whole number in a range that fits `T`.
    #[must_use]
    pub fn integer<T: TryFrom<u64>>(&self, range: RangeInclusive<u64>) -> Option<T> {
        self.taken(|| Kind::Integer(*range.start(), *range.end()));
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Word::Integer(number) = &self.node.word else { return self.mistyped(&expected) };
        match number.parse::<u64>().ok().filter(|n| range.contains(n)).and_then(|n| T::try_from(n).ok()) {
            Some(number) => Some(number),
            None => self.mistyped(&expected),
        }
    }

    /// A finite number in a range; whole ones may be written without a point.
    #[must_use]
    pub fn float(&self, range: RangeInclusive<f64>) -> Option<f64> {
        self.taken(|| Kind::Float(*range.start(), *range.end()));
        let expected = format!("a number from {:?} to {:?}", range.start(), range.end());
        let (Word::Integer(digits) | Word::Float(digits)) = &self.node.word else { return self.mistyped(&expected) };
        match digits.parse::<f64>().ok().filter(|n| range.contains(n)) {
            Some(number) => Some(number),
            None => self.mistyped(&expected),
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        self.taken(|| Kind::Boolean);
        let Word::Truth(truth) = &self.node.word else { return self.mistyped("true or false") };
        Some(*truth)
    }

    /// A duration in a range.
    #[must_use]
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Option<At<Duration>> {
        self.taken(|| Kind::Duration(*range.start(), *range.end()));
        let bounds = format!("\"{}\" to \"{}\"", spell(*range.start()), spell(*range.end()));
        let text = self.text(&format!("a duration from {bounds}"))?;
        let duration =
            duration(text).map_err(|right| self.wrong(format_args!("cannot be {}: {right}", echo(text)))).ok()?;
        if !range.contains(&duration) {
            self.wrong(format_args!("must be from {bounds}, found {}", echo(text)));
            return None;
        }
        Some(self.at(duration))
    }

    /// A network: `ADDRESS/PREFIX` with no bits behind the prefix.
    #[must_use]
    pub fn network(&self) -> Option<At<IpNetwork>> {
        self.read("a network such as \"10.0.0.0/16\"", cidr)
    }

    /// An address to listen on; port 0 lets the system choose.
    #[must_use]
    pub fn listen_address(&self) -> Option<At<SocketAddr>> {
        self.read("an address and port such as \"0.0.0.0:80\"", |text| {
            text.parse().map_err(|_| "an address to listen on is IP:PORT, such as \"0.0.0.0:80\" or \"[::]:80\"")
        })
    }

    /// The items of a list.
    #[must_use]
    pub fn items(&self) -> Option<Vec<Self>> {
        let Word::List(items) = &self.node.word else { return self.mistyped("a list in [ ]") };
        if let Some(surveyor) = self.notes.surveyor() {
            surveyor.listed(self.place(), items.iter().map(|item| item.place.0));
        }
        Some(items.iter().map(|item| Self::new(self.notes, self.key, item)).collect())
    }

    /// The items of a list that holds at least one.
    #[must_use]
    pub fn some_items(&self) -> Option<Vec<Self>> {
        let items = self.items()?;
        if items.is_empty() {
            self.wrong("must name at least one");
            return None;
        }
        Some(items)
    }

    /// Whether this is a whole number, where one may stand for a text.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        matches!(self.node.word, Word::Integer(_))
    }
}

/// A network from text.
///
/// # Errors
/// What is wrong with it; for bits behind the prefix, the network that was probably meant.
pub fn cidr(text: &str) -> Result<IpNetwork, String> {
    let right = "a network is ADDRESS/PREFIX, such as \"10.0.0.0/16\" or \"fd00::/8\"";
    let Some((address, prefix)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(ip) => format!("{right}; one address alone is \"{}\"", IpNetwork::from(ip)),
            Err(_) => right.to_owned(),
        });
    };
    let ip: IpAddr = address.parse().map_err(|_| right.to_owned())?;
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    let network = prefix.parse().ok().filter(|_| digits).and_then(|prefix| IpNetwork::new(ip, prefix).ok());
    let Some(network) = network else {
        let most = if ip.is_ipv4() { 32 } else { 128 };
        return Err(format!("the prefix of this address is 0 to {most}"));
    };
    if ip.to_canonical() != ip {
        return Err("write IPv4 networks as IPv4".to_owned());
    }
    if network.network() != ip {
        let meant = format!("{}/{}", network.network(), network.prefix());
        return Err(format!("it has bits set behind its prefix; the network is \"{meant}\""));
    }
    Ok(network)
}

/// A duration from text.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<Duration, &'static str> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = UNITS.iter().find(|(name, _)| *name == unit && digits > 0);
    let (_, unit) =
        unit.ok_or("a duration is a whole number and a unit, such as \"250ms\", \"5s\", \"1m\", \"23h\" or \"1d\"")?;
    let milliseconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit));
    milliseconds.map(Duration::from_millis).ok_or("no duration is as long as this")
}

/// A duration as text, in the largest unit that leaves a whole number.
#[must_use]
pub fn spell(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let fits = |(_, unit): &&(&str, u64)| milliseconds >= *unit && milliseconds % unit == 0;
    UNITS.iter().find(fits).map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

/// A value repeated in a message: quoted, control characters escaped, cut.
pub(crate) fn echo(text: &str) -> String {
    format!("\"{}\"", cut(&text.escape_debug().to_string()))
}

pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(ECHO_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
