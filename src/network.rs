//! What all have in common that talk to servers by HTTP: certificates, proxies, the client, its errors in words.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// Looks a variable of the environment up.
pub type Lookup<'a> = &'a (dyn Fn(&str) -> Option<OsString> + Sync);

/// The digits of base64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

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

/// Bytes whose `%41` are undone.
pub fn decoded(text: &str) -> Vec<u8> {
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

/// How long things may take, and how many connections are kept for the next request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// A whole request with its answer; none where bytes may take as long as they take.
    pub whole: Option<Duration>,
    /// Until there is a connection.
    pub connect: Option<Duration>,
    /// Without a single byte that comes or goes, once there is a connection.
    pub stall: Option<Duration>,
    pub connections: usize,
}

/// A client for one host: it trusts the system's authorities, goes through the environment's proxy, follows nothing, and gives answers of every
/// status as answers. Errors: when the system has no certificates or the proxy can not be used.
pub fn client(
    scheme: &str,
    host: &str,
    environment: Lookup<'_>,
    limits: Limits,
) -> Result<ureq::Agent, Trouble> {
    let proxy = proxy_for(scheme, host, environment)
        .map(|url| ureq::Proxy::new(&url).map_err(|_| Trouble::Proxy(url)))
        .transpose()?;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(authorities(scheme)?)))
        .build();
    let config = ureq::Agent::config_builder()
        .timeout_global(limits.whole)
        .timeout_connect(limits.connect)
        .timeout_per_read(limits.stall)
        .timeout_per_write(limits.stall)
        .max_idle_connections(limits.connections)
        .max_idle_connections_per_host(limits.connections)
        .max_redirects(0)
        .http_status_as_error(false)
        .proxy(proxy)
        .tls_config(tls)
        .user_agent(concat!("copal/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}

/// Why there can be no client.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The proxy of that URL can not be used. The URL may hold a password.
    Proxy(String),
    /// There are no certificates, and why.
    Certificates(String),
}

/// The certificates of the authorities that this system trusts, those of its own house with them (`SSL_CERT_FILE` names others).
fn authorities(scheme: &str) -> Result<Vec<Certificate<'static>>, Trouble> {
    if scheme != "https" {
        return Ok(Vec::new());
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(Trouble::Certificates(format!(
            "this system has no certificates of authorities{why}; install ca-certificates"
        )));
    }
    Ok(found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect())
}

/// An error in words, and whether another try may succeed. `limit` is the time limit in words.
pub fn explain(error: &ureq::Error, limit: &str) -> (String, bool) {
    let text = error.to_string();
    match error {
        ureq::Error::Timeout(_) => (format!("no answer within {limit}"), true),
        ureq::Error::HostNotFound => ("the host is not known; is the name right, and the network up?".into(), true),
        _ if text.contains("UnknownIssuer") => (
            "its certificate is not signed by an authority that this system trusts; add the authority's certificate to the system's"
                .into(),
            false,
        ),
        _ if text.contains("invalid peer certificate") => (text.trim_start_matches("io: ").into(), false),
        ureq::Error::Io(error) => (error.to_string(), true),
        // It shows the URL.
        ureq::Error::BadUri(_) => ("not a URL as it should be".into(), false),
        _ => (text, true),
    }
}

/// The proxy that the environment names for a host; never for this machine itself.
pub fn proxy_for(scheme: &str, host: &str, environment: Lookup<'_>) -> Option<String> {
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
