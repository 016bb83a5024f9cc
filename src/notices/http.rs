//! One request to a server, tried a few times; the certificates and proxies are those of the system.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::encode::base64;
use super::hide::host_of;
use super::{Lookup, Options};
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
    let proxy = proxy_for(&ready.scheme, &ready.host, options.environment);
    let proxy = proxy
        .map(|url| {
            ureq::Proxy::new(&url).map_err(|_| {
                format!("the proxy {} can not be used; it begins with http:// or https://", host_of(&url))
            })
        })
        .transpose()
        .map_err(named)?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(authorities(&ready.scheme).map_err(named)?)))
        .build();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(options.time_limit))
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(proxy)
        .tls_config(tls)
        .user_agent(concat!("copal/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
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
    let mut answer = answer.map_err(|error| explain(&error, limit))?;
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

/// The certificates of the authorities that this system trusts, those of its own house with them (`SSL_CERT_FILE` names others).
fn authorities(scheme: &str) -> Result<Vec<Certificate<'static>>, String> {
    if scheme != "https" {
        return Ok(Vec::new());
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("this system has no certificates of authorities{why}; install ca-certificates"));
    }
    Ok(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

/// An error in words.
fn explain(error: &ureq::Error, limit: Duration) -> Failed {
    let text = error.to_string();
    let (what, again) = match error {
        ureq::Error::Timeout(_) => (format!("no answer within {}", show_duration(limit)), true),
        ureq::Error::HostNotFound => ("the host is not known; is the name right, and the network up?".into(), true),
        _ if text.contains("UnknownIssuer") => (
            "its certificate is not signed by an authority that this system trusts; add the authority's certificate to the system's"
                .into(),
            false,
        ),
        _ if text.contains("invalid peer certificate") => (text.trim_start_matches("io: ").into(), false),
        ureq::Error::Io(error) => (error.to_string(), true),
        _ => (text, true),
    };
    Failed { what, again }
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

/// Bytes whose `%41` are undone.
fn decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// The proxy that the environment names for a host; never for this machine itself.
fn proxy_for(scheme: &str, host: &str, environment: Lookup<'_>) -> Option<String> {
    let get = |name: &str| {
        let found = environment(name).or_else(|| environment(&name.to_ascii_uppercase()))?;
        found.into_string().ok().filter(|value| !value.is_empty())
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = bare.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback());
    if is_here || get("no_proxy").is_some_and(|list| is_excepted(bare, &list)) {
        return None;
    }
    let proxy = get(&format!("{scheme}_proxy")).or_else(|| get("all_proxy"))?;
    Some(if proxy.contains("://") { proxy } else { format!("http://{proxy}") })
}

/// Whether a list as in `no_proxy` names the host: itself, a domain above it, or all.
fn is_excepted(host: &str, list: &str) -> bool {
    let host = host.to_ascii_lowercase();
    list.split([',', ' ']).map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        let entry = entry.trim_start_matches('*').trim_start_matches('.');
        let above = host.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if entry.is_empty() { list.trim() == "*" } else { above }
    })
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

    #[test]
    fn proxies_are_those_of_the_environment() {
        let find = |scheme: &str, host: &str, set: &[(&str, &str)]| {
            let look =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            proxy_for(scheme, host, &look)
        };
        let all = [("HTTPS_PROXY", "proxy:3128"), ("http_proxy", "http://u:p@other:80")];
        assert_eq!(find("https", "hc-ping.com", &all).as_deref(), Some("http://proxy:3128"));
        assert_eq!(find("http", "hc-ping.com", &all).as_deref(), Some("http://u:p@other:80"));
        assert_eq!(find("https", "h", &[("all_proxy", "http://any")]).as_deref(), Some("http://any"));
        assert_eq!(find("https", "h", &[]), None);
        for here in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert_eq!(find("https", here, &all), None);
        }
        for (list, host, excepted) in [
            ("corp.example", "ntfy.corp.example", true),
            (".corp.example, other", "ntfy.CORP.example", true),
            ("*.corp.example", "ntfy.corp.example", true),
            ("corp.example", "notcorp.example", false),
            ("10.0.0.5", "10.0.0.5", true),
            ("*", "anything", true),
            ("", "anything", false),
            ("a,,b", "anything", false),
        ] {
            let set = [("https_proxy", "http://proxy"), ("no_proxy", list)];
            assert_eq!(find("https", host, &set).is_none(), excepted, "{list} {host}");
        }
    }
}
