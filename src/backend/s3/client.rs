//! Sending: each try is addressed and signed anew; what a wrong clock, region or key made the server refuse is put right and sent again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rusty_s3::{Bucket, Method, signing};

use super::super::{Error, Failed};
use super::address::{Address, is_region};
use super::clock::{ServerClock, retry_after};
use super::credentials::{self, Credentials};
use super::options::Options;
use super::refusal::Refusal;
use super::request::{ASKED_FIRST_BYTES, Answer, Reply, Request};
use super::xml;
use crate::locks::lock;
use crate::model::Time;
use crate::model::clock::{Clock, SystemClock};
use crate::network;

/// How long a signature is good for: as long as servers let clocks differ.
const SIGNED_SECONDS: u64 = 15 * 60;
/// A clock that differs by less is not what a server refuses.
const SKEW_SECONDS: f64 = 60.0;
/// How often one try is put right and sent again: time, region and keys, and one for what comes together.
const MENDED_MOST: usize = 4;
/// What is read of the body of an answer that is an error.
const ERROR_BYTES_MAX: u64 = 64 << 10;
/// Connections that are kept: more than threads use them.
const CONNECTIONS: usize = 32;

/// What requests are signed with. Replaced as a whole when it turns out to be wrong.
struct Signing {
    credentials: Credentials,
    region: String,
    bucket: Bucket,
    /// How far the server's clock is before this machine's.
    skew_seconds: i64,
}

/// The way to one bucket. Shared by threads.
pub(super) struct Client {
    pub(super) address: Address,
    options: Options,
    agent: OnceLock<ureq::Agent>,
    signing: Mutex<Option<Arc<Signing>>>,
    pub(super) clock: ServerClock,
    has_answered: AtomicBool,
}

impl Client {
    /// Touches nothing.
    pub(super) fn new(address: Address, options: Options) -> Client {
        Client {
            address,
            options,
            agent: OnceLock::new(),
            signing: Mutex::new(None),
            clock: ServerClock::default(),
            has_answered: AtomicBool::new(false),
        }
    }

    /// Sends a request until `read` has what it needs of the answer, or it is of no use; `read` is given the number of the try.
    pub(super) fn run<T>(
        &self,
        request: &Request<'_>,
        mut read: impl FnMut(u32, Reply) -> Result<T, Failed>,
    ) -> Result<T, Error> {
        // Until there was an answer, a slip in the location is more likely than an outage.
        let known = self.has_answered.load(Ordering::Relaxed);
        let patience = if known { self.options.patience } else { self.options.first_patience };
        patience.run(|number| read(number, self.send(request)?))
    }

    /// One try, put right where that helps.
    fn send(&self, request: &Request<'_>) -> Result<Reply, Failed> {
        let mut mended = 0;
        loop {
            let signing = self.signing(request)?;
            let (at, answer) = self.once(request, &signing)?;
            let refusal = match reply(request, answer)? {
                Ok(reply) => return Ok(reply),
                Err(refusal) => self.in_words(request, &signing, refusal)?,
            };
            if mended == MENDED_MOST || !self.mend(&refusal, &signing, at) {
                return Err(refusal.sorted(&request.object, request.operation));
            }
            mended += 1;
        }
    }

    /// Signs and sends. Gives the time of the signature with the answer.
    fn once(&self, request: &Request<'_>, signing: &Signing) -> Result<(Time, Answer), Failed> {
        let at = SystemClock.now().plus_seconds(signing.skew_seconds);
        let wrong = |what: &str| Failed::ForGood(request.wrong(what));
        let date = jiff::Timestamp::from_second(at.seconds)
            .map_err(|_| wrong("this machine's clock is far from any time"))?;
        let url = match &request.key {
            Some(key) => {
                signing.bucket.object_url(key).map_err(|_| wrong("its key is none that a URL can have"))?
            }
            None => signing.bucket.base_url().clone(),
        };
        let signed = request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-"));
        let url = signing::sign(
            &date,
            request.method,
            url,
            &signing.credentials.key,
            &signing.credentials.secret,
            signing.credentials.token.as_deref(),
            &signing.region,
            SIGNED_SECONDS,
            request.query.iter().map(|(name, value)| (*name, value.as_str())),
            signed.map(|(name, value)| (*name, value.as_str())),
        );
        let mut builder = ureq::http::Request::builder().method(request.method.to_str()).uri(url.as_str());
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        if request.body.is_some_and(|body| body.len() > ASKED_FIRST_BYTES) {
            builder = builder.header("expect", "100-continue");
        }
        let ready = builder.body(()).map_err(|_| wrong("it is no request that can be sent"))?;
        let agent = self.agent(request)?;
        let answer = match request.body {
            Some(body) => agent.run(ready.map(|()| body)),
            None => agent.run(ready),
        };
        let answer = Answer::new(answer.map_err(|error| {
            let limit = match &error {
                ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => self.options.connect,
                _ => self.options.stall,
            };
            match network::explain(&error, &format!("{} seconds", limit.as_secs_f32())) {
                (what, true) => request.for_now(what),
                (what, false) => wrong(&what),
            }
        })?);
        self.has_answered.store(true, Ordering::Relaxed);
        if let Some(date) = answer.date() {
            self.clock.note(date);
        }
        Ok((at, answer))
    }

    fn agent(&self, request: &Request<'_>) -> Result<&ureq::Agent, Failed> {
        if let Some(agent) = self.agent.get() {
            return Ok(agent);
        }
        let limits = network::Limits {
            whole: None,
            connect: Some(self.options.connect),
            stall: Some(self.options.stall),
            connections: CONNECTIONS,
        };
        let environment = |name: &str| self.options.variable(name);
        let made = network::client(&self.address.scheme, &self.address.host, &environment, limits);
        let agent = made.map_err(|trouble| {
            request.wrong(match trouble {
                network::Trouble::Certificates(what) => what,
                network::Trouble::Proxy(_) => {
                    "the proxy that the environment names can not be used; it begins with http:// or https://"
                        .to_owned()
                }
            })
        })?;
        Ok(self.agent.get_or_init(|| agent))
    }

    /// What to sign with; found at the first request.
    fn signing(&self, request: &Request<'_>) -> Result<Arc<Signing>, Failed> {
        let mut held = lock(&self.signing);
        if let Some(signing) = &*held {
            return Ok(Arc::clone(signing));
        }
        let denied = |reason: String| Error::Denied { object: request.object.clone(), reason };
        let found = credentials::find(&self.options).map_err(denied)?;
        let credentials = found
            .credentials
            .ok_or_else(|| denied(format!("there are no keys for this storage: {}", credentials::WHERE)))?;
        let region = self.address.first_region(found.region);
        let bucket = self.address.bucket_in(&region).ok_or_else(|| request.wrong("it is no URL"))?;
        let signing = Arc::new(Signing { credentials, region, bucket, skew_seconds: 0 });
        *held = Some(Arc::clone(&signing));
        Ok(signing)
    }

    /// Puts right what a request was signed with, when that may be why it was refused; whether anything changed.
    fn mend(&self, refusal: &Refusal, signing: &Arc<Signing>, at: Time) -> bool {
        // Another thread did it.
        if lock(&self.signing).as_ref().is_some_and(|held| !Arc::ptr_eq(held, signing)) {
            return true;
        }
        if let Some(date) = refusal.date
            && refusal.may_be_of_time()
            && date.seconds_since(at).abs() > SKEW_SECONDS
        {
            let skew_seconds = date.seconds_since(SystemClock.now()).round() as i64;
            return self.sign_with(Signing { skew_seconds, ..signing.copy() });
        }
        if refusal.may_be_of_region() {
            let region = refusal.region.clone().or_else(|| refusal.said.region.clone());
            if let Some(region) = region.filter(|region| is_region(region) && *region != signing.region)
                && let Some(bucket) = self.address.bucket_in(&region)
            {
                return self.sign_with(Signing { region, bucket, ..signing.copy() });
            }
        }
        if refusal.is_of_keys()
            && let Ok(credentials::Found { credentials: Some(credentials), .. }) =
                credentials::find(&self.options)
            && credentials != signing.credentials
        {
            return self.sign_with(Signing { credentials, ..signing.copy() });
        }
        false
    }

    fn sign_with(&self, signing: Signing) -> bool {
        *lock(&self.signing) = Some(Arc::new(signing));
        true
    }

    /// An answer to HEAD has no words. Why it was refused is told when a byte is asked for in the same way; when that is given, it was for
    /// a reason that passes.
    fn in_words(
        &self,
        request: &Request<'_>,
        signing: &Signing,
        refusal: Refusal,
    ) -> Result<Refusal, Failed> {
        let has_words = !refusal.said.code.is_empty() || refusal.region.is_some();
        if !matches!(request.method, Method::Head) || has_words || refusal.status >= 500 {
            return Ok(refusal);
        }
        let mut twin = Request::new(Method::Get, request.object.clone(), request.operation);
        twin.key.clone_from(&request.key);
        let twin = twin.header("range", "bytes=0-0");
        let (_, answer) = self.once(&twin, signing)?;
        match reply(&twin, answer)? {
            Err(told) => Ok(told),
            Ok(_) => Err(request.for_now(refusal.words())),
        }
    }

    /// The region that requests are signed for now.
    pub(super) fn region(&self) -> String {
        lock(&self.signing).as_ref().map(|signing| signing.region.clone()).unwrap_or_default()
    }
}

impl Signing {
    fn copy(&self) -> Signing {
        Signing {
            credentials: self.credentials.clone(),
            region: self.region.clone(),
            bucket: self.bucket.clone(),
            skew_seconds: self.skew_seconds,
        }
    }
}

/// Sorts an answer. An error in the body of a success is an error, which S3 has when it began to answer before it was done.
fn reply(request: &Request<'_>, answer: Answer) -> Result<Result<Reply, Refusal>, Failed> {
    let is_success = (200..300).contains(&answer.status);
    let is_xml = answer.header("content-type").is_some_and(|kind| kind.contains("xml"));
    let is_data = matches!(request.method, Method::Get | Method::Head);
    if is_success && (is_data || !is_xml) {
        return Ok(Ok(Reply::Done(answer)));
    }
    let (status, date, size) = (answer.status, answer.date(), answer.range().1);
    let region = answer.header("x-amz-bucket-region").filter(|name| is_region(name)).map(str::to_owned);
    let wait = answer.header("retry-after").and_then(|text| retry_after(text, date));
    let headers = answer.headers.clone();
    let body = match request.method {
        Method::Head => Vec::new(),
        // What can not be read of an error is not worth another.
        _ => answer.at_most(request, ERROR_BYTES_MAX).unwrap_or_default(),
    };
    let said = xml::error(&body);
    if is_success && said.is_none() {
        let body = ureq::Body::builder().data(body);
        return Ok(Ok(Reply::Done(Answer { status, headers, body })));
    }
    let refusal =
        Refusal { status, said: said.unwrap_or_default(), retry_after: wait.map(bounded), region, date };
    Ok(match status {
        404 if refusal.is_missing_bucket() && matches!(request.method, Method::Put) => Err(refusal),
        404 => Ok(Reply::Missing),
        412 => Ok(Reply::Taken),
        416 => Ok(Reply::Outside(size)),
        501 => Ok(Reply::Unknown(refusal)),
        409 if refusal.is_own_bucket() => Ok(Reply::Taken),
        _ => Err(refusal),
    })
}

/// A server may ask for patience, and not for ever.
fn bounded(wait: Duration) -> Duration {
    wait.min(Duration::from_secs(24 * 3600))
}
