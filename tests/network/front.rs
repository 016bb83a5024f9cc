//! A server before another that speaks HTTP: it passes requests on, and spoils what its rule says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Standing, Streams, reset};

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether it is a request of that method for something below that folder of a repository.
    pub fn is(&self, method: &str, folder: &str) -> bool {
        self.method == method && self.target.split('?').next().unwrap().contains(&format!("/{folder}/"))
    }

    /// Whether it asks for a listing.
    pub fn is_listing(&self) -> bool {
        self.method == "GET" && self.target.contains("list-type=2")
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is passed on, and so is the answer.
    Passed,
    /// The connection is reset, and nothing is passed on.
    Reset,
    /// It is passed on, and the connection is reset instead of an answer.
    ReplyLost,
    /// So many bytes of the answer's body come, then the connection is reset.
    ResetAfter(usize),
    /// So many bytes of the answer's body come, then it seems to be all.
    CutAfter(usize),
    /// So many bytes of the answer's body come, then nothing.
    StallAfter(usize),
    /// Nothing comes.
    Stall,
    /// The server's word on the body's length is more by that, and the connection ends behind the body.
    Longer(i64),
    /// That byte of the answer's body is another.
    Spoiled(usize),
    /// It is not passed on; this comes instead: status line, headers, body.
    Answered(&'static str, String, String),
    /// It is passed on, and this comes instead.
    Replaced(&'static str, String, String),
    /// It is passed on without that header.
    Without(&'static str),
    /// So many bytes of its body are read, then this comes and the connection is closed.
    RefusedEarly(usize, &'static str, String),
}

type Rule = dyn Fn(&Asked, u64) -> Fate + Send + Sync;

struct Shared {
    target: SocketAddr,
    rule: Mutex<Arc<Rule>>,
    /// Those since the rule was set.
    asked: Mutex<Vec<Asked>>,
    struck: AtomicU64,
    streams: Streams,
}

/// Stands before a server until it is dropped.
pub struct Front {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _standing: Standing,
}

impl Front {
    pub fn before(target: SocketAddr) -> Front {
        let shared = Arc::new(Shared {
            target,
            rule: Mutex::new(Arc::new(|_: &Asked, _| Fate::Passed)),
            asked: Mutex::default(),
            struck: AtomicU64::new(0),
            streams: Streams::default(),
        });
        let (of_thread, streams) = (Arc::clone(&shared), Arc::clone(&shared.streams));
        let standing = Standing::new(move |client| serve(client, &of_thread), streams);
        Front { address: standing.address, shared, _standing: standing }
    }

    /// From now on requests have the fate that this says; it is given the number of each, from 1 on.
    pub fn rule(&self, rule: impl Fn(&Asked, u64) -> Fate + Send + Sync + 'static) {
        *self.shared.rule.lock().unwrap() = Arc::new(rule);
        self.shared.struck.store(0, Ordering::SeqCst);
        self.shared.asked.lock().unwrap().clear();
    }

    /// The first `times` requests that are such have that fate.
    pub fn strike(&self, times: u64, fate: Fate, is_such: impl Fn(&Asked) -> bool + Send + Sync + 'static) {
        let count = AtomicU64::new(0);
        self.rule(move |asked, _| {
            if is_such(asked) && count.fetch_add(1, Ordering::SeqCst) < times {
                fate.clone()
            } else {
                Fate::Passed
            }
        });
    }

    /// How many requests were not just passed on since the rule was set.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// The requests since the rule was set, without the longer bodies.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    shared.streams.lock().unwrap().push(client.try_clone().unwrap());
    let shared = Arc::clone(shared);
    std::thread::spawn(move || while answer(&client, &shared).is_some() {});
}

/// Reads a request's or answer's first line and headers.
fn head(stream: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut line = |out: &mut String| {
        out.clear();
        let read = stream.read_line(out).ok()?;
        (read > 0).then(|| out.truncate(out.trim_end().len()))
    };
    let (mut first, mut headers, mut text) = (String::new(), Vec::new(), String::new());
    line(&mut first)?;
    loop {
        line(&mut text)?;
        match text.split_once(':') {
            None => return Some((first, headers)),
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.trim().to_owned())),
        }
    }
}

fn length(headers: &[(String, String)]) -> Option<usize> {
    headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok())
}

/// One request and its answer; none when the connection is at its end.
fn answer(client: &TcpStream, shared: &Shared) -> Option<()> {
    let mut reader = BufReader::with_capacity(1, client);
    let (first, headers) = head(&mut reader)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut asked = Asked { method, target, headers, body: Vec::new() };
    let rule = Arc::clone(&*shared.rule.lock().unwrap());
    let number = {
        let mut all = shared.asked.lock().unwrap();
        all.push(asked.clone());
        all.len() as u64
    };
    let fate = rule(&asked, number);
    if !matches!(fate, Fate::Passed) {
        shared.struck.fetch_add(1, Ordering::SeqCst);
    }
    let mut out = client;
    let wanted = length(&asked.headers).unwrap_or(0);
    let waits = asked.header("expect").is_some();
    if let Fate::RefusedEarly(bytes, status, body) = &fate {
        if !waits {
            let mut some = vec![0; (*bytes).min(wanted)];
            (&mut &*client).read_exact(&mut some).ok()?;
        }
        send(&mut out, status, "connection: close\r\n", body.as_bytes())?;
        let _ = client.shutdown(Shutdown::Write);
        // What still comes is taken: unread, it would make a reset of this end.
        let _ = std::io::copy(&mut &*client, &mut std::io::sink());
        return None;
    }
    if waits {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    asked.body = vec![0; wanted];
    (&mut &*client).read_exact(&mut asked.body).ok()?;
    match &fate {
        Fate::Reset => return broken(client, shared),
        Fate::Stall => {
            let _ = (&mut &*client).read(&mut [0]);
            return None;
        }
        Fate::Answered(status, headers, body) => {
            return send(
                &mut out,
                status,
                headers,
                if asked.method == "HEAD" { b"" } else { body.as_bytes() },
            );
        }
        _ => {}
    }
    let without = if let Fate::Without(name) = fate { name } else { "" };
    let (status, headers, mut body) = passed(&asked, without, shared.target)?;
    let mut said = length(&headers).unwrap_or(body.len());
    let (mut sent, mut ending) = (body.len(), None);
    match fate {
        Fate::ReplyLost => return broken(client, shared),
        Fate::Replaced(status, headers, body) => return send(&mut out, status, &headers, body.as_bytes()),
        Fate::ResetAfter(bytes) => (sent, ending) = (bytes.min(sent), Some(fate)),
        Fate::CutAfter(bytes) => (sent, ending) = (bytes.min(sent), Some(fate)),
        Fate::StallAfter(bytes) => (sent, ending) = (bytes.min(sent), Some(fate)),
        Fate::Longer(by) => {
            said = said.checked_add_signed(by as isize)?;
            sent = sent.min(said);
            ending = Some(fate);
        }
        Fate::Spoiled(at) => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 0x55;
            }
        }
        _ => {}
    }
    let mut text = format!("{status}\r\n");
    for (name, value) in headers {
        if !matches!(name.as_str(), "content-length" | "connection" | "transfer-encoding") {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let has_length = !status.contains(" 204");
    text.push_str(&if has_length { format!("content-length: {said}\r\n\r\n") } else { "\r\n".to_owned() });
    out.write_all(text.as_bytes()).ok()?;
    out.write_all(&body[..sent]).ok()?;
    match ending {
        None => Some(()),
        Some(Fate::ResetAfter(_)) => broken(client, shared),
        Some(Fate::StallAfter(_)) => {
            let _ = (&mut &*client).read(&mut [0]);
            None
        }
        Some(_) => {
            let _ = client.shutdown(Shutdown::Both);
            None
        }
    }
}

/// Ends the connection with a reset: all that holds it lets go.
fn broken(client: &TcpStream, shared: &Shared) -> Option<()> {
    reset(client);
    let peer = client.peer_addr().ok();
    shared.streams.lock().unwrap().retain(|stream| stream.peer_addr().ok() != peer);
    None
}

fn send(out: &mut impl Write, status: &str, headers: &str, body: &[u8]) -> Option<()> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    out.write_all(head.as_bytes()).ok()?;
    out.write_all(body).ok()
}

/// Passes a request on, and reads the whole answer: status line, headers, body.
fn passed(
    asked: &Asked,
    without: &str,
    target: SocketAddr,
) -> Option<(String, Vec<(String, String)>, Vec<u8>)> {
    let mut server = TcpStream::connect(target).ok()?;
    let mut text = format!("{} {} HTTP/1.1\r\n", asked.method, asked.target);
    for (name, value) in &asked.headers {
        if !matches!(name.as_str(), "connection" | "expect") && name != without {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    text.push_str("connection: close\r\n\r\n");
    server.write_all(text.as_bytes()).ok()?;
    server.write_all(&asked.body).ok()?;
    let mut reader = BufReader::new(server);
    let (status, headers) = head(&mut reader)?;
    let mut body = Vec::new();
    if asked.method != "HEAD" {
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        if chunked {
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).ok()?;
                let size = u64::from_str_radix(line.trim(), 16).ok()?;
                (&mut reader).take(size).read_to_end(&mut body).ok()?;
                reader.read_line(&mut line).ok()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            reader.read_to_end(&mut body).ok()?;
        }
    }
    Some((status, headers, body))
}
