//! What a person looks for among paths that are stored: a piece of a name, or a pattern.

use regex::bytes::{Regex, RegexBuilder};

use super::translate::{literal, parse};
use super::{AUTOMATON_BYTES_MAX, COMPILED_BYTES_MAX, PatternError, name};

/// Something to look for. Without `*`, `?` or `[` it is a piece of a name, or of a path where it holds a slash; else it is a pattern as
/// for leaving out.
#[derive(Clone, Debug)]
pub struct Finder {
    /// What the last name must match.
    name: Regex,
    /// What the whole path must match.
    path: Option<Regex>,
}

impl Finder {
    /// Understands what a person wrote. Capitals and small letters are the same when `any_case` says so.
    ///
    /// Errors: what can not be understood, and why.
    pub fn new(wanted: &[u8], any_case: bool) -> Result<Finder, PatternError> {
        let compile = |regex: &str| {
            RegexBuilder::new(regex)
                .size_limit(COMPILED_BYTES_MAX)
                .dfa_size_limit(AUTOMATON_BYTES_MAX)
                .build()
                .map_err(|_| PatternError::new(wanted, "is too large"))
        };
        let case = if any_case { "(?i)" } else { "" };
        if wanted.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            let parsed = parse(wanted, any_case, None)?;
            if parsed.by_name {
                return Ok(Finder { name: compile(&parsed.regex)?, path: None });
            }
            let last = name(wanted.strip_suffix(b"/").unwrap_or(wanted));
            let last = if last == b"**" { &b"*"[..] } else { last };
            let last = parse(last, any_case, None)?;
            return Ok(Finder { name: compile(&last.regex)?, path: Some(compile(&parsed.regex)?) });
        }
        if wanted.is_empty() {
            return Err(PatternError::new(wanted, "is empty"));
        }
        if wanted.contains(&0) {
            return Err(PatternError::new(wanted, "holds a NUL byte, which no path has"));
        }
        let piece = |bytes: &[u8]| {
            let mut regex = String::from(case);
            literal(bytes, &mut regex);
            regex
        };
        let Some(slash) = wanted.iter().rposition(|byte| *byte == b'/') else {
            return Ok(Finder { name: compile(&piece(wanted))?, path: None });
        };
        // What follows the last slash is how the last name begins; the rest is how the path before it ends.
        let mut begins = String::from(case);
        begins.push('^');
        literal(&wanted[slash + 1..], &mut begins);
        let mut whole = piece(wanted);
        whole.push_str("(?-u:[^/]*)$");
        Ok(Finder { name: compile(&begins)?, path: Some(compile(&whole)?) })
    }

    /// Whether a path whose last name is this may match.
    pub fn matches_name(&self, name: &[u8]) -> bool {
        self.name.is_match(name)
    }

    /// Whether a path matches whose last name does.
    pub fn matches_path(&self, path: &[u8]) -> bool {
        self.path.as_ref().is_none_or(|regex| regex.is_match(path))
    }
}

/// Whether capitals count in what a person looks for who did not say so: when there are some.
pub fn has_capitals(wanted: &[u8]) -> bool {
    String::from_utf8_lossy(wanted).chars().any(char::is_uppercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_and_patterns_find_what_they_say() {
        let path: &[u8] = b"/home/ann/Documents/Report 2026.odt";
        let cases: &[(&str, bool, bool)] = &[
            ("report", true, true),
            ("report", false, false),
            ("Report", false, true),
            ("2026.odt", false, true),
            ("*.odt", false, true),
            ("*.ODT", true, true),
            ("*.od", false, false),
            ("ann", false, false),
            ("Documents/Rep", false, true),
            ("documents/rep", true, true),
            ("uments/Report 2026.odt", false, true),
            ("Documents/ort", false, false),
            ("ann/Rep", false, false),
            ("Documents/*.odt", false, true),
            ("/home/*/Documents/*", false, true),
            ("/home/**/*.odt", false, true),
            ("/home/**", false, true),
            ("home/*.odt", false, false),
            ("2?2[5-7]", false, false),
            ("*2?2[5-7]*", false, true),
        ];
        for (wanted, any_case, expected) in cases {
            let finder = Finder::new(wanted.as_bytes(), *any_case).unwrap();
            let found = finder.matches_name(name(path)) && finder.matches_path(path);
            assert_eq!(found, *expected, "{wanted}, any case: {any_case}");
        }
    }

    #[test]
    fn names_that_are_no_text_are_found_by_their_bytes() {
        let finder = Finder::new(b"caf\xe9", false).unwrap();
        assert!(finder.matches_name(b"le caf\xe9.txt"));
        assert!(!finder.matches_name("le caf\u{e9}.txt".as_bytes()));
        let finder = Finder::new("CAF\u{c9}".as_bytes(), true).unwrap();
        assert!(finder.matches_name("le caf\u{e9}\nline.txt".as_bytes()));
        assert!(finder.matches_name(b"\xff caf\xc3\xa9 \xff"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for wanted in [&b""[..], b"a\0b", b"[a", b"x/../*"] {
            assert!(Finder::new(wanted, false).is_err(), "{wanted:?}");
        }
    }
}
