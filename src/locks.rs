//! Locks that stay usable after a panic in another thread: what is behind them is whole between two statements, and the panic itself
//! ends the run by other ways.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
