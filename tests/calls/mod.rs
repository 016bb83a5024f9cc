//! The system calls of a run that change files, met before they are made and counted over all its threads: told, refused, cut short, or the
//! last thing that the run comes to. The kernel hands them over (seccomp), however the program makes them.
#![allow(dead_code)]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libc::{c_int, c_long};
use rustix::io::Errno;

use crate::common::{Ended, end_child};

/// Where a call names files.
#[derive(Clone, Copy)]
enum Form {
    /// An open file.
    Open,
    /// A folder and a path; only when something is to be written there (`openat`).
    Opening,
    /// A folder and a path.
    At,
    /// Both twice.
    TwoAt,
    /// A path, without and with a second one.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    Path,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    TwoPaths,
}

/// The calls that are met. Those that libraries still make the old way are there for SQLite and for other C libraries.
const CALLS: &[(c_long, &str, Form)] = &[
    (libc::SYS_openat, "openat", Form::Opening),
    (libc::SYS_write, "write", Form::Open),
    (libc::SYS_writev, "writev", Form::Open),
    (libc::SYS_pwrite64, "pwrite64", Form::Open),
    (libc::SYS_ftruncate, "ftruncate", Form::Open),
    (libc::SYS_fallocate, "fallocate", Form::Open),
    (libc::SYS_fsync, "fsync", Form::Open),
    (libc::SYS_fdatasync, "fdatasync", Form::Open),
    (libc::SYS_fchmod, "fchmod", Form::Open),
    (libc::SYS_fchmodat, "fchmodat", Form::At),
    (libc::SYS_mkdirat, "mkdirat", Form::At),
    (libc::SYS_unlinkat, "unlinkat", Form::At),
    (libc::SYS_linkat, "linkat", Form::TwoAt),
    (libc::SYS_renameat, "renameat", Form::TwoAt),
    (libc::SYS_renameat2, "renameat2", Form::TwoAt),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir", Form::Path),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink", Form::Path),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod", Form::Path),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link", Form::TwoPaths),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename", Form::TwoPaths),
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// A call that is about to be made.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: &'static str,
    /// The file, or its old name.
    pub path: PathBuf,
    /// The new name, of a call that gives one.
    pub to: Option<PathBuf>,
}

impl Call {
    pub fn writes(&self) -> bool {
        matches!(self.name, "write" | "pwrite64")
    }

    pub fn syncs(&self) -> bool {
        matches!(self.name, "fsync" | "fdatasync")
    }

    pub fn renames(&self) -> bool {
        self.to.is_some()
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Go,
    /// The process is killed; the call is not made.
    Kill,
    /// It is not made, and this is what the process hears.
    Fail(Errno),
    /// A write of half of it. Anything else is made as it is.
    Half,
    /// A write that is said to be done, and is not.
    Claim,
}

/// How a run ended, and the calls it came to.
pub struct Met {
    pub ended: Ended,
    pub calls: Vec<Call>,
}

/// Runs, and asks `answer` for each call on something below one of `folders`, with its number from 0 on.
pub fn meet(command: Command, folders: &[&Path], answer: impl FnMut(usize, &Call) -> Answer + Send) -> Met {
    meet_as(command, folders, answer).0
}

/// The same, and the number of the process that it was.
pub fn meet_as(
    mut command: Command,
    folders: &[&Path],
    answer: impl FnMut(usize, &Call) -> Answer + Send,
) -> (Met, u32) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let filter = filter();
    // SAFETY: `install` makes system calls alone, and the filter was made before.
    unsafe { command.pre_exec(move || install(&filter, theirs.as_raw_fd())) };
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{command:?}");
    std::thread::scope(|scope| {
        let server = scope.spawn(|| receive(&ours).map_or_else(Vec::new, |it| serve(&it, folders, answer)));
        let child = command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        // The other end of the socket is the child's alone.
        drop(command);
        let process = child.id();
        let ended = end_child(child, what);
        (Met { ended, calls: server.join().unwrap() }, process)
    })
}

fn filter() -> Vec<libc::sock_filter> {
    let one = |code: u32, jt: usize, jf: usize, k: u32| libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf: jf as u8,
        k,
    };
    let (load, equal, end) = (
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
        libc::BPF_RET | libc::BPF_K,
    );
    let count = CALLS.len();
    let mut program = vec![
        one(load, 0, 0, 4),
        one(equal, 1, 0, ARCHITECTURE),
        one(end, 0, 0, libc::SECCOMP_RET_ALLOW),
        one(load, 0, 0, 0),
    ];
    let calls = CALLS.iter().enumerate();
    program.extend(calls.map(|(place, (number, ..))| one(equal, count - place, 0, *number as u32)));
    program.push(one(end, 0, 0, libc::SECCOMP_RET_ALLOW));
    program.push(one(end, 0, 0, libc::SECCOMP_RET_USER_NOTIF));
    program
}

/// Room for one handle in a message.
const CONTROL: usize = 24;

/// A message of one byte with room for a handle.
fn message(byte: &mut libc::iovec, control: &mut [u64; CONTROL / 8]) -> libc::msghdr {
    // SAFETY: all zeros are a message without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = byte;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    message
}

/// In the child: has the calls handed over, and sends the handle from which they come.
fn install(filter: &[libc::sock_filter], socket: RawFd) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0; CONTROL / 8];
    // SAFETY: all pointers are to what lives until the end of this function.
    unsafe {
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return Err(io::Error::last_os_error());
        }
        let listener = libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        );
        if listener < 0 {
            return Err(io::Error::last_os_error());
        }
        let message = message(&mut part, &mut control);
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as _;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(listener as c_int);
        if libc::sendmsg(socket, &raw const message, 0) != 1 {
            return Err(io::Error::last_os_error());
        }
        libc::close(listener as c_int);
    }
    Ok(())
}

/// The handle that the child sends; none when it could not.
fn receive(socket: &UnixStream) -> Option<OwnedFd> {
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut control = [0; CONTROL / 8];
    let mut message = message(&mut part, &mut control);
    // SAFETY: as above; the handle that comes is ours.
    unsafe {
        if libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) != 1 {
            return None;
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        assert!(!header.is_null());
        Some(OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<c_int>().read_unaligned()))
    }
}

/// Answers until no process is left.
fn serve(listener: &OwnedFd, folders: &[&Path], mut answer: impl FnMut(usize, &Call) -> Answer) -> Vec<Call> {
    let mut calls = Vec::new();
    let handle = listener.as_raw_fd();
    loop {
        let mut poll = libc::pollfd { fd: handle, events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives.
        if unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
            assert_eq!(io::Error::last_os_error().kind(), io::ErrorKind::Interrupted);
            continue;
        }
        if poll.revents & libc::POLLIN == 0 {
            return calls;
        }
        // SAFETY: the kernel wants zeros, and fills in a whole one.
        let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        if unsafe { libc::ioctl(handle, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut asked) } != 0 {
            // Who asked is gone.
            continue;
        }
        let mut answered = libc::seccomp_notif_resp {
            id: asked.id,
            val: 0,
            error: 0,
            flags: libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        };
        let call = call(&asked).filter(|call| {
            let is_below = |path: &PathBuf| folders.iter().any(|folder| path.starts_with(folder));
            is_below(&call.path) || call.to.as_ref().is_some_and(is_below)
        });
        if let Some(call) = call {
            let what = answer(calls.len(), &call);
            let writes = call.writes();
            calls.push(call);
            match what {
                Answer::Go => {}
                Answer::Half if writes => {
                    if let Some(written) = half(&asked) {
                        (answered.val, answered.flags) = (written, 0);
                    }
                }
                Answer::Claim if writes => (answered.val, answered.flags) = (asked.data.args[2] as i64, 0),
                Answer::Half | Answer::Claim => {}
                Answer::Fail(errno) => (answered.error, answered.flags) = (-errno.raw_os_error(), 0),
                Answer::Kill => {
                    let process = rustix::process::Pid::from_raw(process(asked.pid)).unwrap();
                    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
                    continue;
                }
            }
        }
        // SAFETY: a whole answer. That who asked is gone does not matter.
        unsafe { libc::ioctl(handle, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answered) };
    }
}

/// The process of a thread.
fn process(thread: u32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:")).unwrap();
    line.trim().parse().unwrap()
}

/// What is asked; none for what changes nothing, and when who asks is gone.
fn call(asked: &libc::seccomp_notif) -> Option<Call> {
    let (_, name, form) = CALLS.iter().find(|(number, ..)| *number == c_long::from(asked.data.nr))?;
    let arguments = asked.data.args;
    let thread = asked.pid;
    let open = |handle: u64| match handle as c_int {
        libc::AT_FDCWD => std::fs::read_link(format!("/proc/{thread}/cwd")).ok(),
        handle => std::fs::read_link(format!("/proc/{thread}/fd/{handle}")).ok(),
    };
    let at = |folder: u64, path: u64| {
        let path = text(thread, path)?;
        if path.is_absolute() { Some(path) } else { Some(open(folder)?.join(path)) }
    };
    let here = libc::AT_FDCWD as u64;
    let (path, to) = match form {
        Form::Open => (open(arguments[0])?, None),
        Form::Opening => {
            let changing = libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC;
            if arguments[2] as c_int & changing == 0 {
                return None;
            }
            (at(arguments[0], arguments[1])?, None)
        }
        Form::At => (at(arguments[0], arguments[1])?, None),
        Form::TwoAt => (at(arguments[0], arguments[1])?, Some(at(arguments[2], arguments[3])?)),
        Form::Path => (at(here, arguments[0])?, None),
        Form::TwoPaths => (at(here, arguments[0])?, Some(at(here, arguments[1])?)),
    };
    Some(Call { name, path, to })
}

fn memory(thread: u32) -> Option<File> {
    File::open(format!("/proc/{thread}/mem")).ok()
}

/// A path in the memory of who asks.
fn text(thread: u32, address: u64) -> Option<PathBuf> {
    const PAGE: u64 = 4096;
    let memory = memory(thread)?;
    let mut bytes = Vec::new();
    let mut at = address;
    while bytes.len() <= libc::PATH_MAX as usize {
        // Never across the border of a page: the next one may not be there.
        let mut part = vec![0; (PAGE - at % PAGE) as usize];
        let read = memory.read_at(&mut part, at).ok()?;
        if let Some(end) = part[..read].iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&part[..end]);
            return Some(OsString::from_vec(bytes).into());
        }
        bytes.extend_from_slice(&part[..read]);
        at += read as u64;
    }
    None
}

/// Writes the first half of what is to be written, in place of who asks; none when there is no half.
fn half(asked: &libc::seccomp_notif) -> Option<i64> {
    let [handle, address, length, offset, ..] = asked.data.args;
    let mut bytes = vec![0; length as usize / 2];
    if bytes.is_empty() {
        return None;
    }
    memory(asked.pid)?.read_exact_at(&mut bytes, address).ok()?;
    let process = rustix::process::Pid::from_raw(process(asked.pid))?;
    let process = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()?;
    // SAFETY: a new handle, which is ours.
    let file = unsafe {
        let got = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), handle as c_int, 0);
        assert!(got >= 0, "{}", io::Error::last_os_error());
        File::from_raw_fd(got as RawFd)
    };
    let written = match c_long::from(asked.data.nr) {
        libc::SYS_pwrite64 => file.write_at(&bytes, offset),
        _ => io::Write::write(&mut &file, &bytes),
    };
    Some(written.unwrap() as i64)
}
