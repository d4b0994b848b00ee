//! TLS, against OpenSSL's server.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kiln_transfer::{Error, FetchOptions};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};

use crate::{Destination, fetch_with, options, pattern, policy};

/// `openssl s_server` with a certificate for 127.0.0.1 that only itself vouches for; serves files of its directory.
struct TlsServer {
    dir: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl TlsServer {
    async fn start(file: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("disk"), file).unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=kiln test", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir.path())
            .output()
            .expect("openssl is installed");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let process = Command::new("openssl")
            .args(["s_server", "-quiet", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept"])
            .arg(format!("127.0.0.1:{port}"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { dir, port, process };
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("openssl s_server does not listen");
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/disk", self.port)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn https_needs_a_trusted_certificate() {
    let body = pattern(300_000);
    let server = TlsServer::start(&body).await;
    let destination = Destination::new();
    // This server closes the connection instead of announcing a length, so the digest is the proof of the end.
    let options = FetchOptions { expected_sha256: Some(Sha256::digest(&body).into()), ..options() };
    let mut patient = policy();
    patient.timeouts.response_head = Duration::from_secs(5);
    patient.timeouts.idle = Duration::from_secs(5);
    let error = fetch_with(patient.clone(), &server.url(), &destination.path(), &options).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }) && !error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    patient.extra_roots_pem.push(std::fs::read(server.dir.path().join("cert.pem")).unwrap());
    fetch_with(patient, &server.url(), &destination.path(), &options).await.unwrap();
    assert!(destination.content() == body);
}

#[tokio::test]
async fn https_of_a_plain_server_is_a_tls_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    });
    let destination = Destination::new();
    let found = fetch_with(policy(), &url, &destination.path(), &options()).await;
    assert!(matches!(found, Err(Error::Tls { .. })), "{found:?}");
    answering.abort();
}

#[test]
fn unusable_certificates_are_told_when_setting_up() {
    let mut policy = policy();
    policy.extra_roots_pem.push(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
    assert!(matches!(kiln_transfer::Fetcher::new(policy), Err(Error::Setup { .. })));
}
