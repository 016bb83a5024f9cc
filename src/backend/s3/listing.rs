//! Listings, page by page, and whether they show at once what happened.

use rusty_s3::Method;

use super::super::{Error, Failed};
use super::request::{Reply, Request};
use super::xml::{self, Page};
use super::{S3, place};

/// A page of a thousand keys of 1 KiB each, with all that is told of each, is a fourth of this.
const PAGE_BYTES_MAX: u64 = 8 << 20;
/// How often it is tried whether listings lag.
const PROBES: usize = 3;

impl S3 {
    /// Calls for every page of what lies below the repository and begins so, until that says no; `folders`: with what lies in folders put
    /// together under their names. Each page is tried by itself, so that nothing comes twice. Errors: `NotFound` when there is no bucket.
    pub(super) fn each_page(
        &self,
        begins: &str,
        folders: bool,
        each: &mut dyn FnMut(Page) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.pages(begins, folders, None, each)
    }

    /// The same of what comes after a path below the repository, in the order of the names.
    pub(super) fn each_page_after(
        &self,
        after: &str,
        each: &mut dyn FnMut(Page) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        self.pages("", false, Some(after), each)
    }

    fn pages(
        &self,
        begins: &str,
        folders: bool,
        after: Option<&str>,
        each: &mut dyn FnMut(Page) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut token: Option<String> = None;
        loop {
            let mut page = self.page(begins, folders, after, token.as_deref())?;
            let next = page.next.take();
            if next.is_some() && next == token {
                let request = self.listing(begins);
                return Err(request.wrong("the server's listing goes round in a circle"));
            }
            if !each(page)? || next.is_none() {
                return Ok(());
            }
            token = next;
        }
    }

    fn listing<'a>(&self, begins: &str) -> Request<'a> {
        Request::new(Method::Get, self.client.address.named(begins.trim_end_matches('/')), "list")
    }

    fn page(
        &self,
        begins: &str,
        folders: bool,
        after: Option<&str>,
        token: Option<&str>,
    ) -> Result<Page, Error> {
        let mut request = self.listing(begins);
        // In the order of their names.
        request.query.extend(token.map(|token| ("continuation-token", token.to_owned())));
        request.query.extend(folders.then(|| ("delimiter", "/".to_owned())));
        request.query.push(("encoding-type", "url".to_owned()));
        request.query.push(("list-type", "2".to_owned()));
        let prefix = &self.client.address.prefix;
        request.query.push(("prefix", format!("{prefix}{begins}")));
        request.query.extend(after.map(|after| ("start-after", format!("{prefix}{after}"))));
        self.client.run(&request, |_, reply| match reply {
            Reply::Done(answer) => {
                let body = answer.at_most(&request, PAGE_BYTES_MAX)?;
                xml::page(&body).ok_or_else(|| match xml::error(&body) {
                    Some(said) => {
                        let refusal = super::refusal::Refusal { status: 200, said, ..Default::default() };
                        refusal.sorted(&request.object, request.operation)
                    }
                    None => request.for_now("the answer is no listing of S3, or not all of it"),
                })
            }
            other => Err(request.unexpected(other)),
        })
    }

    /// Zero when listings show at once what was put and removed, as often as that is tried; else nothing is known.
    pub(super) fn probe_listing(&self) -> Option<u64> {
        (0..PROBES).all(|_| self.probe().unwrap_or(false)).then_some(0)
    }

    fn probe(&self) -> Result<bool, Error> {
        let path = place::probe_path();
        let is_listed = || {
            let key = format!("{}{path}", self.client.address.prefix);
            let mut found = false;
            self.each_page(&path, false, &mut |page| {
                found |= page.objects.iter().any(|object| object.key == key);
                Ok(true)
            })
            .map(|()| found)
        };
        self.upload(self.at(&path, Method::Put, "write"), b"copal tries whether listings lag", false)?;
        let came = is_listed();
        self.remove_at(&path)?;
        Ok(came? && !is_listed()?)
    }

    /// Removes what lies at a path. Errors: `NotFound` when the server tells that nothing does.
    pub(super) fn remove_at(&self, path: &str) -> Result<(), Error> {
        let request = self.at(path, Method::Delete, "remove");
        self.client.run(&request, |number, reply| match reply {
            Reply::Done(answer) => answer.at_most(&request, super::ANSWER_BYTES_MAX).map(|_| ()),
            // A try before may have done it.
            Reply::Missing if number > 1 => Ok(()),
            Reply::Missing => Err(Failed::ForGood(request.not_found())),
            other => Err(request.unexpected(other)),
        })
    }
}
