//! The items of a Borg archive as `borg debug dump-archive` shows them: one large JSON object, read item by item.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;

use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::super::Error;
use super::super::stream::{self, Form};

/// Begins a text that stands for bytes as hexadecimal digits, since they are not UTF-8 or begin with this themselves.
const HEX_MARK: char = '\u{7f}';

/// Bytes as they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(digits) = text.strip_prefix(HEX_MARK) else { return Ok(Bytes(text.into_bytes())) };
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
        bytes.filter(|_| digits.len() % 2 == 0).map(Bytes).ok_or_else(|| D::Error::custom("malformed bytes"))
    }
}

/// The sum of the lengths of chunks, each of which is a list of id, length and stored length.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChunkSum(pub u64);

impl<'de> Deserialize<'de> for ChunkSum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ChunkSum, D::Error> {
        struct Chunks;
        impl<'de> Visitor<'de> for Chunks {
            type Value = ChunkSum;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("chunks")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut chunks: A) -> Result<ChunkSum, A::Error> {
                let mut sum = 0u64;
                while let Some((_, length, _)) = chunks.next_element::<(IgnoredAny, u64, IgnoredAny)>()? {
                    sum = sum.saturating_add(length);
                }
                Ok(ChunkSum(sum))
            }
        }
        deserializer.deserialize_seq(Chunks)
    }
}

/// One item; what is not told here is not needed.
#[derive(Debug, Deserialize)]
pub struct Item {
    pub path: Bytes,
    pub mode: u32,
    #[serde(default)]
    pub mtime: i64,
    pub size: Option<u64>,
    /// Of a symlink what it leads to, of another name of a file the first one.
    pub source: Option<Bytes>,
    #[serde(default)]
    pub xattrs: BTreeMap<Bytes, Option<Bytes>>,
    pub acl_access: Option<Bytes>,
    pub acl_default: Option<Bytes>,
    #[serde(default)]
    pub bsdflags: u64,
    #[serde(default)]
    pub chunks: ChunkSum,
    /// There when chunks were lost.
    pub chunks_healthy: Option<IgnoredAny>,
    /// There when it is a piece of a file.
    pub part: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Meta {
    time: Option<String>,
}

/// Gives each item to `take`, and the archive's time back.
pub fn read(
    input: impl Read,
    take: &mut dyn FnMut(Item) -> Result<(), Error>,
) -> Result<Option<String>, Error> {
    let form = Form { list: "_items", other: "_meta", is_within_array: false };
    Ok(stream::read::<Item, Meta>(input, form, take)?.and_then(|meta| meta.time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Result<(Vec<Vec<u8>>, Option<String>), Error> {
        let mut paths = Vec::new();
        let time = read(text.as_bytes(), &mut |item| {
            paths.push(item.path.0);
            Ok(())
        })?;
        Ok((paths, time))
    }

    #[test]
    fn items_are_read_one_by_one() {
        let text = r#"{"_name": "x", "_manifest_entry": {"id": "\u007f00"}, "_meta": {"time": "2026-11-28T16:44:29", "items": ["\u007f12"]},
            "_items": [{"path": "a", "mode": 16877, "mtime": 5, "unknown": {}},
                       {"path": "\u007f61ff", "mode": 33188, "chunks": [["\u007f00", 7, 9], ["\u007f01", 8, 9]], "xattrs": {"user.x": null, "user.y": "\u007fff"}}]}"#;
        let (found, time) = paths(text).unwrap();
        assert_eq!(
            (found, time.as_deref()),
            (vec![b"a".to_vec(), b"a\xff".to_vec()], Some("2026-11-28T16:44:29"))
        );
        let mut all = Vec::new();
        read(text.as_bytes(), &mut |item| {
            all.push(item);
            Ok(())
        })
        .unwrap();
        assert_eq!(all[1].chunks.0, 15);
        assert_eq!(all[1].xattrs[&Bytes(b"user.x".to_vec())], None);
        assert_eq!(all[1].xattrs[&Bytes(b"user.y".to_vec())], Some(Bytes(vec![0xff])));
    }

    #[test]
    fn what_makes_no_sense_is_an_error_and_what_ends_early_is_cut() {
        let cut = paths(r#"{"_meta": {}, "_items": [{"path": "a", "mode": 1}"#).unwrap_err();
        assert!(matches!(cut, Error::Cut(_)), "{cut}");
        for text in [r#"{"_meta": {}}"#, r#"{"_items": [{"path": "\u007f6"}]}"#, r#"{"_items": 3}"#, "[]"] {
            assert!(matches!(paths(text).unwrap_err(), Error::Origin(_)), "{text}");
        }
        let refused = read(r#"{"_items": [{"path": "a", "mode": 1}]}"#.as_bytes(), &mut |_| {
            Err(Error::Origin("refused".to_owned()))
        });
        assert_eq!(refused.unwrap_err().to_string(), "refused");
    }
}
