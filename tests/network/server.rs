//! Real servers that speak S3, each for one test, stopped with it.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use copal::backend::{Patience, s3};

use super::listen;

/// A server that takes longer to begin is none.
const BEGINS: Duration = Duration::from_secs(120);
pub const BUCKET: &str = "backups";

/// A server, and the keys that it takes.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    pub key: String,
    pub secret: String,
    /// Whether it can be asked for a bucket that is not there.
    pub makes_buckets: bool,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `s3s-fs` over a folder: buckets are folders, objects are files.
    pub fn s3s(folder: &Path) -> Server {
        let program = program("COPAL_TEST_S3S_FS", "s3s-fs").unwrap_or_else(|| {
            panic!("there is no s3s-fs in target/servers: run tests/install, which builds it")
        });
        let root = folder.join("s3");
        std::fs::create_dir_all(&root).unwrap();
        let (key, secret) = ("test-key", "test-secret");
        started(key, secret, true, |address| {
            let port = address.port().to_string();
            let mut command = bound(&program);
            command.args([
                "--host",
                "127.0.0.1",
                "--port",
                &port,
                "--access-key",
                key,
                "--secret-key",
                secret,
            ]);
            command.arg(&root);
            command
        })
    }

    /// Garage, as its own only node, where `COPAL_TEST_GARAGE` names it.
    pub fn garage(folder: &Path) -> Server {
        let program = std::env::var_os("COPAL_TEST_GARAGE")
            .map(PathBuf::from)
            .expect("COPAL_TEST_GARAGE: the program of Garage, see tests/install --all");
        let (key, secret) = ("GK00000000000000000000000a", "ab".repeat(32));
        let root = folder.join("garage");
        std::fs::create_dir_all(&root).unwrap();
        let file = root.join("garage.toml");
        started(key, &secret.clone(), false, |address| {
            let inner = [listen().1, listen().1];
            let text = format!(
                "metadata_dir = \"{0}/meta\"\ndata_dir = \"{0}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\nrpc_bind_addr = \"{1}\"\nrpc_public_addr = \"{1}\"\nrpc_secret = \"{2}\"\n[s3_api]\ns3_region = \"garage\"\napi_bind_addr = \"{address}\"\n[admin]\napi_bind_addr = \"{3}\"\nadmin_token = \"x\"\n",
                root.display(),
                inner[0],
                "cd".repeat(32),
                inner[1]
            );
            std::fs::write(&file, text).unwrap();
            let mut command = bound(&program);
            command.args(["server", "--single-node", "--default-bucket"]).env("GARAGE_CONFIG_FILE", &file);
            command.env("GARAGE_DEFAULT_ACCESS_KEY", key).env("GARAGE_DEFAULT_SECRET_KEY", &secret);
            command.env("GARAGE_DEFAULT_BUCKET", BUCKET);
            command
        })
    }

    /// What stands behind `s3:` for a prefix of its bucket, by way of an address.
    pub fn location_by(&self, address: SocketAddr, prefix: &str) -> String {
        format!("http://{address}/{BUCKET}/{prefix}")
    }

    pub fn location(&self, prefix: &str) -> String {
        self.location_by(self.address, prefix)
    }

    /// With its keys, and little patience.
    pub fn options(&self) -> s3::Options {
        options(&self.key, &self.secret)
    }
}

/// With keys, and little patience.
pub fn options(key: &str, secret: &str) -> s3::Options {
    let look = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(key.into()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.into()),
        _ => None,
    };
    let patience = Patience {
        first: Duration::from_millis(1),
        most: Duration::from_millis(20),
        total: Duration::from_secs(60),
        ..Patience::default()
    };
    s3::Options::from_environment(&look).with_waits(Duration::from_secs(60), patience)
}

/// A program that a variable names, or of `target/servers`.
fn program(variable: &str, name: &str) -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/bin").join(name);
    std::env::var_os(variable).map(PathBuf::from).or_else(|| built.is_file().then_some(built))
}

/// A command that ends with the thread that starts it, whatever becomes of that.
fn bound(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Starts a server on a port that is free, and waits until it answers.
fn started(key: &str, secret: &str, makes_buckets: bool, command: impl Fn(SocketAddr) -> Command) -> Server {
    let began = Instant::now();
    loop {
        let (listener, address) = listen();
        drop(listener);
        let child = command(address).spawn().unwrap();
        let mut server =
            Server { child, address, key: key.to_owned(), secret: secret.to_owned(), makes_buckets };
        loop {
            assert!(began.elapsed() < BEGINS, "the server does not begin to answer");
            // Another one may have taken the port meanwhile: then this one ends, and is started again on another.
            if server.child.try_wait().unwrap().is_some() {
                break;
            }
            if answers(address) && server.child.try_wait().unwrap().is_none() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether something speaks HTTP there.
fn answers(address: SocketAddr) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut first = [0; 5];
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_exact(&mut first).is_ok()
        && &first == b"HTTP/"
}
