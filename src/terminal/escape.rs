//! Names are bytes; this makes them printable on one line of a terminal, so that no name can move the cursor, hide or mislead.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The name as it may be printed: control characters, bytes that are not UTF-8, invisible and direction-changing characters and the
/// backslash are escaped (`\n`, `\x1b`, `\xff`, `\u{202e}`, `\\`), everything else stays. Different names give different texts.
pub fn escape(name: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(name)
        && !text.chars().any(is_escaped)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(character, &mut out);
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    Cow::Owned(out)
}

/// A path as it may be printed.
pub fn path(path: &Path) -> Cow<'_, str> {
    escape(path.as_os_str().as_bytes())
}

/// A line of what some program said, without its end: bytes that are not UTF-8 and what could move the cursor or hide are escaped; tabs and
/// backslashes stay, since nothing has to be read back from it.
pub fn line(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\t' | '\\' => out.push(character),
                character => push(character, &mut out),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Appends a character, escaped where needed.
fn push(character: char, out: &mut String) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\\' => out.push_str("\\\\"),
        // Writing to a String cannot fail.
        _ if u32::from(character) < 0x80 && is_escaped(character) => {
            let _ = write!(out, "\\x{:02x}", u32::from(character));
        }
        _ if is_escaped(character) => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        }
        _ => out.push(character),
    }
}

/// Whether a character is not printed as it is.
pub(super) fn is_escaped(character: char) -> bool {
    character == '\\'
        || character.is_control()
        || matches!(u32::from(character),
            0xad | 0x61c | 0x180e // soft hyphen, Arabic letter mark, Mongolian vowel separator
            | 0x200b | 0x200e | 0x200f // zero width space, direction marks (the joiners 200c and 200d belong to words)
            | 0x2028..=0x202e // line and paragraph separators, embeddings and overrides of direction
            | 0x2060..=0x206f // word joiner, isolates and other invisible characters
            | 0xfeff | 0xfff9..=0xfffb // byte order mark, annotations
            | 0xe0000..=0xe007f) // tags
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_made_printable() {
        for (name, expected) in [
            (&b"plain name.txt"[..], "plain name.txt"),
            ("Grüße 日本 👩‍👧".as_bytes(), "Grüße 日本 👩‍👧"),
            (b"a\nb\rc\td", "a\\nb\\rc\\td"),
            (b"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"),
            (b"caf\xe9\xff", "caf\\xe9\\xff"),
            ("gpj.\u{202e}exe".as_bytes(), "gpj.\\u{202e}exe"),
            ("a\u{85}b\u{2028}".as_bytes(), "a\\u{85}b\\u{2028}"),
            (b"back\\slash", "back\\\\slash"),
            (b"", ""),
        ] {
            assert_eq!(escape(name), expected);
        }
        assert!(matches!(escape(b"plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn lines_of_programs_keep_tabs_and_backslashes() {
        assert_eq!(line(b"C:\\a\tb \xc3\xa9 \xff\x1b[1m\r\n"), "C:\\a\tb \u{e9} \\xff\\x1b[1m\\r\\n");
    }

    proptest! {
        #[test]
        fn nothing_unprintable_comes_through_and_names_stay_apart(
            one in prop::collection::vec(any::<u8>(), 0..8), other in prop::collection::vec(any::<u8>(), 0..8)
        ) {
            prop_assert!(!escape(&one).chars().any(char::is_control));
            prop_assert_eq!(one == other, escape(&one) == escape(&other));
        }
    }
}
