//! Secrets in texts are hidden before anybody is told: what stands in URLs before the host, and what is named like a password or token.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// What stands in a secret's place.
const HIDDEN: &str = "***";
/// A known secret that is shorter is not looked for: it would be found in words that are none.
const KNOWN_BYTES_MIN: usize = 6;

/// A URL up to the end of the word.
static URL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"([A-Za-z][A-Za-z0-9+.-]*://)([^ \t\r\n"'<>]*)"#).ok());
/// A name that means a secret, and its value; `Authorization` has a scheme before the value.
static NAMED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let words = [
        "passwor[dt]",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api[_-]?key",
        "access[_-]?key",
        "signature",
        "credential",
        "authorization",
        "mysql_pwd",
    ];
    let name = format!("[A-Za-z0-9_.-]*(?:{})[A-Za-z0-9_-]*", words.join("|"));
    let value = r#"(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^ \t\r\n&"',;]+)"#;
    let space = "[ \t]";
    let before = format!(r#"{name}["']?{space}*[=:]{space}*|--{name}{space}+|(?-u:\b)bearer{space}+"#);
    Regex::new(&format!("(?i)({before})((?:bearer|basic|token){space}+)?({value})")).ok()
});

/// The text without what looks like a secret.
pub fn hide(text: &str) -> String {
    let (Some(url), Some(named)) = (&*URL, &*NAMED) else {
        // Nothing is better than too much; it can not happen, since the tests make both.
        return HIDDEN.to_owned();
    };
    let text =
        url.replace_all(text, |found: &Captures<'_>| format!("{}{}", &found[1], without_user(&found[2])));
    named
        .replace_all(&text, |found: &Captures<'_>| {
            let scheme = found.get(2).map_or("", |scheme| scheme.as_str());
            format!("{}{scheme}{HIDDEN}", &found[1])
        })
        .into_owned()
}

/// The text without those values, and without what looks like a secret.
pub fn hide_known(text: &str, known: &[String]) -> String {
    let mut text = text.to_owned();
    for secret in known.iter().filter(|secret| secret.len() >= KNOWN_BYTES_MIN) {
        text = text.replace(secret.as_str(), HIDDEN);
    }
    hide(&text)
}

/// What follows `://`, without user and password.
fn without_user(rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest[..end].rfind('@').or_else(|| {
        // A password with a slash that should have been escaped: `user:pa/ss@host`. A number after the colon is a port.
        let (_, after) = rest[..end].split_once(':')?;
        let is_port = after.bytes().all(|byte| byte.is_ascii_digit());
        if is_port { None } else { rest.rfind('@') }
    });
    match at {
        Some(at) => format!("{HIDDEN}{}", &rest[at..]),
        None => rest.to_owned(),
    }
}

/// A URL as it may be shown in a message: its scheme and host, since the path of a ping or webhook is its password.
pub fn host_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = without_user(&rest[..end]);
    let host = host.strip_prefix(HIDDEN).map_or(host.as_str(), |host| host.trim_start_matches('@'));
    format!("{scheme}://{host}{}", if end < rest.len() { "/\u{2026}" } else { "" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        for (text, expected) in [
            ("s3:https://ann:hunter2@s3.example.org/b", "s3:https://***@s3.example.org/b"),
            (
                "https://hunter2@host/x and sftp://u:hunter2@b:22/y",
                "https://***@host/x and sftp://***@b:22/y",
            ),
            ("http://u:hun/ter2@host/x", "http://***@host/x"),
            ("http://u:p@hunter2@host/x", "http://***@host/x"),
            ("https://host/x?token=hunter2&a=b", "https://host/x?token=***&a=b"),
            (
                "https://h/b?X-Amz-Signature=hunter2&X-Amz-Date=1",
                "https://h/b?X-Amz-Signature=***&X-Amz-Date=1",
            ),
            ("PGPASSWORD=hunter2 pg_dump", "PGPASSWORD=*** pg_dump"),
            ("export AWS_SECRET_ACCESS_KEY='hun ter2'", "export AWS_SECRET_ACCESS_KEY=***"),
            (r#"{"api_key": "hun\"ter2", "a": 1}"#, r#"{"api_key": ***, "a": 1}"#),
            ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
            ("authorization: Basic aHVudGVyMg==", "authorization: Basic ***"),
            ("curl -H 'X-Token: hunter2'", "curl -H 'X-Token: ***'"),
            ("mysqldump --password hunter2 db", "mysqldump --password *** db"),
            ("mysqldump --password=hunter2 db", "mysqldump --password=*** db"),
            ("sent bearer hunter2", "sent bearer ***"),
        ] {
            assert_eq!(hide(text), expected);
            assert!(!hide(text).contains("hunter2"));
            assert_eq!(hide(&hide(text)), hide(text), "hidden twice");
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for text in [
            "",
            "/home/ann/mail@work: permission denied",
            "sftp:ann@nas:/srv/backup",
            "s3:https://s3.example.org:9000/bucket/a@b",
            "https://example.org/a?b=c#d@e",
            "cannot get the password or key from the password file /etc/copal/key: no such file",
            "the password or key is wrong",
            "3 files new, 12.3 MiB",
            "a:b://",
        ] {
            assert_eq!(hide(text), text);
        }
    }

    #[test]
    fn known_secrets_are_hidden_unless_they_are_short() {
        let known = ["abcdefgh".to_owned(), "ab".to_owned()];
        assert_eq!(hide_known("x abcdefgh y ab", &known), "x *** y ab");
    }

    #[test]
    fn of_a_url_only_the_host_is_shown() {
        for (url, shown) in [
            ("https://hc-ping.com/1234-5678?x=y", "https://hc-ping.com/\u{2026}"),
            ("http://u:p@ntfy.local:8080", "http://ntfy.local:8080"),
            ("https://u@h/x", "https://h/\u{2026}"),
        ] {
            assert_eq!(host_of(url), shown);
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_hidden(text in ".{0,60}", user in "[a-zA-Z0-9:!$]{1,12}") {
            hide(&text);
            host_of(&text);
            prop_assert_eq!(hide(&format!("https://{user}@host/")), "https://***@host/");
        }
    }
}
