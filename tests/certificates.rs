//! HTTPS with an authority of one's own: the system's certificates decide. One test alone, since it sets a variable of the process.

#[path = "notices/server.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use copal::backend::{Backend, Kind, Patience, S3, s3};
use copal::model::Time;
use copal::notices::{Notice, Options, Ping, Report, Way, When, tell};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use server::{Server, ok};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notices").join(name)
}

/// A server that speaks TLS.
fn secured() -> Server {
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(path("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(path("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    Server::with(vec![ok()], move |stream, work| {
        let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
        work(&mut rustls::Stream::new(&mut session, stream));
        session.send_close_notify();
        let _ = session.complete_io(stream);
    })
}

fn told(url: String) -> Vec<String> {
    let mut report = Report::begin("id", "nightly", "web1", "/srv/backup", Time::default());
    report.log = vec!["a line".into()];
    let options = Options { pause: Duration::ZERO, environment: &|_| None, ..Options::default() };
    tell(
        &report,
        &[Notice { when: When::Always, way: Way::Ping(Ping::new(url.as_str().into())) }],
        None,
        &options,
    )
}

/// Stores an object by S3; of an error, the line.
fn stored(host: &str, port: u16) -> Result<(), String> {
    let keys = |name: &str| name.starts_with("AWS_").then(|| "x".into());
    let patience = Patience {
        first: Duration::ZERO,
        most: Duration::ZERO,
        total: Duration::from_secs(60),
        ..Patience::default()
    };
    let options = s3::Options::from_environment(&keys).with_waits(Duration::from_secs(60), patience);
    let storage = S3::new(&format!("https://{host}:{port}/bucket"), options).unwrap();
    storage.put(Kind::Index, &"ab".repeat(32), b"x").map_err(|error| error.to_string())
}

fn trust(file: &Path) {
    // SAFETY: there is one test in this program, and none of its threads reads the environment now.
    unsafe {
        std::env::set_var("SSL_CERT_FILE", file);
        std::env::remove_var("SSL_CERT_DIR");
    }
}

#[test]
fn a_server_is_believed_when_the_system_trusts_who_signed_its_certificate() {
    let server = secured();
    let port = server.address.port();
    trust(&path("authority.pem"));
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(told(format!("https://{host}:{port}/x")), [""; 0]);
    }
    let asked = server.asked();
    assert_eq!((asked.len(), asked[0].what.as_str()), (2, "POST /x?rid=id"));
    stored("localhost", port).unwrap();
    assert!(server.asked()[0].what.starts_with("PUT /bucket/index/abab"));

    // Signed by whom the system does not know: nothing is said to it.
    trust(&path("other.pem"));
    let warnings = told(format!("https://localhost:{port}/x"));
    assert!(warnings[0].contains("add the authority's certificate to the system's"), "{warnings:?}");
    let error = stored("localhost", port).unwrap_err();
    assert!(error.contains("add the authority's certificate") && !error.contains("tried"), "{error}");

    // The right authority, for another name.
    trust(&path("authority.pem"));
    let warnings = told(format!("https://127.0.0.2:{port}/x"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");

    // No certificates at all.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("none.pem"), "").unwrap();
    trust(&folder.path().join("none.pem"));
    let warnings = told(format!("https://localhost:{port}/x"));
    assert!(
        warnings[0].contains("no certificates of authorities") && warnings[0].contains("ca-certificates"),
        "{warnings:?}"
    );
    assert!(stored("localhost", port).unwrap_err().contains("no certificates of authorities"));
    assert!(server.asked().is_empty());
}
