//! Giving way to everything else on the machine: what nobody waits for takes what others leave.

/// The least urgent of all processes.
const NICE: libc::c_int = 19;
/// `IOPRIO_CLASS_IDLE` in its place, of `linux/ioprio.h`.
const IO_IDLE: libc::c_int = 3 << 13;
/// `IOPRIO_WHO_PROCESS`, of the same.
const WHO_PROCESS: libc::c_int = 1;

/// Puts this process and all threads that it starts behind everything else: the processor's time that nobody wants (`SCHED_IDLE`), the
/// disk when nobody else asks. What the system does not allow is left as it is. Call it before any thread is started.
pub fn give_way() {
    // SAFETY: these set attributes of this process and touch no memory but the one parameter.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        // Of the system itself: the call of musl does nothing.
        let priority: libc::c_int = 0;
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_IDLE, &raw const priority);
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, IO_IDLE);
    }
}
