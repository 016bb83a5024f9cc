//! A repository in a bucket of an object store that speaks S3: one object for each, under the names of docs/format.md section 1.

mod address;
mod client;
mod clock;
mod credentials;
mod listing;
mod options;
mod place;
mod refusal;
mod request;
mod xml;

use std::sync::OnceLock;

use rusty_s3::Method;
use sha2::{Digest, Sha256};

use super::{Backend, Entry, Error, Failed, Kind, checked_path, listed_together};
use crate::model::Time;
use crate::network::base64;
use address::Address;
use client::Client;
pub use options::Options;
use request::{Answer, Reply, Request};

/// What `get` takes at most, bytes: more than any object of a repository has.
const OBJECT_BYTES_MAX: u64 = 1 << 30;
/// No object of S3 is longer, so a range that ends behind that ends behind the object. Such numbers are not sent.
const S3_BYTES_MAX: u64 = 5 << 40;
/// What is read of the answer to a write.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// Requests that are worth while at a time: each waits for a round trip, and for as long as the server takes.
const REQUESTS_AT_ONCE: usize = 8;
/// In what an object's checksum comes and goes.
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// A repository in a bucket, or in the part of it under a prefix. Connections are kept and shared by threads.
pub struct S3 {
    client: Client,
    lag: OnceLock<Option<u64>>,
}

impl S3 {
    /// The repository at what stands after `s3:` in a location. Touches nothing. Errors: `Unsupported` for what is no such address.
    pub fn new(address: &str, options: Options) -> Result<S3, Error> {
        Ok(S3 { client: Client::new(Address::parse(address)?, options), lag: OnceLock::new() })
    }

    /// A request about an object of the repository.
    fn about<'a>(
        &self,
        kind: Kind,
        name: &str,
        method: Method,
        operation: &'static str,
    ) -> Result<Request<'a>, Error> {
        let path = checked_path(&self.client.address.named(""), kind, name)?;
        Ok(self.at(&path, method, operation))
    }

    /// A request about what lies at a path below the repository.
    fn at<'a>(&self, path: &str, method: Method, operation: &'static str) -> Request<'a> {
        let address = &self.client.address;
        Request::new(method, address.named(path), operation).key(format!("{}{path}", address.prefix))
    }

    /// Sends bytes with a checksum that the server compares. Whether they are stored; false when they were to be only where nothing is, and
    /// something is.
    fn upload<'a>(&self, request: Request<'a>, bytes: &'a [u8], only_new: bool) -> Result<bool, Error> {
        let checksum = base64(&Sha256::digest(bytes));
        let mut request = request.header(CHECKSUM, checksum.clone());
        request.body = Some(bytes);
        if only_new {
            request = request.header("if-none-match", "*");
        }
        let stored = self.client.run(&request, |_, reply| match reply {
            Reply::Done(answer) => {
                let told = answer.header(CHECKSUM).map(str::to_owned);
                answer.at_most(&request, ANSWER_BYTES_MAX)?;
                match told {
                    Some(told) if told.trim() != checksum => {
                        Err(request.for_now("the server stored other bytes than were sent"))
                    }
                    _ => Ok(Some(true)),
                }
            }
            Reply::Taken if only_new => Ok(Some(false)),
            Reply::Unknown(_) if only_new => Ok(None),
            other => Err(request.unexpected(other)),
        })?;
        match stored {
            Some(stored) => Ok(stored),
            None => {
                // A server without conditions.
                request.headers.retain(|(name, _)| *name != "if-none-match");
                self.client.run(&request, |_, reply| match reply {
                    Reply::Done(answer) => answer.at_most(&request, ANSWER_BYTES_MAX).map(|_| true),
                    other => Err(request.unexpected(other)),
                })
            }
        }
    }

    /// Whether an object of this length is there; another length is an error.
    fn is_present(&self, kind: Kind, name: &str, length: usize) -> Result<bool, Error> {
        match self.stat(kind, name) {
            Ok(size) if size == length as u64 => Ok(true),
            Ok(_) => Err(Error::Exists { object: self.client.address.named(&kind.path_of(name)) }),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Stores what has a name that is no hash, only where nothing is. Servers that know no conditions leave a moment between asking and
    /// storing, in which another's bytes can be replaced.
    fn put_first(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if self.is_present(kind, name, bytes.len())? {
            return Ok(());
        }
        let request = self.about(kind, name, Method::Put, "write")?;
        if self.upload(request, bytes, true)? {
            return Ok(());
        }
        // Another writer was faster, or the reply to a try that succeeded was lost.
        match self.is_present(kind, name, bytes.len())? {
            true => Ok(()),
            false => {
                let request = self.about(kind, name, Method::Put, "write")?;
                Err(request.wrong("another one wrote and removed it at the same moment"))
            }
        }
    }

    /// What is listed, when it is an object of that kind.
    fn entry(&self, object: &xml::Listed, kind: Kind) -> Option<Entry> {
        let path = object.key.strip_prefix(&self.client.address.prefix)?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let is_one = kind.is_name(name) && kind.path_of(name) == path;
        Some(Entry { name: name.to_owned(), size: object.size.filter(|_| is_one)? })
    }

    /// The part that was asked for, of an answer to that.
    fn part(
        &self,
        request: &Request<'_>,
        answer: Answer,
        offset: u64,
        wanted: u64,
    ) -> Result<Vec<u8>, Failed> {
        let short = |size: u64| {
            let got = size.saturating_sub(offset);
            Failed::ForGood(Error::Short { object: request.object.clone(), offset, wanted, got })
        };
        if answer.status != 206 {
            // It sends all of it.
            return match answer.length() {
                Some(size) if size < offset.saturating_add(wanted) => Err(short(size)),
                _ => answer.part(request, offset, wanted),
            };
        }
        match answer.range() {
            (Some((first, last)), size) if first == offset && last >= first => {
                let there = (last - first).saturating_add(1);
                match size {
                    _ if there == wanted => answer.exactly(request, wanted),
                    Some(size) if there < wanted && size == last.saturating_add(1) => Err(short(size)),
                    _ => Err(request.for_now("the server gives another part than was asked for")),
                }
            }
            _ => Err(request.for_now("the server does not say which part it gives")),
        }
    }
}

/// Whether an object of this kind has a name that does not come from its bytes, so that the first writer's have to stay.
fn is_first_come(kind: Kind) -> bool {
    matches!(kind, Kind::Config | Kind::Fences)
}

impl Backend for S3 {
    fn location(&self) -> String {
        self.client.address.text.clone()
    }

    /// Where the name comes from the bytes (or from its only writer) it is sent without asking: the same bytes again hurt nobody, and
    /// stand in for what was damaged. Only `Config` and `Fences` are not overwritten, as far as the server knows conditions.
    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if is_first_come(kind) {
            return self.put_first(kind, name, bytes);
        }
        self.replace(kind, name, bytes)
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let request = self.about(kind, name, Method::Put, "write")?;
        self.upload(request, bytes, false).map(|_| ())
    }

    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.get_at_most(kind, name, OBJECT_BYTES_MAX)
    }

    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let request = self.about(kind, name, Method::Get, "read")?;
        self.client.run(&request, |_, reply| match reply {
            Reply::Done(answer) => {
                let size =
                    answer.length().ok_or_else(|| request.wrong("the server does not say how long it is"))?;
                if size > most {
                    return Err(Failed::ForGood(Error::TooLong { object: request.object.clone() }));
                }
                let bytes = answer.exactly(&request, size)?;
                match bytes.first() {
                    Some(b'<') if xml::error(&bytes).is_some() => {
                        Err(request.for_now("the server sends an error where the object should be"))
                    }
                    _ => Ok(bytes),
                }
            }
            other => Err(request.unexpected(other)),
        })
    }

    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let request = self.about(kind, name, Method::Get, "read")?;
        let wanted = length as u64;
        let end = offset.saturating_add(wanted);
        let object = request.object.clone();
        let short = |size: u64| {
            let got = size.saturating_sub(offset);
            Error::Short { object: object.clone(), offset, wanted, got }
        };
        if wanted == 0 || end > S3_BYTES_MAX {
            let size = self.stat(kind, name)?;
            return if wanted == 0 && offset <= size { Ok(Vec::new()) } else { Err(short(size)) };
        }
        let request = request.header("range", format!("bytes={offset}-{}", end - 1));
        let part = self.client.run(&request, |_, reply| match reply {
            Reply::Done(answer) => self.part(&request, answer, offset, wanted).map(Ok),
            Reply::Outside(size) => Ok(Err(size)),
            other => Err(request.unexpected(other)),
        })?;
        part.or_else(|size| Err(short(size.map_or_else(|| self.stat(kind, name), Ok)?)))
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        let prefix = format!("{}/", kind.folder());
        self.each_page(&prefix, false, &mut |page| {
            for object in &page.objects {
                if let Some(entry) = self.entry(object, kind) {
                    each(entry);
                }
            }
            Ok(true)
        })
    }

    /// Kinds whose folders follow each other are one listing, with what lies between them.
    fn list_kinds(&self, kinds: &[Kind], each: &mut dyn FnMut(Kind, Entry)) -> Result<(), Error> {
        for run in listed_together(kinds) {
            match run {
                [] => {}
                [kind] => self.list(*kind, &mut |entry| each(*kind, entry))?,
                [first, .., last] => {
                    // `0` comes after `/`, and no folder's name has it in that place.
                    let end = format!("{}{}0", self.client.address.prefix, last.folder());
                    self.each_page_after(&format!("{}/", first.folder()), &mut |page| {
                        for object in &page.objects {
                            for kind in run {
                                if let Some(entry) = self.entry(object, *kind) {
                                    each(*kind, entry);
                                }
                            }
                        }
                        Ok(page.objects.last().is_none_or(|object| object.key < end))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        let request = self.about(kind, name, Method::Head, "look at")?;
        self.client.run(&request, |_, reply| match reply {
            Reply::Done(answer) => answer
                .length()
                .ok_or_else(|| Failed::ForGood(request.wrong("the server does not say how long it is"))),
            other => Err(request.unexpected(other)),
        })
    }

    /// S3 does not tell whether it was there: `NotFound` only comes from servers that do.
    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        self.remove_at(&kind.path_of(checked(self, kind, name)?))
    }

    /// The time of an answer that came just now, else of one to a small question. To a second.
    fn time(&self) -> Result<Time, Error> {
        if let Some(now) = self.client.clock.now() {
            return Ok(now);
        }
        let asked = Kind::Config.path_of(&"0".repeat(Kind::Config.name_length()));
        let request = self.at(&asked, Method::Head, "ask for the time");
        self.client.run(&request, |_, reply| match reply {
            Reply::Done(_) | Reply::Missing => Ok(()),
            other => Err(request.unexpected(other)),
        })?;
        self.client.clock.now().ok_or_else(|| Error::Unsupported {
            object: self.location(),
            reason: "the server's answers do not tell its time".to_owned(),
        })
    }

    /// Tried out the first time it is asked: several small objects are listed as soon as they are put, and not any more once they are removed.
    /// That shows a server whose listings lag, not that one's never do under load; of those that are used (Amazon's since 2020, and what
    /// keeps one index of a bucket) that is known.
    fn listing_lag_seconds(&self) -> Option<u64> {
        *self.lag.get_or_init(|| self.probe_listing())
    }

    fn puts_over(&self) -> bool {
        true
    }

    fn requests_at_once(&self) -> usize {
        REQUESTS_AT_ONCE
    }

    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        self.remove_probes(before)
    }

    fn create(&self) -> Result<(), Error> {
        self.prepare()
    }
}

/// The name, when it is one.
fn checked<'n>(storage: &S3, kind: Kind, name: &'n str) -> Result<&'n str, Error> {
    checked_path(&storage.client.address.named(""), kind, name).map(|_| name)
}
