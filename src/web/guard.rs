//! Who may look: whoever shows the token of this run, asks this very address, and was not sent by the page of somebody else.

use std::net::{IpAddr, SocketAddr};

use super::request::{Method, Request};
use crate::crypto;
use crate::model::Id16;
use crate::repository::Error;

/// The key of one run.
pub struct Guard {
    address: SocketAddr,
    token: String,
    /// What forms carry that change something: who only has the cookie does not know it.
    form: String,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was meant for another host.
    Host,
    /// The page of another site asks.
    Foreign,
    /// No token, or not the one of this run.
    Token,
}

/// Whether a request comes with the cookie, or brings the token to get one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Known,
    New,
}

/// Compares in a time that says nothing of where they differ: hashes of both are compared, and those without a branch.
fn equal(given: &[u8], wanted: &str) -> bool {
    blake3::hash(given) == blake3::hash(wanted.as_bytes())
}

impl Guard {
    pub fn new(address: SocketAddr) -> Result<Guard, Error> {
        let text = || Ok::<_, Error>(Id16(crypto::random()?).to_string());
        Ok(Guard { address, token: text()?, form: text()? })
    }

    pub fn url(&self) -> String {
        format!("http://{}/?token={}", self.address, self.token)
    }

    /// The cookie's name: browsers send cookies to all ports of a host.
    fn cookie_name(&self) -> String {
        format!("copal-{}", self.address.port())
    }

    /// The header that sets the cookie.
    pub fn cookie(&self) -> String {
        format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie_name(), self.token)
    }

    /// What forms carry that change something.
    pub fn form(&self) -> &str {
        &self.form
    }

    /// Whether the page is for this machine alone: only then anything is written here.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    fn is_own_host(&self, host: &str) -> bool {
        if !self.address.ip().is_unspecified() {
            return host.eq_ignore_ascii_case(&self.address.to_string());
        }
        // All addresses of this machine: a name could be led here by whoever owns it, an address can not.
        host.parse::<SocketAddr>().is_ok_and(|host| host.port() == self.address.port())
            || self.address.port() == 80 && host.parse::<IpAddr>().is_ok()
    }

    /// Lets a request in, or not. Nothing of it is looked at before that but its head.
    pub fn check(&self, request: &Request) -> Result<Entry, Refusal> {
        if !request.host.as_deref().is_some_and(|host| self.is_own_host(host)) {
            return Err(Refusal::Host);
        }
        let given = request.value(b"token").filter(|_| request.method == Method::Get && request.is_top());
        if let Some(given) = given {
            return if equal(given, &self.token) { Ok(Entry::New) } else { Err(Refusal::Token) };
        }
        let site = request.site.as_deref();
        let is_own_site = match request.method {
            Method::Get => site.is_none_or(|site| matches!(site, "same-origin" | "none")),
            Method::Post => site.is_none_or(|site| site == "same-origin") && self.is_own_origin(request),
        };
        if !is_own_site {
            return Err(Refusal::Foreign);
        }
        let name = self.cookie_name();
        // Every one of that name: another program of this host may have set one beside it.
        let known = request
            .cookies()
            .filter(|(key, _)| *key == name)
            .fold(false, |known, (_, value)| equal(value.as_bytes(), &self.token) || known);
        if known { Ok(Entry::Known) } else { Err(Refusal::Token) }
    }

    fn is_own_origin(&self, request: &Request) -> bool {
        let origin = request.origin.as_deref().and_then(|origin| origin.strip_prefix("http://"));
        origin.is_some_and(|origin| self.is_own_host(origin))
    }

    /// Whether the body of a form has what forms of this run carry.
    pub fn is_own_form(&self, request: &Request) -> bool {
        request.field(b"form").is_some_and(|given| equal(given, &self.form))
    }
}
