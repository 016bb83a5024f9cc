//! Waiting for pipes that have something to read.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
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
    let [output, errors] = poll([output.map(AsFd::as_fd), errors.map(AsFd::as_fd)], most)?;
    Ok(Ready { output, errors })
}

/// The same for one; whether it is so.
pub fn is_ready(pipe: BorrowedFd<'_>, most: Duration) -> io::Result<bool> {
    let [ready] = poll([Some(pipe)], most)?;
    Ok(ready)
}

fn poll<const N: usize>(pipes: [Option<BorrowedFd<'_>>; N], most: Duration) -> io::Result<[bool; N]> {
    // The system passes over negative numbers.
    let mut asked = pipes.map(|pipe| libc::pollfd {
        fd: pipe.map_or(-1, |pipe| pipe.as_raw_fd()),
        events: libc::POLLIN,
        revents: 0,
    });
    let millis = libc::c_int::try_from(most.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: so many entries, which outlive the call, with descriptors that are open as long as they are borrowed.
    let found = unsafe { libc::poll(asked.as_mut_ptr(), N as libc::nfds_t, millis) };
    if found < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted { Ok([false; N]) } else { Err(error) };
    }
    Ok(asked.map(|asked| asked.revents != 0))
}
