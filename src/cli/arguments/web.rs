//! `copal web`: where the page is listened for.

use std::net::SocketAddr;

use clap::Args;

/// Show what is in the repository in a browser
///
/// Prints one address, which opens the page: snapshots, folders, search, versions of a file, downloads, and restores to a folder of this
/// machine. Whoever has the address may do all that; it is good for this run only. It stays until Ctrl-C or SIGTERM.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal web")]
pub struct Web {
    /// Where to listen; port 0 takes a free one. On another address than a loopback one nothing can be restored from the page, and whoever
    /// hears the network hears all that is shown
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
}
