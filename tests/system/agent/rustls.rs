//! Plaintext of rustls: a server and two clients that are this test's own program, run as processes of their own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme, StreamOwned,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::requests::check_pair;
use super::watch;
use crate::programs::{Program, accepting, finish, free_address, installed, start_with};

/// Where the server is, for the children.
const ADDRESS: &str = "RUSTLS_UNDER_TEST";
const SERVES: &str = "agent::rustls::serves";
const ASKS: &str = "agent::rustls::asks";
const ASKS_BLOCKING: &str = "agent::rustls::asks_blocking";
/// Connections of each client.
const CONNECTIONS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn rustls_with_symbols() {
    watch(async |watched| {
        if installed(&["openssl"]).is_none() {
            return;
        }
        let folder = watched.folder();
        let made = [
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "cert", "-days", "2",
            "-subj", "/CN=x",
        ];
        assert!(finish(folder, "", "openssl", &made).await);
        let address = free_address();
        let _server = child(folder, "rustls-server", SERVES, address);
        accepting(address.port()).await;
        // What is no program of Go is watched from its first TLS connection on. Two requests over one connection: where the host is slow,
        // the first comes in one piece with the end of the handshake, and is not seen.
        let url = format!("https://{address}/orders/1");
        let ask = async || assert!(finish(folder, "", "curl", &["-sk", "--http1.1", &url, &url]).await);
        let trace = watched.trace_of_asking("rustls-server", "GET /orders/{id}", ask).await;
        check_pair(&trace, "curl", "rustls-server");
        for (service, test) in [("rustls-client", ASKS), ("rustls-blocking", ASKS_BLOCKING)] {
            let mut client = child(folder, service, test, address);
            assert!(client.child.wait().await.expect("it ends").success(), "{service} is answered");
            watched.edge(service, "rustls-server").await;
            let labels = [&*format!("service=\"{service}\""), "protocol=\"http\"", "outcome=\"ok\""];
            let seen = watched.measured("inquest_request_duration_seconds_count", &labels).await;
            eprintln!("{seen} of {CONNECTIONS} requests of {service} seen");
        }
        let labels = ["service=\"rustls-server\"", "protocol=\"http\"", "outcome=\"ok\""];
        let seen = watched.measured("inquest_inbound_request_duration_seconds_count", &labels).await;
        eprintln!("{seen} requests seen by the server");
    })
    .await;
}

/// This program again, to run one of the tests below.
fn child(folder: &std::path::Path, service: &str, test: &str, address: SocketAddr) -> Program {
    let program = std::env::current_exe().expect("this program");
    let variables = [("OTEL_SERVICE_NAME", service.to_owned()), (ADDRESS, address.to_string())];
    start_with(folder, &variables, &program.display().to_string(), &["--ignored", "--exact", test])
}

fn address() -> SocketAddr {
    std::env::var(ADDRESS).expect("where the server is").parse().expect("an address")
}

/// Not a test: the server.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is killed"]
async fn serves() {
    let certificate = CertificateDer::from_pem_file("cert").expect("a certificate");
    let key = PrivateKeyDer::from_pem_file("key").expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a certificate with its key");
    let listener = Listener {
        plain: TcpListener::bind(address()).await.expect("a port"),
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    let answer = async |Path(id): Path<String>| format!("order {id}");
    axum::serve(listener, Router::new().route("/orders/{id}", get(answer))).await.expect("it serves");
}

/// Shakes hands in one task; what is said then is another's.
struct Listener {
    plain: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Listener {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok((stream, from)) = self.plain.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.plain.local_addr()
    }
}

/// Not a test: a client of tokio-rustls.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "asks the server of another test"]
async fn asks() {
    for id in 0..CONNECTIONS {
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().expect("a client");
        let answer =
            client.get(format!("https://{}/orders/{id}", address())).send().await.expect("an answer");
        assert_eq!(answer.text().await.expect("a text"), format!("order {id}"));
        // What watches has time to come.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Not a test: a client without tasks.
#[test]
#[ignore = "asks the server of another test"]
#[expect(clippy::disallowed_methods, reason = "no task waits here")]
fn asks_blocking() {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(ring::default_provider())))
        .with_no_client_auth();
    let config = Arc::new(config);
    for id in 0..CONNECTIONS {
        let name = ServerName::try_from("x").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&config), name).expect("a session");
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address()).expect("connected"));
        let request = format!("GET /orders/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        // The server ends without a word of farewell.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.ends_with(&format!("order {id}")), "{answer}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Takes every certificate.
#[derive(Debug)]
struct Trusting(CryptoProvider);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
