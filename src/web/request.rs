//! One request as it was sent: its head and a small body, both bounded in bytes and in time.

use std::io;
use std::time::Instant;

use super::output::Patient;
use super::text;

/// Bytes that the head of a request may have.
const HEAD_MOST: usize = 16 << 10;
/// Bytes that its body may have.
const BODY_MOST: usize = 16 << 10;
const HEADERS_MOST: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
}

/// Why there is no request.
#[derive(Debug)]
pub enum Unasked {
    /// Nothing, or no more, came.
    Gone,
    /// It is no request that is understood: an HTTP status and what is wrong.
    Wrong(u16, &'static str),
}

/// A request.
#[derive(Debug)]
pub struct Request {
    pub method: Method,
    /// The path as it was sent, for messages.
    pub asked: String,
    /// The parts of the path, decoded: a slash in one of them was sent as `%2F` and is part of a name.
    pub parts: Vec<Vec<u8>>,
    query: Vec<(Vec<u8>, Vec<u8>)>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub host: Option<String>,
    pub origin: Option<String>,
    /// What `Sec-Fetch-Site` says.
    pub site: Option<String>,
    cookie: Vec<String>,
}

fn value<'f>(fields: &'f [(Vec<u8>, Vec<u8>)], name: &[u8]) -> Option<&'f [u8]> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
}

/// Cuts the path of a request into its names. None when it can not be one.
fn parts(path: &str) -> Option<Vec<Vec<u8>>> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(Vec::new());
    }
    path.split('/').map(|part| text::decode(part.as_bytes(), false).filter(|part| !part.is_empty())).collect()
}

fn pairs(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let key = text::decode(halves.next().unwrap_or_default(), true)?;
            Some((key, text::decode(halves.next().unwrap_or_default(), true)?))
        })
        .collect()
}

/// What a head says, and how many bytes of body follow.
fn head(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>, Unasked> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MOST];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) => return Ok(None),
        Ok(httparse::Status::Complete(length)) => length,
        Err(httparse::Error::TooManyHeaders) => return Err(Unasked::Wrong(431, "too many headers")),
        Err(_) => return Err(Unasked::Wrong(400, "this is no request")),
    };
    let wrong = |what| Err(Unasked::Wrong(400, what));
    if parsed.version != Some(1) {
        return wrong("HTTP/1.1 is spoken here");
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("POST") => Method::Post,
        _ => return Err(Unasked::Wrong(405, "only GET and POST are known here")),
    };
    let target = parsed.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (Some(parts), Some(query)) = (parts(path), pairs(query.as_bytes())) else {
        return wrong("this is no address");
    };
    let mut request = Request {
        method,
        asked: path.to_owned(),
        parts,
        query,
        fields: Vec::new(),
        host: None,
        origin: None,
        site: None,
        cookie: Vec::new(),
    };
    let mut body = None;
    for header in parsed.headers.iter() {
        let Ok(value) = std::str::from_utf8(header.value) else { continue };
        let once = match header.name.to_ascii_lowercase().as_str() {
            "host" => &mut request.host,
            "origin" => &mut request.origin,
            "sec-fetch-site" => &mut request.site,
            "content-length" => &mut body,
            "transfer-encoding" => return wrong("a body has to say how long it is"),
            "cookie" => {
                request.cookie.push(value.to_owned());
                continue;
            }
            _ => continue,
        };
        // Two that differ would be read by each as it likes.
        if once.replace(value.to_owned()).is_some() {
            return wrong("a header is there twice");
        }
    }
    let is_number = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let body = match body {
        None => 0,
        Some(text) if is_number(&text) => text.parse().unwrap_or(usize::MAX),
        Some(_) => return wrong("a length is no number"),
    };
    if body > BODY_MOST {
        return Err(Unasked::Wrong(413, "that is too long"));
    }
    Ok(Some((request, length, body)))
}

impl Request {
    /// Reads one, until that moment at most.
    pub fn read(from: &mut Patient<'_>, until: Instant) -> Result<Request, Unasked> {
        let mut bytes = Vec::new();
        let mut piece = [0; 4096];
        let mut more = |bytes: &mut Vec<u8>| -> Result<(), Unasked> {
            let count = from.read_until(&mut piece, until).map_err(|_: io::Error| Unasked::Gone)?;
            bytes.extend_from_slice(&piece[..count]);
            if count == 0 { Err(Unasked::Gone) } else { Ok(()) }
        };
        let (mut request, length, body) = loop {
            if let Some(found) = head(&bytes)? {
                break found;
            }
            if bytes.len() >= HEAD_MOST {
                return Err(Unasked::Wrong(431, "the head of the request is too long"));
            }
            more(&mut bytes)?;
        };
        while bytes.len() < length + body {
            more(&mut bytes)?;
        }
        if request.method == Method::Post {
            let Some(fields) = pairs(&bytes[length..length + body]) else {
                return Err(Unasked::Wrong(400, "this is no form"));
            };
            request.fields = fields;
        }
        Ok(request)
    }

    /// Whether it asks for the top of the page.
    pub fn is_top(&self) -> bool {
        self.parts.is_empty()
    }

    /// What the address says behind its `?`.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        value(&self.query, name)
    }

    /// The same as a number; 0 when it is none.
    pub fn number(&self, name: &[u8]) -> usize {
        self.value(name).and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()).unwrap_or(0)
    }

    /// What a form says.
    pub fn field(&self, name: &[u8]) -> Option<&[u8]> {
        value(&self.fields, name)
    }

    pub fn cookies(&self) -> impl Iterator<Item = (&str, &str)> {
        self.cookie.iter().flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Option<(Request, usize, usize)>, u16> {
        head(text.as_bytes()).map_err(|wrong| match wrong {
            Unasked::Wrong(status, _) => status,
            Unasked::Gone => 0,
        })
    }

    #[test]
    fn names_in_paths_are_bytes() {
        let (request, _, body) =
            asked("GET /s/a%2Fb/%ff%0A/..?x=a+b&y=%26 HTTP/1.1\r\nHost: h\r\nCookie: a=1; b=2\r\n\r\n")
                .unwrap()
                .unwrap();
        assert_eq!(request.parts, [&b"s"[..], b"a/b", b"\xff\n", b".."]);
        assert_eq!((request.value(b"x"), request.value(b"y")), (Some(&b"a b"[..]), Some(&b"&"[..])));
        assert_eq!(request.cookies().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        assert_eq!((request.host.as_deref(), body), (Some("h"), 0));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for (text, status) in [
            ("GET /a//b HTTP/1.1\r\n\r\n", 400),
            ("GET a HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\n\r\n", 400),
            ("GET /%4 HTTP/1.1\r\n\r\n", 400),
            ("GET /%zz HTTP/1.1\r\n\r\n", 400),
            ("PUT / HTTP/1.1\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ] {
            assert_eq!(asked(text).map(drop), Err(status), "{text}");
        }
        assert!(asked("GET / HTTP/1.1\r\nHost").unwrap().is_none());
    }
}
