//! The records that stand before an entry of a pax archive: names and values, any bytes; and what some of them mean.

use std::collections::BTreeMap;

use super::Error;

/// Names of records that hold an attribute of that name, one for each program that thought of it.
const XATTR_PREFIXES: [&[u8]; 2] = [b"SCHILY.xattr.", b"LIBARCHIVE.xattr."];

/// Records by name; the last one of a name counts.
#[derive(Clone, Debug, Default)]
pub struct Records(BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    /// Reads records as they stand in an archive: `LENGTH NAME=VALUE\n`, the length counting all of it.
    pub fn parse(mut bytes: &[u8]) -> Result<Records, Error> {
        let mut records = BTreeMap::new();
        while !bytes.is_empty() {
            let (record, rest) = Records::first(bytes)
                .ok_or_else(|| Error::Origin("the archive makes no sense: a malformed record".to_owned()))?;
            records.insert(record.0.to_vec(), record.1.to_vec());
            bytes = rest;
        }
        Ok(Records(records))
    }

    fn first(bytes: &[u8]) -> Option<((&[u8], &[u8]), &[u8])> {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let digits = std::str::from_utf8(&bytes[..space]).ok()?;
        let length: usize = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
        let record = bytes.get(space + 1..length)?;
        let record = record.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=').filter(|place| *place > 0)?;
        Some(((&record[..equals], &record[equals + 1..]), &bytes[length..]))
    }

    /// Takes others over, which count before these; an empty value takes a record away.
    pub fn merge(&mut self, others: Records) {
        for (name, value) in others.0 {
            match value.is_empty() && !is_attribute(&name) {
                true => drop(self.0.remove(&name)),
                false => drop(self.0.insert(name, value)),
            }
        }
    }

    pub fn take(&mut self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.remove(name)
    }

    pub fn has_prefix(&self, prefix: &[u8]) -> bool {
        self.0.keys().any(|name| name.starts_with(prefix))
    }

    /// Extended attributes by name. The words say why one can not be had.
    pub fn xattrs(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, String> {
        let mut found = BTreeMap::new();
        for (name, value) in &self.0 {
            if let Some(name) = name.strip_prefix(XATTR_PREFIXES[0]) {
                found.insert(name.to_vec(), value.clone());
            } else if let Some(name) = name.strip_prefix(XATTR_PREFIXES[1]) {
                let decoded = url_decoded(name).zip(base64(value));
                let (name, value) = decoded.ok_or("an attribute as libarchive writes it makes no sense")?;
                found.entry(name).or_insert(value);
            }
        }
        Ok(found)
    }

    /// The two access lists, as text.
    pub fn acls(&self) -> [Option<&[u8]>; 2] {
        [&b"SCHILY.acl.access"[..], b"SCHILY.acl.default"].map(|name| self.0.get(name).map(Vec::as_slice))
    }
}

fn is_attribute(name: &[u8]) -> bool {
    XATTR_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// A time as one decimal number: seconds and nanoseconds; more digits are left out.
pub fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds: i64 = whole.parse().ok()?;
    let mut nanos = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(0, |digit| u32::from(digit - b'0'));
        nanos = nanos * 10 + digit;
    }
    Some(match (negative, nanos) {
        (false, _) => (seconds, nanos),
        (true, 0) => (-seconds, 0),
        (true, _) => (-seconds - 1, 1_000_000_000 - nanos),
    })
}

fn url_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// Base64 with or without its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text.iter().filter(|byte| !matches!(byte, b'=' | b'\n')) {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}
