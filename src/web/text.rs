//! Names and contents as text of a page and of an address: nothing in them can become a tag, an attribute or another address.

use std::fmt::Write as _;

use crate::terminal::escape::escape;

/// Text as HTML, in an element or in a quoted attribute.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\0' => out.push('\u{fffd}'),
            character => out.push(character),
        }
    }
    out
}

/// A name as HTML: what can not be seen in it is written out.
pub fn name(name: &[u8]) -> String {
    html(&escape(name))
}

/// Bytes as part of an address, in a path or behind its `?`.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(*byte)),
            // A name of dots alone would be taken for a folder above; in others dots stay.
            b'.' if bytes.iter().any(|byte| *byte != b'.') => out.push('.'),
            byte => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// The path of names below `root`, as an address.
pub fn path(root: &str, names: &[Vec<u8>]) -> String {
    names.iter().fold(root.to_owned(), |path, name| path + "/" + &encode(name))
}

/// The bytes that a part of an address stands for; in forms `+` is a space. None when it stands for nothing.
pub fn decode(text: &[u8], is_form: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(*rest.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                out.push((high << 4 | low) as u8);
            }
            b'+' if is_form => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_is_markup() {
        assert_eq!(name(b"<script>\"'&\n\xff"), "&lt;script&gt;&quot;&#39;&amp;\\n\\xff");
    }

    #[test]
    fn addresses_give_back_the_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        let text = encode(&all);
        assert!(text.is_ascii() && !text.contains(['/', '?', '#', '&', '<', '"', '\'', '+', ' ']));
        assert_eq!(decode(text.as_bytes(), false).unwrap(), all);
        assert_eq!(decode(text.as_bytes(), true).unwrap(), all);
        assert_eq!(encode(b"..."), "%2E%2E%2E");
    }
}
