//! A connection: what is read from it and written to it, for as long as that takes and no longer than it may.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::repository::lease::Use;

/// How often it is looked whether all is to end.
const LOOK: Duration = Duration::from_millis(200);
/// How long whoever reads may take nothing: a browser may hold a download on. Who was not let in gets less than the system takes at once.
const STALLS: Duration = Duration::from_secs(15 * 60);
/// Bytes and time in which the rest of what was sent is taken away, so that the answer is not lost with it.
const DRAINED: usize = 64 << 10;
const DRAINING: Duration = Duration::from_secs(1);

/// A connection, watched.
pub struct Patient<'c> {
    stream: &'c TcpStream,
    stop: &'c AtomicBool,
    used: &'c Use,
}

impl<'c> Patient<'c> {
    pub fn new(stream: &'c TcpStream, stop: &'c AtomicBool, used: &'c Use) -> io::Result<Patient<'c>> {
        stream.set_read_timeout(Some(LOOK))?;
        stream.set_write_timeout(Some(LOOK))?;
        Ok(Patient { stream, stop, used })
    }

    /// Does that until it did something, the moment is over, or all is to end.
    fn again(
        &mut self,
        until: Instant,
        mut once: impl FnMut(&mut &TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match once(&mut self.stream) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if self.stop.load(Ordering::Relaxed) || Instant::now() >= until {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Reads what is there, waiting for it until that moment.
    pub fn read_until(&mut self, into: &mut [u8], until: Instant) -> io::Result<usize> {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.again(until, |stream| stream.read(into))
    }

    /// Ends it so that what was written arrives, also where not all was read that was sent.
    pub fn finish(&mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        let until = Instant::now() + DRAINING;
        let (mut taken, mut piece) = (0, [0; 4096]);
        while taken < DRAINED {
            match self.read_until(&mut piece, until) {
                Ok(count) if count > 0 => taken += count,
                _ => return,
            }
        }
    }
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.used.now();
        self.again(Instant::now() + STALLS, |stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
