//! A server on this machine that answers as told, also badly, and keeps what it was asked. It ends with its test.
// No program of tests takes all of it.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// How it answers one connection.
#[derive(Clone)]
pub enum Answer {
    /// Status line and body.
    Say(&'static str, String),
    /// To another address.
    Elsewhere(String),
    /// Closes without a word, before anything is read.
    Close,
    /// What is no HTTP.
    Nonsense,
    /// Keeps the connection and says nothing, until the other side gives up.
    Never,
    /// A header that never ends, byte by byte, until the other side gives up.
    Drip,
}

pub fn ok() -> Answer {
    Answer::Say("200 OK", "OK".into())
}

/// One request.
#[derive(Debug)]
pub struct Asked {
    /// `POST /path`.
    pub what: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} twice");
        first
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

pub struct Server {
    pub address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers the first connection with the first answer and so on, and all after these with the last one.
    pub fn new(answers: Vec<Answer>) -> Server {
        Server::with(answers, |stream, work| work(stream))
    }

    /// The same, with what stands between the connection and HTTP.
    pub fn with(
        answers: Vec<Answer>,
        layer: impl Fn(&mut TcpStream, &mut dyn FnMut(&mut dyn Stream)) + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, asked) = mpsc::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let thread = std::thread::spawn(move || {
            let mut left = answers.into_iter().peekable();
            let mut last = None;
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let answer = left.next().or(last.clone()).expect("an answer");
                last = Some(answer.clone());
                let Ok(mut stream) = stream else { continue };
                // A client that never ends must not keep the test.
                stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
                layer(&mut stream, &mut |stream| serve(stream, &answer, &sender));
            }
        });
        Server { address, asked, is_over, thread: Some(thread) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests that were answered by now.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn serve(stream: &mut dyn Stream, answer: &Answer, sender: &mpsc::Sender<Asked>) {
    if let Answer::Close = answer {
        return;
    }
    let Some(asked) = read(stream) else { return };
    // Before the answer, so that it is there when the client has it.
    sender.send(asked).unwrap();
    let plain = |status: &str, more: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let _ = match answer {
        Answer::Say(status, body) => stream.write_all(plain(status, "", body).as_bytes()),
        Answer::Elsewhere(to) => {
            stream.write_all(plain("307 Temporary Redirect", &format!("Location: {to}\r\n"), "").as_bytes())
        }
        Answer::Nonsense => stream.write_all(b"220 mail.example.org ESMTP\r\n\r\n"),
        Answer::Never => stream.read(&mut [0; 64]).map(|_| ()),
        Answer::Drip => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
            while sent.is_ok() {
                std::thread::sleep(Duration::from_millis(10));
                sent = stream.write_all(b"x").and_then(|()| stream.flush());
            }
            sent
        }
        Answer::Close => Ok(()),
    };
    let _ = stream.flush();
}

/// Reads a request; none when the other side goes away.
fn read(stream: &mut dyn Stream) -> Option<Asked> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let what = lines.next()?.strip_suffix(" HTTP/1.1")?.to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.into(), value.into())).unwrap())
        .collect();
    let mut asked = Asked { what, headers, body: Vec::new() };
    assert_eq!(asked.header("transfer-encoding"), None, "a length is what every server understands");
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body).ok()?;
    Some(asked)
}
