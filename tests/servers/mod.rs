//! Servers that speak SFTP, or are copal, on loopback and free ports, that end with whoever started them.
#![allow(dead_code)]

use std::any::Any;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use copal::backend::sftp::{Options, Place};
use copal::backend::{Patience, Served, Sftp};

/// OpenSSH's server for one connection, which needs no sshd.
pub const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// Pauses that no test waits for.
pub const QUICK: Patience = Patience {
    first: Duration::from_millis(1),
    most: Duration::from_millis(50),
    total: Duration::from_secs(30),
    stops: || false,
};

/// The repository in a folder, through a command that speaks SFTP.
pub fn through(command: &str, folder: &Path) -> Sftp {
    let options = Options::new(None, Some(("command", command))).unwrap();
    let place = Place::parse(&format!("server:{}", folder.display())).unwrap();
    Sftp::new(place, Options { patience: QUICK, ..options })
}

/// What a server's `copal serve` is, with these options.
pub fn serve_command(options: &str) -> String {
    format!("{} serve {options}", env!("CARGO_BIN_EXE_copal"))
}

/// The repository in a folder, through a command that serves it.
pub fn served(command: &str, folder: &Path) -> Served {
    let options = Options::new(None, Some(("command", command))).unwrap();
    let place = Place::parse_as("copal+ssh", &format!("server:{}", folder.display())).unwrap();
    Served::new(place, Options { patience: QUICK, ..options })
}

/// Waits until something answers on a port, as long as the child lives.
fn answers(port: u16, child: &mut Child) -> bool {
    loop {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            let mut first = [0];
            if stream.read(&mut first).is_ok_and(|count| count == 1) {
                return true;
            }
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// All processes below one, itself left out.
fn descendants(of: u32) -> Vec<u32> {
    let parent = |id: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, parent(id)?)))
        .collect();
    let mut found = vec![of];
    let mut place = 0;
    while let Some(above) = found.get(place).copied() {
        found.extend(all.iter().filter(|(_, parent)| *parent == above).map(|(id, _)| *id));
        place += 1;
    }
    found.split_off(1)
}

/// Ends a child of ours and all below it.
fn end(child: &mut Child) {
    let below = descendants(child.id());
    let _ = child.kill();
    let _ = child.wait();
    for id in below {
        if let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }
}

/// An sshd, with a key that it lets in and a configuration for `ssh` that knows it as `server`.
pub struct Sshd {
    folder: tempfile::TempDir,
    pub port: u16,
    subsystem: String,
    child: Option<Child>,
}

impl Sshd {
    /// With OpenSSH's own server for files inside.
    pub fn start() -> Sshd {
        Sshd::with("internal-sftp")
    }

    /// With that command as the subsystem.
    pub fn with(subsystem: &str) -> Sshd {
        let folder = tempfile::Builder::new().prefix("copal-sshd-").tempdir_in("/var/tmp").unwrap();
        // Keys are read by the user who logs in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for key in ["host", "user", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", key, "-f"])
                .arg(folder.path().join(key))
                .status();
            assert!(made.unwrap().success());
        }
        fs::copy(folder.path().join("user.pub"), folder.path().join("authorized")).unwrap();
        let mut server = Sshd { folder, port: 0, subsystem: subsystem.to_owned(), child: None };
        server.restart();
        server
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn subsystem(&mut self, subsystem: &str) {
        self.subsystem = subsystem.to_owned();
    }

    /// Ends all its connections, and listens on the same port again.
    pub fn restart(&mut self) {
        self.stop();
        // Where sshd looks for it when root starts it.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        loop {
            if self.port == 0 {
                self.port = free_port();
            }
            self.configure();
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(self.path("sshd_config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(self.path("log")).unwrap())
                .spawn()
                .expect("openssh-server is not installed: see tests/install");
            if answers(self.port, &mut child) {
                self.child = Some(child);
                return;
            }
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(log.contains("Address already in use"), "sshd did not start: {log}");
            // Somebody else was faster, and has it for good.
            self.port = 0;
        }
    }

    /// Ends it with all its connections.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
    }

    /// Ends its connections and goes on listening.
    pub fn drop_connections(&self) {
        let Some(child) = &self.child else { return };
        for id in descendants(child.id()) {
            if let Some(id) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
            }
        }
    }

    /// Lets a key in for that command and nothing else, as a line of `authorized_keys` of the docs has it. The key `user` counts for itself.
    pub fn admit(&self, key: &str, command: &str) {
        let public = fs::read_to_string(self.path(&format!("{key}.pub"))).unwrap();
        let kept = fs::read_to_string(self.path("authorized")).unwrap_or_default();
        let kept: String = kept
            .lines()
            .filter(|line| !line.contains(public.trim()))
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(self.path("authorized"), format!("{kept}command=\"{command}\",restrict {public}")).unwrap();
    }

    fn configure(&self) {
        let at = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\n\
             Subsystem sftp {}\nSetEnv PATH={}:/usr/bin:/bin\n",
            self.port,
            at("host"),
            at("authorized"),
            self.subsystem,
            // Where a plain account finds `copal`.
            Path::new(env!("CARGO_BIN_EXE_copal")).parent().unwrap().display()
        );
        fs::write(self.path("sshd_config"), config).unwrap();
        let host_key = fs::read_to_string(self.path("host.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("server {host_key}")).unwrap();
        self.configure_client("ssh_config", self.port, "user");
    }

    /// A configuration that reaches it through a port (a proxy's perhaps), with a key.
    pub fn configure_client(&self, name: &str, port: u16, key: &str) {
        let at = |name: &str| self.path(name).display().to_string();
        let config = format!(
            "Host *\nHostName 127.0.0.1\nPort {port}\nHostKeyAlias server\nIdentityFile {}\nIdentitiesOnly yes\nIdentityAgent none\n\
             UserKnownHostsFile {}\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n",
            at(key),
            at("known_hosts")
        );
        fs::write(self.path(name), config).unwrap();
    }

    /// What `COPAL_SSH_COMMAND` is to be.
    pub fn ssh(&self) -> String {
        self.ssh_with("ssh_config")
    }

    pub fn ssh_with(&self, configuration: &str) -> String {
        format!("ssh -F {}", self.path(configuration).display())
    }

    pub fn options(&self) -> Options {
        Options { patience: QUICK, ..Options::new(Some(("ssh", &self.ssh())), None).unwrap() }
    }

    /// The same, served by the copal that the account finds there.
    pub fn served(&self, folder: &Path) -> Served {
        let place = Place::parse_as("copal+ssh", &format!("server:{}", folder.display())).unwrap();
        Served::new(place, self.options())
    }

    /// The repository in a folder, for the user who runs the tests or another one.
    pub fn backend(&self, user: Option<&str>, folder: &Path) -> Sftp {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Sftp::new(Place::parse(&format!("{user}server:{}", folder.display())).unwrap(), self.options())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An sshd and the repository in a folder of nobody's, who logs in.
pub fn of_nobody(folder: &Path) -> (Box<dyn Any>, Sftp) {
    let server = Sshd::start();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let own = folder.join("own");
    fs::create_dir(&own).unwrap();
    chown(&own, Some(65534), Some(65534)).unwrap();
    let backend = server.backend(Some("nobody"), &own.join("repository"));
    (Box::new(server), backend)
}

/// A server that rclone is: another implementation, with other extensions.
pub struct Rclone {
    child: Child,
    folder: tempfile::TempDir,
    pub port: u16,
}

impl Rclone {
    /// Gives out a folder.
    pub fn start(root: &Path) -> Rclone {
        let folder = tempfile::Builder::new().prefix("copal-rclone-").tempdir_in("/var/tmp").unwrap();
        loop {
            let port = free_port();
            let mut child = Command::new("rclone")
                .args(["serve", "sftp", "--no-auth", "--addr", &format!("127.0.0.1:{port}")])
                // Nothing is kept back: what is stored is there, for everyone, at once.
                .args(["--vfs-cache-mode", "off", "--dir-cache-time", "0"])
                .arg(root)
                .env("HOME", folder.path())
                .env("XDG_CACHE_HOME", folder.path())
                .env("RCLONE_CONFIG", folder.path().join("rclone.conf"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("rclone is not installed: see tests/install");
            if answers(port, &mut child) {
                return Rclone { child, folder, port };
            }
        }
    }

    pub fn ssh(&self) -> String {
        let config = self.folder.path().join("ssh_config");
        let text = format!(
            "Host *\nHostName 127.0.0.1\nPort {}\nUserKnownHostsFile {}\nStrictHostKeyChecking no\nIdentityAgent none\nIdentityFile none\n",
            self.port,
            self.folder.path().join("known_hosts").display()
        );
        fs::write(&config, text).unwrap();
        format!("ssh -F {}", config.display())
    }

    pub fn backend(&self, path: &str) -> Sftp {
        let options = Options::new(Some(("ssh", &self.ssh())), None).unwrap();
        Sftp::new(Place::parse(&format!("server:{path}")).unwrap(), Options { patience: QUICK, ..options })
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
