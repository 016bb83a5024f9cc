//! Interrupts: the first asks the run to stop where it loses nothing, the second ends it at once.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::exit::Code;

struct Flags {
    stop: Arc<AtomicBool>,
    interrupted: Arc<AtomicBool>,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

fn flags() -> &'static Flags {
    FLAGS.get_or_init(caught)
}

fn caught() -> Flags {
    let flags = Flags { stop: Arc::default(), interrupted: Arc::default() };
    for (signal, code) in [(SIGINT, 130), (SIGTERM, 143), (SIGHUP, 143)] {
        // In this order: the shutdown looks at the flag as the signal before left it.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, code, flags.stop.clone());
        let _ = signal_hook::flag::register(signal, flags.stop.clone());
    }
    let _ = signal_hook::flag::register(SIGINT, flags.interrupted.clone());
    flags
}

/// The flag that a running verb looks at. From the first call on signals are caught.
pub fn stop() -> &'static AtomicBool {
    &flags().stop
}

/// Whether a signal came. Catches none.
pub fn is_stopping() -> bool {
    FLAGS.get().is_some_and(|flags| flags.stop.load(Ordering::Relaxed))
}

/// Becomes readable when a signal came, for who waits for the system and looks at no flag.
pub fn waker() -> std::io::Result<OwnedFd> {
    stop();
    let (reader, writer) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader.into())
}

/// The exit code that the signal asks for, when there was one.
pub fn code() -> Option<Code> {
    if !is_stopping() {
        return None;
    }
    Some(if flags().interrupted.load(Ordering::Relaxed) { Code::Interrupted } else { Code::Terminated })
}
