//! One pattern as a user writes it, translated to a regular expression over bytes.

use std::fmt::Write as _;

use super::PatternError;

/// A pattern, understood.
#[derive(Debug)]
pub struct Parsed {
    /// It began with `!`.
    pub negated: bool,
    /// It ended with a slash.
    pub directories_only: bool,
    /// The expression is for the last component alone, not for the whole path.
    pub by_name: bool,
    /// The expression, anchored at both ends.
    pub regex: String,
}

/// Any run of bytes inside a component.
const STAR: &str = "(?-u:[^/]*)";
/// One character, or one byte that belongs to none.
const ONE: &str = "(?:[^/]|(?-u:[\\x80-\\xff]))";
/// Any number of whole components, each with the slash before it.
const SPAN: &str = "(?-u:(?:/[^/]+)*)";
/// At least one whole component.
const BELOW: &str = "(?-u:(?:/[^/]+)+)";

/// Reads a pattern; `home` is what a leading `~` stands for.
pub fn parse(pattern: &[u8], any_case: bool, home: Option<&[u8]>) -> Result<Parsed, PatternError> {
    let error = |reason| PatternError::new(pattern, reason);
    if pattern.contains(&0) {
        return Err(error("holds a NUL byte, which no path has"));
    }
    let (negated, body) = match pattern.strip_prefix(b"!") {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    if body.is_empty() {
        return Err(error("is empty"));
    }
    let (home, body) = match body.strip_prefix(b"~") {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => {
            (Some(home.ok_or_else(|| error("the home folder is not known, write it out"))?), rest)
        }
        _ => (None, body),
    };
    let mut written =
        body.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
    let anchored = home.is_some() || body.starts_with(b"/");
    let directories_only = body.ends_with(b"/") && written.peek().is_some();
    let components: Vec<&[u8]> = written.collect();
    if components.contains(&&b".."[..]) {
        return Err(error("holds '..', which no stored path has"));
    }
    if components.is_empty() && !anchored {
        return Err(error("names nothing"));
    }
    let by_name = !anchored && components.len() == 1 && components[0] != b"**";

    let mut regex = String::from(if any_case { "^(?i)" } else { "^" });
    if by_name {
        component(components[0], &mut regex).map_err(error)?;
    } else {
        if !anchored {
            regex.push_str(SPAN);
        }
        for part in home.unwrap_or_default().split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            regex.push('/');
            literal(part, &mut regex);
        }
        for (at, part) in components.iter().enumerate() {
            if *part == b"**" {
                regex.push_str(if at + 1 == components.len() { BELOW } else { SPAN });
            } else {
                regex.push('/');
                component(part, &mut regex).map_err(error)?;
            }
        }
        if components.is_empty() && home.is_none_or(|home| home.iter().all(|byte| *byte == b'/')) {
            regex.push_str(BELOW); // a pattern that is just the root: everything
        }
    }
    regex.push('$');
    Ok(Parsed { negated, directories_only, by_name, regex })
}

/// Appends bytes that stand for themselves.
pub(super) fn literal(bytes: &[u8], regex: &mut String) {
    for chunk in bytes.utf8_chunks() {
        regex.push_str(&regex::escape(chunk.valid()));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(regex, "(?-u:\\x{byte:02x})");
        }
    }
}

/// Appends the expression for one component of a pattern.
fn component(part: &[u8], regex: &mut String) -> Result<(), &'static str> {
    let mut rest = part;
    while let Some(first) = rest.first() {
        match first {
            b'*' => {
                let stars = rest.iter().take_while(|byte| **byte == b'*').count();
                regex.push_str(STAR);
                rest = &rest[stars..];
            }
            b'?' => {
                regex.push_str(ONE);
                rest = &rest[1..];
            }
            b'[' => rest = class(&rest[1..], regex)?,
            b'\\' => {
                let length = character(&rest[1..]).ok_or("ends with a backslash, which escapes nothing")?.1;
                literal(&rest[1..=length], regex);
                rest = &rest[1 + length..];
            }
            _ => {
                let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
                let length = rest.iter().position(special).unwrap_or(rest.len());
                literal(&rest[..length], regex);
                rest = &rest[length..];
            }
        }
    }
    Ok(())
}

/// The first character (none when its bytes are not UTF-8) and its length in bytes.
fn character(bytes: &[u8]) -> Option<(Option<char>, usize)> {
    let chunk = bytes.utf8_chunks().next()?;
    match chunk.valid().chars().next() {
        Some(character) => Some((Some(character), character.len_utf8())),
        None => Some((None, 1)),
    }
}

/// Appends the expression for a class, given what follows its opening bracket; returns what follows its closing one.
fn class<'a>(inner: &'a [u8], regex: &mut String) -> Result<&'a [u8], &'static str> {
    const UNCLOSED: &str = "has a '[' without its ']' (write \\[ for the character)";
    let negated = matches!(inner.first(), Some(b'!' | b'^'));
    let mut rest = if negated { &inner[1..] } else { inner };
    let mut ranges: Vec<(char, char)> = Vec::new();
    let mut first = true;
    let next = |rest: &mut &'a [u8]| -> Result<char, &'static str> {
        if let Some(after) = rest.strip_prefix(b"\\") {
            *rest = after;
        }
        let (found, length) = character(rest).ok_or(UNCLOSED)?;
        *rest = &rest[length..];
        found.ok_or("has a class with bytes that are not UTF-8")
    };
    loop {
        match rest.first() {
            None => return Err(UNCLOSED),
            Some(b']') if !first => break,
            _ => {}
        }
        first = false;
        let low = next(&mut rest)?;
        let is_range = rest.first() == Some(&b'-') && rest.get(1).is_some_and(|byte| *byte != b']');
        let high = if is_range {
            rest = &rest[1..];
            next(&mut rest)?
        } else {
            low
        };
        if high < low {
            return Err("has a class whose range runs backwards");
        }
        ranges.push((low, high));
    }
    // Never a slash: a range such as [+-9] spans it.
    regex.push_str(if negated { "(?:[^/" } else { "(?:[[" });
    for (low, high) in ranges {
        let _ = write!(regex, "\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high));
    }
    regex.push_str(if negated { "]|(?-u:[\\x80-\\xff]))" } else { "]--/])" });
    Ok(&rest[1..])
}
