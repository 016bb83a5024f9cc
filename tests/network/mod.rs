//! Servers on this machine for storage on others, and what goes wrong between.
#![allow(dead_code)]

pub mod front;
pub mod server;
pub mod tcp;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

/// A listener on a port that nobody has.
pub fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Closes a connection as a machine does that fell over and came back: the other side is told that it is reset.
pub fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    // Both handles of a stream have to be gone before that is sent; whoever calls drops them.
}
