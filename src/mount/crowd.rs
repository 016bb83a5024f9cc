//! Asks the kernel to forget what it was told of first when that is more than there is room for. It keeps what is in use, and asks again
//! for what it forgot when somebody wants it; that then has the number that it always had.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Weak;

use crossbeam_channel::Receiver;
use fuser::{INodeNo, Notifier};

use super::answers::Answers;

/// Share of the memory that inodes may take, and about how many bytes one takes.
const SHARE: usize = 8;
const BYTES_EACH: usize = 320;

/// How many inodes there may be, where about so many bytes may be kept in memory.
pub fn most(memory: u64) -> usize {
    usize::try_from(memory).unwrap_or(usize::MAX) / SHARE / BYTES_EACH
}

/// Does that whenever there are too many, until nobody answers any more. To be called in a thread that answers nothing: the kernel holds
/// the folder while it waits for an answer about it, and each of these calls waits for the folder.
pub fn thin_out(answers: &Weak<Answers>, crowded: &Receiver<()>, kernel: &Notifier) {
    while crowded.recv().is_ok() {
        let Some(answers) = answers.upgrade() else { return };
        for (folder, name) in answers.inodes.oldest() {
            // Whatever keeps it from that, the kernel still holds it, and so do we.
            let _ = kernel.inval_entry(INodeNo(folder), OsStr::from_bytes(&name));
        }
    }
}
