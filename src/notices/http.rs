//! One request to a server, tried a few times; the certificates and proxies are those of the system.

use std::io::Read;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Uri};

use super::Options;
use super::hide::host_of;
use crate::network::{self, Trouble, base64, decoded};
use crate::terminal::escape::line;
use crate::terminal::size::{show_count, show_duration};

/// How much of the answer of a server that refuses is shown.
const ANSWER_BYTES_MAX: u64 = 200;

/// A request: GET without a body, POST with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Vec<u8>>,
}

/// Why one try did not succeed.
struct Failed {
    what: String,
    /// Whether another try may succeed.
    again: bool,
}

/// A request as it is sent.
struct Ready {
    request: ureq::http::Request<()>,
    body: Option<Vec<u8>>,
    host: String,
    scheme: String,
}

/// Sends it; a message names the host, and nothing else of the address.
pub fn send(request: &Request, options: &Options<'_>) -> Result<(), String> {
    let named = |what: String| format!("{}: {what}", host_of(&request.url));
    let ready = ready(request).map_err(named)?;
    let limits = network::Limits { whole: Some(options.time_limit), ..Default::default() };
    let agent = network::client(&ready.scheme, &ready.host, options.environment, limits);
    let agent = agent.map_err(|trouble| match trouble {
        Trouble::Certificates(what) => named(what),
        Trouble::Proxy(url) => {
            named(format!("the proxy {} can not be used; it begins with http:// or https://", host_of(&url)))
        }
    })?;
    let mut pause = options.pause;
    let mut tries = 1;
    loop {
        match once(&agent, &ready, options.time_limit) {
            Ok(()) => return Ok(()),
            Err(failed) if failed.again && tries < options.tries => {
                tries += 1;
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(failed) if tries > 1 => {
                return Err(named(format!("{} ({})", failed.what, show_count(u64::from(tries), "try"))));
            }
            Err(failed) => return Err(named(failed.what)),
        }
    }
}

/// Whether it could be sent.
pub fn check(request: &Request) -> Result<(), String> {
    ready(request).map(|_| ()).map_err(|what| format!("{}: {what}", host_of(&request.url)))
}

fn once(agent: &ureq::Agent, ready: &Ready, limit: Duration) -> Result<(), Failed> {
    let request = ready.request.clone();
    let answer = match &ready.body {
        None => agent.run(request),
        Some(body) => agent.run(request.map(|()| body.as_slice())),
    };
    let mut answer = answer.map_err(|error| {
        let (what, again) = network::explain(&error, &show_duration(limit));
        Failed { what, again }
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        let what =
            format!("it sends elsewhere, to {}, which is not followed; write that address", host_of(to));
        return Err(Failed { what, again: false });
    }
    let mut text = Vec::new();
    // Why it refuses is good to know, and no more than that.
    let _ = answer.body_mut().as_reader().take(ANSWER_BYTES_MAX).read_to_end(&mut text);
    let text = line(text.trim_ascii());
    let says = if text.is_empty() { String::new() } else { format!(": {text}") };
    let again = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
    Err(Failed { what: format!("it answers {status}{says}"), again })
}

/// Makes the request, or says what is wrong with it.
fn ready(request: &Request) -> Result<Ready, String> {
    let url = request.url.split('#').next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").ok_or("no URL; it begins with https:// or http://")?;
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" && scheme != "http" {
        return Err("no URL; it begins with https:// or http://".to_owned());
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (user, place) = match rest[..end].rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let uri: Uri =
        format!("{scheme}://{place}").parse().map_err(|_| "not a URL as it should be".to_owned())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or("a URL without a host")?.to_owned();
    let method = if request.body.is_some() { "POST" } else { "GET" };
    let mut builder = ureq::http::Request::builder().method(method).uri(uri);
    if let Some(user) = user
        && !request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization"))
    {
        builder = builder.header("Authorization", format!("Basic {}", base64(&decoded(user))));
    }
    for (name, value) in &request.headers {
        let wrong = |_| format!("header {} has a name or value that can not be sent", line(name.as_bytes()));
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong(()))?;
        builder = builder.header(field, HeaderValue::from_str(value).map_err(|_| wrong(()))?);
    }
    let body = request.body.clone();
    let request = builder.body(()).map_err(|error| error.to_string())?;
    Ok(Ready { request, body, host, scheme })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(url: &str) -> Request {
        Request { url: url.into(), headers: Vec::new(), body: None }
    }

    #[test]
    fn users_in_urls_become_a_header_and_fragments_stay_here() {
        let ready = ready(&request("HTTPS://ann:p%40ss@Host.example:8443/a?b=c#d")).map_err(|_| ()).unwrap();
        assert_eq!(ready.request.uri().to_string(), "https://Host.example:8443/a?b=c");
        assert_eq!(ready.request.headers()["authorization"], format!("Basic {}", base64(b"ann:p@ss")));
        assert_eq!((ready.host.as_str(), ready.request.method().as_str()), ("Host.example", "GET"));
    }

    #[test]
    fn headers_can_not_smuggle_others_in() {
        for (name, value) in
            [("X-A", "a\r\nX-B: c"), ("X-A", "a\0"), ("X:A", "b"), ("", "b"), ("X-A", "\u{e9}\n")]
        {
            let bad = Request { headers: vec![(name.into(), value.into())], ..request("https://host/") };
            assert!(check(&bad).unwrap_err().contains("header"), "{name}: {value:?}");
        }
        for url in ["https://host/\r\nX: y", "https://ho st/", "https:///x", "host", "file:///etc/passwd"] {
            assert!(check(&request(url)).is_err(), "{url}");
        }
    }
}
