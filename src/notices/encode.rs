//! Text as mail and HTTP headers take it: base64 and encoded words (RFC 2047).

/// The digits of base64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Bytes of text in an encoded word: with its frame it has at most the 75 characters that are allowed.
const WORD_BYTES_MAX: usize = 45;

/// Base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

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
    fn base64_is_that_of_the_standard() {
        // RFC 4648, section 10.
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

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
