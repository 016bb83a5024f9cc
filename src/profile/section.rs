//! A section of a profile: keys with values, each knowing where it stands, read by what is expected there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Error, Place};
use crate::terminal::size::{parse_duration, parse_size};

/// How many letters may differ for a key to be suggested in another's place.
const SUGGESTED_WITHIN: usize = 3;

/// A value as it is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Flag(bool),
    /// Whole or not, as its digits.
    Number(String),
    Text(String),
    List(Vec<Entry>),
    Section(Section),
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Flag(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Section(_) => "a section",
        }
    }
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub value: Value,
    pub place: Place,
}

impl Entry {
    /// The error that something else is expected here.
    pub fn is_not(&self, key: &str, expected: &str) -> Error {
        Error::wrong(&self.place, format!("{key} must be {expected}, and is {}", self.value.kind()))
    }

    /// A text or number, as text.
    pub fn word(&self, key: &str) -> Result<&str, Error> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Ok(text),
            _ => Err(self.is_not(key, "a text")),
        }
    }

    /// A list of texts; a single one is a list of one.
    pub fn words(&self, key: &str) -> Result<Vec<&str>, Error> {
        match &self.value {
            Value::List(list) => list.iter().map(|entry| entry.word(key)).collect(),
            _ => Ok(vec![self.word(key)?]),
        }
    }
}

/// Keys and values.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// As it is written in brackets; empty at the top.
    pub name: String,
    pub place: Place,
    pub entries: BTreeMap<String, Entry>,
}

impl Section {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Entry { value: Value::Text(text), .. }) => Ok(Some(text)),
            Some(entry) => Err(entry.is_not(key, "a text")),
        }
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Entry { value: Value::Flag(flag), .. }) => Ok(Some(*flag)),
            Some(entry) => Err(entry.is_not(key, "true or false")),
        }
    }

    /// A list of texts; a single one is a list of one.
    pub fn words(&self, key: &str) -> Result<Vec<&str>, Error> {
        self.get(key).map_or(Ok(Vec::new()), |entry| entry.words(key))
    }

    pub fn duration(&self, key: &str) -> Result<Option<Duration>, Error> {
        self.parsed(key, |text| parse_duration(text).map_err(|error| error.to_string()))
    }

    pub fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        self.parsed(key, |text| parse_size(text).map_err(|error| error.to_string()))
    }

    pub fn number(&self, key: &str) -> Result<Option<u64>, Error> {
        self.parsed(key, |text| text.parse().map_err(|_| "a whole number is expected".to_owned()))
    }

    /// A text or number by its meaning.
    pub fn parsed<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Error> {
        let Some(entry) = self.get(key) else { return Ok(None) };
        let word = entry.word(key)?;
        parse(word)
            .map(Some)
            .map_err(|message| Error::wrong(&entry.place, format!("{key} = \"{word}\": {message}")))
    }

    pub fn section(&self, key: &str) -> Result<Option<&Section>, Error> {
        match self.get(key) {
            None => Ok(None),
            Some(Entry { value: Value::Section(section), .. }) => Ok(Some(section)),
            Some(entry) => Err(entry.is_not(key, "a section")),
        }
    }

    /// The sections in it, by name.
    pub fn sections(&self) -> Result<Vec<(&str, &Section)>, Error> {
        let section = |(key, entry): (&'_ String, &'_ Entry)| match &entry.value {
            Value::Section(_) => Ok(()),
            _ => Err(entry.is_not(key, "a section")),
        };
        self.entries.iter().try_for_each(section)?;
        Ok(self
            .entries
            .iter()
            .filter_map(|(key, entry)| match &entry.value {
                Value::Section(section) => Some((key.as_str(), section)),
                _ => None,
            })
            .collect())
    }

    /// Refuses keys that are none of `known`, and says which was probably meant.
    pub fn refuse_unknown<'k>(&self, known: impl IntoIterator<Item = &'k str> + Clone) -> Result<(), Error> {
        for (key, entry) in &self.entries {
            if known.clone().into_iter().all(|other| other != key) {
                return Err(self.unknown(key, entry, known));
            }
        }
        Ok(())
    }

    /// The error that a key is not known here.
    pub fn unknown<'k>(&self, key: &str, entry: &Entry, known: impl IntoIterator<Item = &'k str>) -> Error {
        let what = if matches!(entry.value, Value::Section(_)) { "section" } else { "key" };
        let whose = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
        let meant = nearest(key, known).map_or(String::new(), |other| format!(": did you mean {other}?"));
        Error::wrong(&entry.place, format!("unknown {what} {key:?}{whose}{meant}"))
    }
}

/// The one of `known` that differs least from `word`, when that is little.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let distance = |other: &&str| {
        // Singular, plural and underscores are the usual slips.
        let plain = |text: &str| text.replace('_', "-").to_lowercase();
        strsim::damerau_levenshtein(&plain(word), &plain(other))
    };
    let best = known.into_iter().map(|other| (distance(&other), other)).min()?;
    (best.0 <= SUGGESTED_WITHIN.min(word.len().div_ceil(2))).then_some(best.1)
}

/// A text as TOML writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

impl std::fmt::Display for Value {
    /// As TOML writes it; a section in braces.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Number(number) => f.write_str(number),
            Value::Text(text) => f.write_str(&quoted(text)),
            Value::List(list) => {
                let items: Vec<String> = list.iter().map(|item| item.value.to_string()).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Section(section) => {
                let items: Vec<String> = section
                    .entries
                    .iter()
                    .map(|(key, entry)| format!("{} = {}", shown_key(key), entry.value))
                    .collect();
                write!(f, "{{ {} }}", items.join(", "))
            }
        }
    }
}

/// A key as TOML writes it.
pub fn shown_key(key: &str) -> String {
    let is_bare = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { quoted(key) }
}
