//! Authorities and certificates made for one test, and the network's end of a link inside TLS.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use iso_codec::{Draft, Message};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::PATIENCE;
use super::iso::{framed, read, spec};

/// Who signs.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `localhost` and 127.0.0.1, for servers and clients.
    pub(crate) fn issue(&self) -> Issued {
        self.issue_until("localhost", 2090)
    }

    /// The same for another name, or one that ended at the start of that year.
    pub(crate) fn issue_until(&self, name: &str, year: i32) -> Issued {
        let mut params = CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]).expect("names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("a root");
        roots
    }

    /// A client that believes this authority and shows a certificate, or none.
    pub(crate) fn client(
        &self,
        shows: Option<&Issued>,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(self.roots());
        match shows {
            None => builder.with_no_client_auth(),
            Some(issued) => builder.with_client_auth_cert(issued.chain(), issued.private()).expect("a pair"),
        }
    }

    /// A server that shows this certificate and wants clients that this authority signed.
    pub(crate) fn server(&self, shows: &Issued) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(self.roots());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.build().expect("a verifier"))
            .with_single_cert(shows.chain(), shows.private())
            .expect("a pair")
    }
}

impl Issued {
    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM")]
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM")
    }
}

/// The files that a link is configured with.
pub(crate) struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    pub(crate) fn new(shows: &Issued, believes: &Authority) -> Self {
        let files = Self { dir: tempfile::tempdir().expect("a directory") };
        files.show(shows);
        files.believe(believes);
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces certificate and key, as tools do it: a new file takes the old one's name.
    pub(crate) fn show(&self, issued: &Issued) {
        self.put("own.pem", &issued.certificate);
        self.put("own.key", &issued.key);
    }

    /// Replaces the authority.
    pub(crate) fn believe(&self, authority: &Authority) {
        self.put("ca.pem", &authority.pem);
    }

    pub(crate) fn put(&self, name: &str, text: &str) {
        let fresh = self.path("fresh");
        std::fs::write(&fresh, text).expect("written");
        std::fs::rename(&fresh, self.path(name)).expect("renamed");
    }

    /// TOML lines of a link, the last of its table: certificate, key and authority.
    pub(crate) fn lines(&self) -> String {
        let line = |key: &str, file: &Path| format!("{key} = {file:?}\n");
        let keys = [("certificate", "own.pem"), ("key", "own.key"), ("peer_ca", "ca.pem")];
        let lines: String = keys.iter().map(|(key, file)| line(key, &self.path(file))).collect();
        format!("[link.tls]\n{lines}")
    }
}

/// A connection to a link, or from one, inside TLS.
pub(crate) struct Secure {
    tls: Connection,
    pub(crate) stream: TcpStream,
}

impl Secure {
    /// Connects and waits for the end of the handshake on both sides: what the engine thinks of our certificate
    /// is known only when it says something, so that an echo is asked for.
    pub(crate) fn connect(addr: SocketAddr, config: ClientConfig) -> Result<Self, String> {
        let name = ServerName::try_from("localhost").expect("a name");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut wire = Self::over(TcpStream::connect(addr).expect("the link accepts"), tls.into());
        wire.write(&framed(&super::iso::network(270).encode(&spec()).expect("a message")))?;
        wire.frame().map(|_| wire)
    }

    /// The network's end of a connection that the engine opened.
    pub(crate) fn accept(stream: TcpStream, config: ServerConfig) -> Self {
        let tls = ServerConnection::new(Arc::new(config)).expect("a server");
        Self::over(stream, tls.into())
    }

    fn over(stream: TcpStream, tls: Connection) -> Self {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        Self { tls, stream }
    }

    /// What is encrypted and not sent yet: for those who send it in pieces.
    pub(crate) fn encrypted(&mut self, plain: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(plain).expect("room");
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).expect("a vector");
        }
        out
    }

    pub(crate) fn write(&mut self, mut plain: &[u8]) -> Result<(), String> {
        while !plain.is_empty() {
            let taken = self.tls.writer().write(plain).expect("it only encrypts");
            plain = &plain[taken..];
            while self.tls.is_handshaking() || self.tls.wants_write() {
                self.tls.complete_io(&mut self.stream).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    /// The next frame's content.
    pub(crate) fn frame(&mut self) -> Result<Bytes, String> {
        let mut length = [0u8; 2];
        self.fill(&mut length)?;
        let mut content = vec![0u8; usize::from(u16::from_be_bytes(length))];
        self.fill(&mut content)?;
        Ok(content.into())
    }

    fn fill(&mut self, room: &mut [u8]) -> Result<(), String> {
        match self.read_exact(room) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came")
            }
            other => other.map_err(|error| error.to_string()),
        }
    }

    pub(crate) fn send(&mut self, draft: &Draft) {
        self.write(&framed(&draft.encode(&spec()).expect("a message"))).expect("the link reads");
    }

    pub(crate) fn reply(&mut self) -> Message {
        read(self.frame().expect("a reply"))
    }

    pub(crate) fn ask(&mut self, draft: &Draft) -> Message {
        self.send(draft);
        self.reply()
    }

    /// Whether the engine says inside TLS that it sends no more, after whatever it still says.
    pub(crate) fn said_goodbye(&mut self) -> bool {
        self.read_to_end(&mut Vec::new()).is_ok()
    }
}

impl Read for Secure {
    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.tls.reader().read(room) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.tls.complete_io(&mut self.stream)?,
                other => return other,
            };
        }
    }
}
