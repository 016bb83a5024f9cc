//! `copal web`, started and ended.
#![allow(dead_code)]

use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::common::{Ended, Sandbox, end_child, signal};

/// The program that listens, as long as it is not ended.
pub struct Web {
    child: Option<Child>,
    pub address: SocketAddr,
    pub token: String,
}

impl Web {
    pub fn new(sandbox: &Sandbox) -> Web {
        Web::with(sandbox, &["web"])
    }

    pub fn with(sandbox: &Sandbox, words: &[&str]) -> Web {
        let mut command = sandbox.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let line = first_line(&mut child);
        if line.is_empty() {
            panic!("it does not listen: {}", end_child(child, "web".to_owned()));
        }
        let (address, token) = line.strip_prefix("http://").unwrap().split_once("/?token=").unwrap();
        assert!(token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{line}");
        Web { child: Some(child), address: address.parse().unwrap(), token: token.to_owned() }
    }

    pub fn end(mut self) -> Ended {
        let child = self.child.take().unwrap();
        signal(&child, Signal::TERM);
        end_child(child, "web".to_owned())
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One line of what a child says, byte by byte, so that nothing of the rest is taken.
pub fn first_line(child: &mut Child) -> String {
    let out = child.stdout.as_mut().unwrap();
    let (mut line, mut byte) = (Vec::new(), [0]);
    while out.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}
