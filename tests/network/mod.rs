//! Servers on this machine for storage on others, and what goes wrong between.
#![allow(dead_code)]

pub mod front;
pub mod server;
pub mod tcp;

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

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

/// The connections that there are.
pub type Streams = Arc<Mutex<Vec<TcpStream>>>;

/// Something that takes connections on a port of its own until it is dropped, and with it all of them end.
pub struct Standing {
    pub address: SocketAddr,
    pub streams: Streams,
    ended: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

impl Standing {
    /// Gives each connection to `serve`, which must not wait; what it puts into `streams` is ended with the others.
    pub fn new(mut serve: impl FnMut(TcpStream) + Send + 'static, streams: Streams) -> Standing {
        let (listener, address) = listen();
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        let listener = std::thread::spawn(move || {
            for client in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = client {
                    serve(client);
                }
            }
        });
        Standing { address, streams, ended, listener: Some(listener) }
    }

    /// Ends all connections that there are.
    pub fn drop_all(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        self.drop_all();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}
