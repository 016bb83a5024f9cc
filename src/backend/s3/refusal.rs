//! What a server says instead of doing it: for now or for good, in words, with what to do.

use std::io;
use std::time::Duration;

use super::super::{Error, Failed};
use super::xml::Said;
use crate::model::Time;

/// What is shown of a server's own words.
const WORDS_MAX: usize = 200;

/// An answer that is none of those that were hoped for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// The error in its body; empty where there is none, as for HEAD.
    pub(super) said: Said,
    pub(super) retry_after: Option<Duration>,
    /// Where the bucket lies, when the server says so.
    pub(super) region: Option<String>,
    pub(super) date: Option<Time>,
}

impl Refusal {
    fn code(&self) -> &str {
        &self.said.code
    }

    /// Whether it is the bucket that is not there.
    pub(super) fn is_missing_bucket(&self) -> bool {
        self.code() == "NoSuchBucket"
    }

    /// Whether other keys may be what is needed: these have run out, or are not known.
    pub(super) fn is_of_keys(&self) -> bool {
        const CODES: [&str; 6] = [
            "ExpiredToken",
            "ExpiredTokenException",
            "InvalidAccessKeyId",
            "InvalidToken",
            "TokenRefreshRequired",
            "SignatureDoesNotMatch",
        ];
        // An answer to HEAD has no words.
        CODES.contains(&self.code()) || (self.status == 403 && self.code().is_empty())
    }

    /// Whether it may be the time of the signature that is refused.
    pub(super) fn may_be_of_time(&self) -> bool {
        matches!(self.status, 400 | 401 | 403)
    }

    /// Whether it may be the region of the signature, or the host of another region, that is refused.
    pub(super) fn may_be_of_region(&self) -> bool {
        matches!(self.status, 301 | 307 | 400) || self.said.region.is_some()
    }

    /// Whether a creation was refused since it is there, and is this user's.
    pub(super) fn is_own_bucket(&self) -> bool {
        self.code() == "BucketAlreadyOwnedByYou"
    }

    /// Whether the next try may succeed.
    fn is_for_now(&self) -> bool {
        const CODES: [&str; 14] = [
            "BadDigest",
            "ConditionalRequestConflict",
            "IncompleteBody",
            "InternalError",
            "OperationAborted",
            "RequestTimeout",
            "RequestTimeTooSkewed",
            "ServiceUnavailable",
            "SlowDown",
            "Throttling",
            "TooManyRequests",
            "XAmzContentChecksumMismatch",
            "XAmzContentSHA256Mismatch",
            "XMinioServerNotInitialized",
        ];
        match self.status {
            408 | 429 | 500 | 502 | 503 | 504 | 509 | 520..=530 => !self.is_full(),
            _ => CODES.contains(&self.code()),
        }
    }

    fn is_full(&self) -> bool {
        const CODES: [&str; 5] = [
            "QuotaExceeded",
            "StorageFull",
            "XMinioStorageFull",
            "XMinioAdminBucketQuotaExceeded",
            "InsufficientCapacity",
        ];
        self.status == 507 || CODES.contains(&self.code())
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self.code() {
            "AccessDenied" | "AllAccessDisabled" | "Forbidden" => {
                "; what these keys may do is set where they were made"
            }
            "InvalidAccessKeyId" => "; the server does not know AWS_ACCESS_KEY_ID, or the profile's key",
            "SignatureDoesNotMatch" => "; AWS_SECRET_ACCESS_KEY, or the profile's, is another one",
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken" => {
                "; the keys have run out: get new ones, and run it again"
            }
            "PermanentRedirect" | "TemporaryRedirect" | "IllegalLocationConstraintException" => {
                "; give the endpoint of the bucket's region"
            }
            "AuthorizationHeaderMalformed" | "AuthorizationQueryParametersError" => {
                "; give the region: ?region=NAME behind the location, or AWS_REGION"
            }
            "RequestTimeTooSkewed" => "; set this machine's clock",
            "NoSuchBucket" => "; is the bucket's name right?",
            _ if self.status == 403 => "; what these keys may do is set where they were made",
            _ if matches!(self.status, 301 | 302 | 307 | 308) => {
                "; it sends elsewhere, which is not followed"
            }
            _ => "",
        }
    }

    /// All of it in a line.
    pub(super) fn words(&self) -> String {
        let code = printable(self.code());
        let message = printable(&self.said.message);
        let said = match (code.is_empty(), message.is_empty()) {
            (true, true) => String::new(),
            (true, false) => format!(": {message}"),
            (false, true) => format!(": {code}"),
            (false, false) => format!(": {code}: {message}"),
        };
        let lies = match &self.region {
            Some(region) if matches!(self.status, 301 | 307 | 400) => {
                format!("; the bucket lies in {}", printable(region))
            }
            _ => String::new(),
        };
        format!("the server answers {}{said}{lies}{}", self.status, self.advice())
    }

    /// What it means for an operation on an object.
    pub(super) fn sorted(self, object: &str, operation: &'static str) -> Failed {
        let object = object.to_owned();
        let words = self.words();
        if self.is_full() {
            return Failed::ForGood(Error::NoSpace { object, operation });
        }
        let is_for_now = self.is_for_now();
        if !is_for_now && (matches!(self.status, 401 | 403) || self.is_of_keys()) {
            return Failed::ForGood(Error::Denied { object, reason: words });
        }
        let error = Error::Io { object, operation, source: io::Error::other(words) };
        match is_for_now {
            true => Failed::ForNow { error, after: self.retry_after },
            false => Failed::ForGood(error),
        }
    }
}

/// A server's words as they may be shown: one line, no longer than that, plain characters.
fn printable(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= WORDS_MAX {
            out.push_str("...");
            break;
        }
        match character {
            ' '..='~' => out.push(character),
            character if character.is_alphanumeric() => out.push(character),
            character => out.extend(character.escape_default()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str) -> Refusal {
        Refusal {
            status,
            said: Said { code: code.to_owned(), message: "so it is".to_owned(), region: None },
            ..Refusal::default()
        }
    }

    #[test]
    fn what_passes_is_for_now_and_what_does_not_is_for_good() {
        for (status, code) in [
            (500, ""),
            (500, "InternalError"),
            (502, ""),
            (503, "SlowDown"),
            (504, ""),
            (429, ""),
            (408, ""),
            (400, "RequestTimeout"),
            (400, "BadDigest"),
            (403, "RequestTimeTooSkewed"),
            (409, "OperationAborted"),
            (200, "InternalError"),
        ] {
            let failed = refusal(status, code).sorted("o", "read");
            assert!(
                matches!(failed, Failed::ForNow { error: Error::Io { .. }, .. }),
                "{status} {code}: {failed:?}"
            );
        }
        for (status, code) in [
            (400, "InvalidRequest"),
            (405, ""),
            (501, "NotImplemented"),
            (301, "PermanentRedirect"),
            (200, "Other"),
        ] {
            let failed = refusal(status, code).sorted("o", "read");
            assert!(matches!(failed, Failed::ForGood(Error::Io { .. })), "{status} {code}: {failed:?}");
        }
        for (status, code) in
            [(403, "AccessDenied"), (403, ""), (401, ""), (400, "ExpiredToken"), (403, "InvalidAccessKeyId")]
        {
            let failed = refusal(status, code).sorted("o", "read");
            assert!(matches!(failed, Failed::ForGood(Error::Denied { .. })), "{status} {code}: {failed:?}");
        }
        for (status, code) in [(507, ""), (403, "QuotaExceeded"), (503, "XMinioStorageFull")] {
            let failed = refusal(status, code).sorted("o", "write");
            assert!(matches!(failed, Failed::ForGood(Error::NoSpace { .. })), "{status} {code}: {failed:?}");
        }
        let wait = Some(Duration::from_secs(7));
        let failed = Refusal { retry_after: wait, ..refusal(503, "SlowDown") }.sorted("o", "read");
        assert!(matches!(failed, Failed::ForNow { after, .. } if after == wait));
    }

    #[test]
    fn words_of_a_server_are_one_short_line_and_say_what_to_do() {
        let mut refusal = refusal(403, "AccessDenied");
        assert_eq!(
            refusal.words(),
            "the server answers 403: AccessDenied: so it is; what these keys may do is set where they were made"
        );
        refusal.said.message = format!("\x1b[2J\r\n\u{202e}{}", "x".repeat(100_000));
        let words = refusal.words();
        assert!(words.len() < 500 && !words.contains(|c: char| c.is_control() || c == '\u{202e}'), "{words}");
        let moved = Refusal { region: Some("eu-west-1".into()), ..self::refusal(301, "PermanentRedirect") };
        assert!(
            moved.words().contains("the bucket lies in eu-west-1; give the endpoint"),
            "{}",
            moved.words()
        );
        assert_eq!(Refusal { status: 405, ..Refusal::default() }.words(), "the server answers 405");
    }
}
