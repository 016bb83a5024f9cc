//! Text as mail and HTTP headers take it: encoded words (RFC 2047).

use crate::network::base64;

/// Bytes of text in an encoded word: with its frame it has at most the 75 characters that are allowed.
const WORD_BYTES_MAX: usize = 45;

/// Text for a header: as it is when it is plain, else as encoded words with `between` between them. Controls become spaces, so that nothing
/// can end the header.
pub fn header(text: &str, between: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_ascii() && !text.contains("=?") {
        return text;
    }
    let mut words = Vec::new();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let mut end = rest.len().min(WORD_BYTES_MAX);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        words.push(format!("=?UTF-8?B?{}?=", base64(&rest.as_bytes()[..end])));
        rest = &rest[end..];
    }
    words.join(between)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stay_one_line_and_plain_ascii() {
        assert_eq!(header("copal: done", " "), "copal: done");
        assert_eq!(header("a\r\nBcc: x", " "), "a  Bcc: x");
        assert_eq!(header("Grüße", " "), "=?UTF-8?B?R3LDvMOfZQ==?=");
        assert_eq!(header("=?UTF-8?B?x?=", " "), format!("=?UTF-8?B?{}?=", base64(b"=?UTF-8?B?x?=")));
        let long = header(&"日本".repeat(50), "\r\n ");
        assert!(long.is_ascii() && long.split("\r\n ").count() > 1);
        assert!(long.split("\r\n ").all(|word| word.len() <= 75 && word.ends_with("?=")));
    }
}
