//! Answers: their heads, which say each time what the browser may not do with them, and their bodies.

use std::io::{self, BufWriter, Write};

use super::output::Patient;
use super::text;

/// Bytes that are passed on at a time.
const PASSED_ON: usize = 64 << 10;

/// What pages may do: show themselves, their own style sheet and images of this address, and send forms to it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// What contents of files may do: nothing.
const CONTENT_POLICY: &str = "sandbox; default-src 'none'; frame-ancestors 'none'";

/// The whole of a small answer.
pub struct Answer {
    pub status: u16,
    pub kind: &'static str,
    /// Further headers, each as it is written.
    pub headers: Vec<String>,
    pub body: Vec<u8>,
    /// It has a form that changes something: browsers then say with it where it comes from.
    pub has_form: bool,
}

impl Answer {
    pub fn page(status: u16, body: String) -> Answer {
        let body = body.into_bytes();
        Answer { status, kind: "text/html; charset=utf-8", headers: Vec::new(), body, has_form: false }
    }

    pub fn file(kind: &'static str, body: &'static str) -> Answer {
        Answer { status: 200, kind, headers: Vec::new(), body: body.as_bytes().to_vec(), has_form: false }
    }

    /// Sends the browser to another address of the page.
    pub fn elsewhere(address: &str) -> Answer {
        Answer { headers: vec![format!("Location: {address}")], ..Answer::page(303, String::new()) }
    }

    pub fn write(&self, out: &mut Patient<'_>) -> io::Result<()> {
        let mut head = begin(self.status, self.kind, PAGE_POLICY, self.has_form);
        for header in &self.headers {
            head += &format!("{header}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", self.body.len());
        out.write_all(&[head.as_bytes(), &self.body].concat())
    }
}

fn words(status: u16) -> &'static str {
    match status {
        200 => "OK",
        303 => "See Other",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Internal Server Error",
    }
}

fn begin(status: u16, kind: &str, policy: &str, has_form: bool) -> String {
    let referrer = if has_form { "same-origin" } else { "no-referrer" };
    format!(
        "HTTP/1.1 {status} {}\r\n\
         Content-Type: {kind}\r\n\
         Content-Security-Policy: {policy}\r\n\
         X-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\n\
         Referrer-Policy: {referrer}\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Cache-Control: no-store\r\n\
         Connection: close\r\n",
        words(status)
    )
}

/// How contents of files are given.
pub struct Content<'n> {
    pub kind: &'static str,
    /// The name under which the browser is to keep it; none for what is shown.
    pub attachment: Option<&'n [u8]>,
    /// Bytes, where that is known before.
    pub length: Option<u64>,
}

/// Gives contents as `write` writes them. When that fails, the connection ends before the content does, and the browser says so.
pub fn stream<E: From<io::Error>>(
    content: &Content<'_>,
    out: &mut Patient<'_>,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut head = begin(200, content.kind, CONTENT_POLICY, false);
    if let Some(name) = content.attachment {
        head += &format!("Content-Disposition: {}\r\n", attachment(name));
    }
    head += &match content.length {
        Some(length) => format!("Content-Length: {length}\r\n\r\n"),
        None => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
    };
    out.write_all(head.as_bytes())?;
    if content.length.is_some() {
        let mut out = BufWriter::with_capacity(PASSED_ON, out);
        let written = write(&mut out);
        // What came before something that is lost is given all the same.
        out.flush()?;
        return written;
    }
    let mut chunks = BufWriter::with_capacity(PASSED_ON, Chunks(out));
    write(&mut chunks)?;
    chunks.flush()?;
    drop(chunks);
    Ok(out.write_all(b"0\r\n\r\n")?)
}

/// Each piece with its length before it.
struct Chunks<'p, 'c>(&'p mut Patient<'c>);

impl Write for Chunks<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            let head = format!("{:x}\r\n", bytes.len());
            self.0.write_all(&[head.as_bytes(), bytes, b"\r\n"].concat())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The header that names what is kept: a plain name for old browsers, and the bytes themselves.
fn attachment(name: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b' ');
    let plain: String =
        name.iter().map(|byte| if is_plain(*byte) { char::from(*byte) } else { '_' }).collect();
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{}", text::encode(name))
}
