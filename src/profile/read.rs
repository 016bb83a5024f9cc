//! TOML to sections, with the line of each key.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Entry, Error, Place, Section, Value};

/// A file's text and where its lines begin.
struct Text<'t> {
    text: &'t str,
    file: Arc<Path>,
}

impl Text<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        Place { file: self.file.clone(), line: 1 + before.iter().filter(|byte| **byte == b'\n').count() }
    }

    fn section(&self, name: &str, place: Place, table: &DeTable<'_>) -> Result<Section, Error> {
        let mut section = Section { name: name.to_owned(), place, entries: Default::default() };
        for (key, value) in table {
            let key_place = self.place(key.span());
            let key = key.get_ref().as_ref();
            let path = if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
            let entry = self.entry(&path, key_place, value)?;
            section.entries.insert(key.to_owned(), entry);
        }
        Ok(section)
    }

    fn entry(&self, path: &str, place: Place, value: &Spanned<DeValue<'_>>) -> Result<Entry, Error> {
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.clone().into_owned()),
            DeValue::Integer(number) if number.radix() == 10 => Value::Number(number.as_str().to_owned()),
            DeValue::Integer(_) => return Err(Error::wrong(&place, format!("{path}: write it in decimal"))),
            DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|item| self.entry(path, self.place(item.span()), item))
                    .collect::<Result<_, _>>()?,
            ),
            DeValue::Table(table) => Value::Section(self.section(path, place.clone(), table)?),
        };
        Ok(Entry { value, place })
    }
}

/// Reads a file's text.
pub fn read(file: &Path, text: &str) -> Result<Section, Error> {
    let text = Text { text, file: file.into() };
    let table = DeTable::parse(text.text).map_err(|error| {
        let place = error.span().map_or(Place { file: text.file.clone(), line: 0 }, |span| text.place(span));
        // One line, whatever the parser has to tell.
        Error::wrong(&place, error.message().split_whitespace().collect::<Vec<_>>().join(" "))
    })?;
    text.section("", Place { file: text.file.clone(), line: 0 }, table.get_ref())
}
