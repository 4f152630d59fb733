//! A tree as serde writes it, to TOML or JSON, and as it is read from JSON.
//!
//! What no setting takes and one of the two cannot say becomes a text (dates, numbers beyond 64 bits) or is left out (`null`).

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};

use crate::tree::{At, Entries, Entry, Node, Word};

impl Serialize for Entries {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let said = self.0.iter().filter(|entry| entry.node.word != Word::Nothing);
        serializer.collect_map(said.map(|entry| (&entry.key, &entry.node.word)))
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) | Self::Date(text) => serializer.serialize_str(text),
            Self::Integer(number) => match number.parse::<i64>() {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.serialize_str(number),
            },
            Self::Float(number) => match number.parse::<f64>() {
                Ok(number) if number.is_finite() => serializer.serialize_f64(number),
                Ok(_) | Err(_) => serializer.serialize_str(number),
            },
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Nothing => serializer.serialize_unit(),
            Self::List(items) => {
                let said: Vec<&Self> = items.iter().map(|item| &item.word).filter(|w| **w != Self::Nothing).collect();
                serializer.collect_seq(said)
            }
            Self::Table(entries) => entries.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

struct Read;

impl<'de> Visitor<'de> for Read {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Word, E> {
        Ok(Word::Text(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Word, E> {
        Ok(Word::Integer(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Word, E> {
        Ok(Word::Integer(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Word, E> {
        Ok(Word::float(&format!("{number:?}")))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Word, E> {
        Ok(Word::Truth(truth))
    }

    fn visit_unit<E>(self) -> Result<Word, E> {
        Ok(Word::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Word, A::Error> {
        let mut list = Vec::new();
        while let Some(word) = items.next_element()? {
            list.push(Node { place: At::default(), word });
        }
        Ok(Word::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Word, A::Error> {
        let (mut entries, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(key) = table.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                let twice = format_args!("duplicate key `{}`; a key is given once", key.escape_debug());
                return Err(A::Error::custom(twice));
            }
            let place = At::default();
            entries.push(Entry { place, key, node: Node { place, word: table.next_value()? } });
        }
        Ok(Word::Table(Entries(entries)))
    }
}
