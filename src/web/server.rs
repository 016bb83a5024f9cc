//! Listening: a thread for each connection, not more than there may be, each for one request.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::answer::Answer;
use super::output::Patient;
use super::request::{Method, Request, Unasked};
use super::{Page, Watcher, pages};
use crate::model::clock::Clock;
use crate::repository::lease::{self, Use};
use crate::repository::{Error, caught};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Time in which a request has to be there.
const ASKING: Duration = Duration::from_secs(10);
/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A place that is listened on.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// What one request is answered with, and for whom.
pub struct Asked<'a> {
    pub page: &'a Page,
    pub request: &'a Request,
    pub watcher: &'a dyn Watcher,
    pub stop: &'a AtomicBool,
    /// The catalogue of paths is to be filled when this was answered.
    pub fills: Cell<bool>,
}

impl Server {
    /// Listens there. Nobody is answered yet.
    pub fn bind(address: SocketAddr) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where this machine reaches it.
    fn own_address(&self) -> SocketAddr {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.address.port())
    }

    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Answers until `stop` is set. Errors: what can not be given is told and does not end it; those of `caught`.
    pub fn run(
        &self,
        page: &Page,
        clock: &dyn Clock,
        host: &[u8],
        watcher: &dyn Watcher,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let used = Use::new(Instant::now());
        let count = AtomicUsize::new(0);
        let (used, count) = (&used, &count);
        let (end, ended) = bounded::<()>(0);
        let (jobs, work) = bounded(1);
        page.restoring.give(jobs);
        std::thread::scope(|scope| {
            scope.spawn(move || lease::keep(&page.shelf.repository, clock, host, used, &ended));
            scope.spawn(move || {
                work.iter().for_each(|job| page.restoring.run(page, &job, used, watcher, stop))
            });
            let accepting = scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match self.listener.accept() {
                        Ok((stream, _)) => {
                            let answer = move || connection(page, &stream, used, watcher, stop);
                            bounded_by(count, scope, answer, watcher);
                        }
                        Err(_) => std::thread::sleep(LOOK),
                    }
                }
            });
            while !stop.load(Ordering::Relaxed) && !accepting.is_finished() {
                std::thread::sleep(LOOK);
            }
            // It waits for somebody to come.
            while !accepting.is_finished() {
                let _ = TcpStream::connect(self.own_address());
                std::thread::sleep(LOOK / 10);
            }
            let done =
                accepting.join().map_err(|_| Error::Bug { what: "nobody listens any more".to_owned() });
            page.restoring.close();
            drop(end);
            done
        })
    }
}

/// Answers in a thread of its own, unless there are as many as there may be. One that fails, or a bug in it, is the end of that one.
fn bounded_by<'s>(
    count: &'s AtomicUsize,
    scope: &'s std::thread::Scope<'s, '_>,
    answer: impl FnOnce() + Send + 's,
    watcher: &'s dyn Watcher,
) {
    if count.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
        count.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let work = move || {
        let done = caught(|| {
            answer();
            Ok(())
        });
        if let Err(error) = done {
            watcher.problem("a request", &error.to_string());
        }
        count.fetch_sub(1, Ordering::Relaxed);
    };
    if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn connection(page: &Page, stream: &TcpStream, used: &Use, watcher: &dyn Watcher, stop: &AtomicBool) {
    let Ok(mut out) = Patient::new(stream, stop, used) else { return };
    let mut fills = false;
    let refused = |status, what: &str| pages::message(status, "Not given", what);
    match Request::read(&mut out, Instant::now() + ASKING) {
        Err(Unasked::Gone) => return,
        Err(Unasked::Wrong(status, what)) => {
            // Whoever does not read his answer is told nothing.
            let _ = refused(status, what).write(&mut out);
        }
        Ok(request) => {
            let asked = Asked { page, request: &request, watcher, stop, fills: Cell::new(false) };
            let _ = asked.answer(&mut out);
            fills = asked.fills.get();
        }
    }
    out.finish();
    if fills {
        page.shelf.fill_meanwhile(stop, &mut |line| {
            used.now();
            watcher.news(&line);
        });
    }
}

impl Asked<'_> {
    /// Answers. Errors: whoever asked does not take it.
    fn answer(&self, out: &mut Patient<'_>) -> io::Result<()> {
        let entry = match self.page.guard.check(self.request) {
            Ok(entry) => entry,
            Err(refusal) => return pages::refused(refusal).write(out),
        };
        if entry == super::guard::Entry::New {
            let mut answer = pages::welcome();
            answer.headers.push(format!("Set-Cookie: {}", self.page.guard.cookie()));
            return answer.write(out);
        }
        if self.request.method == Method::Post {
            return pages::change(self).write(out);
        }
        match caught(|| pages::given(self, out)) {
            Ok(Some(answer)) => answer.write(out),
            Ok(None) => Ok(()),
            Err(error) => {
                self.tell(&error);
                pages::failed(&error).write(out)
            }
        }
    }

    /// Tells whoever runs this what went wrong.
    pub fn tell(&self, error: &Error) {
        if !matches!(error, Error::Stopped) {
            self.watcher.problem(&self.request.asked, &error.to_string());
        }
    }
}

/// A page, or an error that becomes one.
pub type Given = Result<Answer, Error>;
