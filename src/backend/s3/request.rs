//! One request to an object store as it is meant, and its answer.

use std::io::{self, Read};

use rusty_s3::Method;

use super::super::{Error, Failed, room};
use super::clock::http_date;
use super::refusal::Refusal;
use crate::model::Time;

/// Bodies that are longer are sent once the server said that it takes them: one that refuses would else close the connection while it is
/// written to, and why would not be read.
pub(super) const ASKED_FIRST_BYTES: usize = 256 << 10;

/// A request as it is meant; how it is addressed and signed is up to each try.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// The object's key; none for the bucket itself.
    pub(super) key: Option<String>,
    /// Sorted by name.
    pub(super) query: Vec<(&'static str, String)>,
    /// Those that begin with `x-amz-` are signed; of these at most one.
    pub(super) headers: Vec<(&'static str, String)>,
    /// None for what has no body by its nature.
    pub(super) body: Option<&'a [u8]>,
    /// For messages.
    pub(super) object: String,
    /// A verb that goes after "cannot".
    pub(super) operation: &'static str,
}

impl Request<'_> {
    pub(super) fn new<'a>(method: Method, object: String, operation: &'static str) -> Request<'a> {
        Request { method, key: None, query: Vec::new(), headers: Vec::new(), body: None, object, operation }
    }

    pub(super) fn key(self, key: impl Into<String>) -> Self {
        Request { key: Some(key.into()), ..self }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A failure that the next try may not have.
    pub(super) fn for_now(&self, what: impl Into<String>) -> Failed {
        Failed::ForNow { error: self.wrong(what), after: None }
    }

    /// A failure.
    pub(super) fn wrong(&self, what: impl Into<String>) -> Error {
        let source = io::Error::other(what.into());
        Error::Io { object: self.object.clone(), operation: self.operation, source }
    }

    /// What an answer means that this request can not have.
    pub(super) fn unexpected(&self, reply: Reply) -> Failed {
        match reply {
            Reply::Missing => Failed::ForGood(self.not_found()),
            Reply::Unknown(refusal) => refusal.sorted(&self.object, self.operation),
            Reply::Done(answer) => Failed::ForGood(
                self.wrong(format!("the server answers {}, which is no answer to this", answer.status)),
            ),
            Reply::Taken => Failed::ForGood(self.wrong("the server answers 412 to what has no condition")),
            Reply::Outside(_) => Failed::ForGood(self.wrong("the server answers 416 to what has no range")),
        }
    }

    pub(super) fn not_found(&self) -> Error {
        Error::NotFound { object: self.object.clone() }
    }
}

/// What came of a request.
pub(super) enum Reply {
    Done(Answer),
    /// 404.
    Missing,
    /// 412: the condition does not hold.
    Taken,
    /// 416: no byte of the range is there. The object's size, when it is told.
    Outside(Option<u64>),
    /// 501: the server does not know what was asked for.
    Unknown(Refusal),
}

/// An answer whose body is still to be read.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: ureq::http::HeaderMap,
    pub(super) body: ureq::Body,
}

impl Answer {
    pub(super) fn new(answer: ureq::http::Response<ureq::Body>) -> Answer {
        let (parts, body) = answer.into_parts();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's time; none of an answer that a cache had.
    pub(super) fn date(&self) -> Option<Time> {
        if self.header("age").is_some() { None } else { http_date(self.header("date")?) }
    }

    /// How long the body is said to be, bytes.
    pub(super) fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// First, last and size of the whole, of `Content-Range: bytes 3-9/10`; the size alone of `bytes */10`.
    pub(super) fn range(&self) -> (Option<(u64, u64)>, Option<u64>) {
        let Some((part, size)) = self
            .header("content-range")
            .and_then(|text| text.trim().strip_prefix("bytes")?.trim().split_once('/'))
        else {
            return (None, None);
        };
        let bounds = part
            .split_once('-')
            .and_then(|(first, last)| Some((first.trim().parse().ok()?, last.trim().parse().ok()?)));
        (bounds, size.trim().parse().ok())
    }

    /// The body of that many bytes. Fewer are a failure that may pass.
    pub(super) fn exactly(self, request: &Request<'_>, wanted: u64) -> Result<Vec<u8>, Failed> {
        let bytes = room(&request.object, wanted)?;
        self.up_to(request, wanted, bytes).and_then(|bytes| {
            let got = bytes.len() as u64;
            match got == wanted {
                true => Ok(bytes),
                false => Err(request.for_now(format!("the answer has {got} of {wanted} bytes"))),
            }
        })
    }

    /// The body, of which more than that many bytes are a failure for good.
    pub(super) fn at_most(self, request: &Request<'_>, most: u64) -> Result<Vec<u8>, Failed> {
        self.up_to(request, most, Vec::new())
    }

    fn up_to(mut self, request: &Request<'_>, most: u64, mut bytes: Vec<u8>) -> Result<Vec<u8>, Failed> {
        // To the end and no further than that: then the connection is good for the next request.
        let read = self.body.as_reader().take(most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| request.for_now(format!("the answer broke off: {error}")))?;
        if bytes.len() as u64 > most {
            return Err(Failed::ForGood(request.wrong(format!("the answer has more than {most} bytes"))));
        }
        Ok(bytes)
    }

    /// Passes over so many bytes of the body, then gives that many: of a server that sends all when a part is asked for. The rest is not read.
    pub(super) fn part(mut self, request: &Request<'_>, offset: u64, wanted: u64) -> Result<Vec<u8>, Failed> {
        let broke = |error: io::Error| request.for_now(format!("the answer broke off: {error}"));
        let mut reader = self.body.as_reader();
        let passed = io::copy(&mut (&mut reader).take(offset), &mut io::sink()).map_err(broke)?;
        let mut bytes = room(&request.object, wanted)?;
        reader.take(wanted).read_to_end(&mut bytes).map_err(broke)?;
        let got = bytes.len() as u64;
        match passed == offset && got == wanted {
            true => Ok(bytes),
            false => Err(request.for_now(format!("the answer has {got} of {wanted} bytes"))),
        }
    }
}
