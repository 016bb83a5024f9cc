//! The thread that hears what the system tells, and what whoever backs up asks it. It waits for the system and does nothing meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::Unwatched;
use super::events::Told;
use super::folders::Folders;
use super::mounts::Mounts;
use crate::backup::exclude::Excludes;
use crate::backup::touched::Touched;
use crate::locks::lock;
use crate::repository::caught;

/// Bytes of events that are taken at once.
const BUFFER: usize = 64 << 10;
/// A pause after events were taken: the system puts equal ones together meanwhile.
pub const NAP: Duration = Duration::from_millis(20);

/// What to watch.
pub struct Options {
    /// As of a backup.
    pub sources: Vec<Vec<u8>>,
    pub excludes: Excludes,
    pub one_file_system: bool,
    /// Copal's own files and folders, by device and inode, and by path.
    pub own: HashSet<(u64, u64)>,
    pub own_paths: Vec<Vec<u8>>,
    /// Files that this process writes to with each backup, such as its log: saved as any others, and no reason for a backup.
    pub written: Vec<Vec<u8>>,
    /// Not more watches than that.
    pub watches_most: Option<usize>,
    pub nap: Duration,
}

/// Changes that were not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub first: Instant,
    pub last: Instant,
}

/// What is known, under one lock.
pub(super) struct State {
    pub options: Options,
    pub inotify: OwnedFd,
    pub folders: Folders,
    /// Paths of folders that are walked each time with all below, and why.
    pub unwatched: BTreeMap<Vec<u8>, Unwatched>,
    pub touched: Touched,
    pending: Option<Pending>,
    mounts: Mounts,
    /// What each source was when it was looked at last: device and inode.
    seen: HashMap<Vec<u8>, Option<(u64, u64)>>,
    /// Nobody hears any more.
    deaf: bool,
    /// Why hints were given up, for whoever asks next.
    lost: Option<&'static str>,
    bell: Sender<()>,
}

impl State {
    /// A change counts: somebody is to think about a backup.
    pub(super) fn count(&mut self) {
        let now = Instant::now();
        match &mut self.pending {
            Some(pending) => pending.last = now,
            None => {
                self.pending = Some(Pending { first: now, last: now });
                let _ = self.bell.try_send(());
            }
        }
    }

    /// Something may have been missed: all is watched anew, and walked.
    pub(super) fn lost(&mut self, why: &'static str) {
        self.lost = Some(why);
        self.place_all();
        self.touched = Touched::everything();
        self.count();
    }

    /// Whether copal itself writes there.
    pub(super) fn is_own_path(&self, path: &[u8]) -> bool {
        self.options.own_paths.iter().any(|own| own == path)
    }

    /// Remembers what the sources are.
    pub(super) fn note_sources(&mut self) {
        self.seen = self.options.sources.iter().map(|source| (source.clone(), identity(source))).collect();
        self.mounts.changed(&self.options.sources);
    }

    fn check_mounts(&mut self) {
        if self.mounts.changed(&self.options.sources) {
            self.lost("something was mounted or unmounted");
        }
    }
}

/// Device and inode of the folder at a path; zeros of anything else, which has no watch of its own.
fn identity(path: &[u8]) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(OsStr::from_bytes(path)).ok()?;
    Some(if metadata.is_dir() { (metadata.dev(), metadata.ino()) } else { (0, 0) })
}

/// Watches until the process ends.
pub struct Watcher {
    state: Arc<Mutex<State>>,
    bell: Receiver<()>,
}

impl Watcher {
    /// Places all watches. What happens from then on is heard. `waker` becomes readable when a signal came.
    pub fn begin(options: Options, waker: OwnedFd) -> Result<Watcher, Errno> {
        let inotify = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let (ring, bell) = crossbeam_channel::bounded(1);
        let nap = options.nap;
        let mut state = State {
            options,
            inotify,
            folders: Folders::default(),
            unwatched: BTreeMap::new(),
            touched: Touched::everything(),
            pending: None,
            mounts: Mounts::new(),
            seen: HashMap::new(),
            deaf: false,
            lost: None,
            bell: ring,
        };
        state.place_all();
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || {
                // Whatever ends it, nobody may go on as if nothing happened any more.
                let _ = caught(|| {
                    hear(&shared, &waker, nap);
                    Ok(())
                });
                let mut state = lock(&shared);
                state.deaf = true;
                let _ = state.bell.try_send(());
            })
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))?;
        Ok(Watcher { state, bell })
    }

    /// How many folders of the sources are watched.
    pub fn folders(&self) -> usize {
        lock(&self.state).folders.in_sources()
    }

    /// Folders that can not be watched, and are walked each time.
    pub fn unwatched(&self) -> Vec<(Vec<u8>, Unwatched)> {
        lock(&self.state).unwatched.iter().map(|(path, why)| (path.clone(), *why)).collect()
    }

    /// Whether nothing is heard any more, for a reason that can not be mended here.
    pub fn is_deaf(&self) -> bool {
        lock(&self.state).deaf
    }

    /// Changes that nobody has taken.
    pub fn pending(&self) -> Option<Pending> {
        lock(&self.state).pending
    }

    /// Why hints were given up since the last time this was asked.
    pub fn lost(&self) -> Option<&'static str> {
        lock(&self.state).lost.take()
    }

    /// Copal's own files, as they are now.
    pub fn set_own(&self, own: HashSet<(u64, u64)>) {
        lock(&self.state).options.own = own;
    }

    /// Where something may have happened since this was last asked; from now on it is collected anew.
    pub fn take(&self) -> Touched {
        let mut state = lock(&self.state);
        let sources = state.options.sources.clone();
        if sources.iter().any(|source| state.seen.get(source) != Some(&identity(source))) {
            state.lost("a source is another one than before");
        }
        state.check_mounts();
        state.pending = None;
        let mut touched = std::mem::take(&mut state.touched);
        for path in state.unwatched.keys() {
            touched.add_whole(path);
        }
        touched
    }

    /// What was taken, and could not be saved.
    pub fn give_back(&self, touched: &Touched) {
        lock(&self.state).touched.merge(touched);
    }

    /// Waits until something happens that matters, at most that long.
    pub fn wait(&self, most: Duration) {
        let _ = self.bell.recv_timeout(most);
    }
}

/// Hears until the process ends.
fn hear(state: &Mutex<State>, waker: &OwnedFd, nap: Duration) {
    let (events, mounts, bell) = {
        let state = lock(state);
        let mounts = state.mounts.file().map_or(-1, AsRawFd::as_raw_fd);
        (state.inotify.as_raw_fd(), mounts, state.bell.clone())
    };
    let wait_for = |fd, events| libc::pollfd { fd, events, revents: 0 };
    let mut files = [
        wait_for(events, libc::POLLIN),
        wait_for(waker.as_raw_fd(), libc::POLLIN),
        wait_for(mounts, libc::POLLPRI),
    ];
    let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
    loop {
        // SAFETY: the array is ours and of that length; its files stay open as long as this thread is there.
        let ready = unsafe { libc::poll(files.as_mut_ptr(), files.len() as libc::nfds_t, -1) };
        if ready < 0 {
            if Errno::from_io_error(&std::io::Error::last_os_error()) == Some(Errno::INTR) {
                continue;
            }
            return;
        }
        if files[1].revents != 0 {
            let _ = bell.try_send(());
            // One signal is enough: the process ends.
            files[1].fd = -1;
        }
        if files[2].revents != 0 {
            lock(state).check_mounts();
        }
        if files[0].revents != 0 {
            read(&mut lock(state), &mut buffer);
            std::thread::sleep(nap);
        }
    }
}

/// Takes the events that are there.
fn read(state: &mut State, buffer: &mut [MaybeUninit<u8>]) {
    let mut all = Vec::new();
    {
        let mut reader = inotify::Reader::new(&state.inotify, buffer);
        loop {
            match reader.next() {
                Ok(event) => all.push(Told::of(&event)),
                Err(Errno::INTR) => continue,
                Err(_) => break,
            }
            if reader.is_buffer_empty() {
                break;
            }
        }
    }
    for told in &all {
        state.take_event(told);
    }
}
