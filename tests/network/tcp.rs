//! A way between a client and a server that breaks: it carries bytes of any protocol, and counts them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::{Standing, Streams, reset};

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// The client is told that the connection is reset.
    Reset,
    /// The server seems to have sent all it had.
    Close,
    /// Nothing comes any more, and the connection stays.
    Stall,
}

/// Which bytes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    FromServer,
    FromClient,
}

/// A connection breaks like this once so many bytes came from that side.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub side: Side,
    pub bytes: u64,
    pub breaks: Break,
}

struct Shared {
    target: SocketAddr,
    /// For the next connections, the first one's last.
    plans: Mutex<Vec<Plan>>,
    made: AtomicU64,
    broken: AtomicU64,
    streams: Streams,
}

/// Carries connections to a server until it is dropped.
pub struct Way {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    standing: Standing,
}

impl Way {
    pub fn to(target: SocketAddr) -> Way {
        let shared = Arc::new(Shared {
            target,
            plans: Mutex::default(),
            made: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            streams: Streams::default(),
        });
        let (of_thread, streams) = (Arc::clone(&shared), Arc::clone(&shared.streams));
        let standing = Standing::new(move |client| serve(client, &of_thread), streams);
        Way { address: standing.address, shared, standing }
    }

    /// The next connections that are made break like that, one after the other; those after them do not.
    pub fn plan(&self, plans: impl IntoIterator<Item = Plan>) {
        let mut plans: Vec<Plan> = plans.into_iter().collect();
        plans.reverse();
        *self.shared.plans.lock().unwrap() = plans;
    }

    /// How many connections were made.
    pub fn made(&self) -> u64 {
        self.shared.made.load(Ordering::SeqCst)
    }

    /// How many connections broke as planned.
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::SeqCst)
    }

    /// Ends all connections that there are, so that the next request makes a new one.
    pub fn drop_all(&self) {
        self.standing.drop_all();
    }
}

fn serve(client: TcpStream, shared: &Arc<Shared>) {
    shared.made.fetch_add(1, Ordering::SeqCst);
    let Ok(server) = TcpStream::connect(shared.target) else { return };
    let plan = shared.plans.lock().unwrap().pop();
    {
        let mut streams = shared.streams.lock().unwrap();
        streams.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
    }
    let (back, forth) = ((server.try_clone().unwrap(), client.try_clone().unwrap()), (client, server));
    for (side, (from, to)) in [(Side::FromServer, back), (Side::FromClient, forth)] {
        let plan = plan.filter(|plan| plan.side == side);
        let shared = Arc::clone(shared);
        std::thread::spawn(move || carry(side, from, to, plan, &shared));
    }
}

/// Carries bytes one way until an end comes or the plan says so.
fn carry(side: Side, mut from: TcpStream, mut to: TcpStream, plan: Option<Plan>, shared: &Shared) {
    let mut left = plan.map_or(u64::MAX, |plan| plan.bytes);
    let mut buffer = [0; 16 << 10];
    loop {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if most == 0 {
            break;
        }
        match from.read(&mut buffer[..most]) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => left -= read as u64,
            _ => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    }
    shared.broken.fetch_add(1, Ordering::SeqCst);
    let (client, server) = match side {
        Side::FromServer => (to, from),
        Side::FromClient => (from, to),
    };
    match plan.map(|plan| plan.breaks) {
        Some(Break::Stall) => return,
        Some(Break::Reset) => reset(&client),
        _ => {
            let _ = client.shutdown(Shutdown::Write);
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    // The other handles of these: only when all are gone a reset is sent.
    let gone = [client.peer_addr().ok(), server.peer_addr().ok()];
    shared.streams.lock().unwrap().retain(|stream| !gone.contains(&stream.peer_addr().ok()));
    if plan.is_some_and(|plan| plan.breaks == Break::Reset) {
        // Wakes the other direction, which then lets go of it.
        let _ = client.shutdown(Shutdown::Read);
    }
}
