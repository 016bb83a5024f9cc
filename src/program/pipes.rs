//! Waiting for two pipes at once.

use std::io;
use std::os::fd::AsRawFd;
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

/// Which pipe has something to read, or has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    pub output: bool,
    pub errors: bool,
}

/// Waits until one of them has something to read or nobody left who could write, at most that long.
pub fn wait(output: Option<&ChildStdout>, errors: Option<&ChildStderr>, most: Duration) -> io::Result<Ready> {
    // The system passes over negative numbers.
    let asked =
        |number: Option<i32>| libc::pollfd { fd: number.unwrap_or(-1), events: libc::POLLIN, revents: 0 };
    let mut both = [asked(output.map(|pipe| pipe.as_raw_fd())), asked(errors.map(|pipe| pipe.as_raw_fd()))];
    let millis = libc::c_int::try_from(most.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: two entries, which outlive the call, with descriptors that are open as long as they are borrowed.
    let found = unsafe { libc::poll(both.as_mut_ptr(), 2, millis) };
    if found < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok(Ready::default()) } else { Err(error) };
    }
    Ok(Ready { output: both[0].revents != 0, errors: both[1].revents != 0 })
}
