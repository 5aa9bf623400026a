//! The certificates of one link: read from PEM files, and again when the files change.
//!
//! A file that cannot be used never replaces one that can. No private key is ever printed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::config::{Identity, LinkTls, PeerCa};
use crate::telemetry::names;

/// Certificate files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{}: {what}; give a readable PEM file", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong; never its content.
        what: String,
    },
    /// A file has nothing of what it is named for.
    #[error("{}: there is no {what} in it; give a PEM file with one", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// Certificate or private key.
        what: &'static str,
    },
    /// Certificate and key cannot be used with each other, or not at all.
    #[error("{} and {}: {what}; give a certificate with its own private key", .certificate.display(), .key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// What the file holds is no certificate of an authority.
    #[error("{}: {what}; give the certificate of the authority that signs the peers", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The platform has no authorities.
    #[error("the system has no root certificates; install them, or name a file in `peer_ca`")]
    NoSystemRoots,
}

/// One link's certificates as they were last read.
#[derive(Debug)]
pub(in crate::switch) struct Certificates {
    link: String,
    config: LinkTls,
    made: Made,
    /// How the files looked before they were last read, whether they could be used then or not.
    seen: Vec<Stamp>,
}

#[derive(Debug, Clone)]
enum Made {
    Server(Arc<ServerConfig>),
    Client(Arc<ClientConfig>, ServerName<'static>),
}

impl Certificates {
    /// Reads the files for the first time.
    pub(in crate::switch) fn read(link: &str, config: &LinkTls) -> Result<Self, TlsError> {
        let seen = stamps(config);
        Ok(Self { link: link.to_owned(), config: config.clone(), made: make(config)?, seen })
    }

    /// Reads the files again when they changed since they were last read. When they cannot be used, those
    /// before stay, and the log says why, once for each change.
    pub(in crate::switch) fn refresh(&mut self) {
        let now = stamps(&self.config);
        if now == self.seen {
            return;
        }
        // Taken before reading: a file that changes meanwhile is read once more.
        self.seen = now;
        match make(&self.config) {
            Ok(made) => {
                self.made = made;
                names::link_certificates(&self.link, "taken");
                tracing::info!(link = %self.link, "certificates read again; new connections use them");
            }
            Err(error) => {
                names::link_certificates(&self.link, "refused");
                tracing::error!(link = %self.link, "new certificates not taken, those before stay: {error}");
            }
        }
    }

    /// One end of a new session: the server's on a link that listens, the client's on one that connects.
    pub(in crate::switch) fn session(&self) -> Result<Connection, rustls::Error> {
        Ok(match &self.made {
            Made::Server(config) => Connection::Server(ServerConnection::new(Arc::clone(config))?),
            Made::Client(config, name) => Connection::Client(ClientConnection::new(Arc::clone(config), name.clone())?),
        })
    }
}

/// How a file looks from outside; none: it cannot be looked at.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

fn stamps(config: &LinkTls) -> Vec<Stamp> {
    let authority = match &config.peer_ca {
        Some(PeerCa::File(path)) => Some(path),
        Some(PeerCa::System) | None => None,
    };
    let own = config.identity.iter().flat_map(|Identity { certificate, key }| [certificate, key]);
    let look = |file: Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size());
    own.chain(authority).map(|path| std::fs::metadata(path).ok().map(look)).collect()
}

fn make(config: &LinkTls) -> Result<Made, TlsError> {
    let identity = config.identity.as_ref().map(|files| read_identity(files).map(|read| (files, read))).transpose()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    match (&config.peer_name, identity) {
        (Some(name), identity) => {
            let roots = match &config.peer_ca {
                Some(PeerCa::File(path)) => authorities(path)?,
                Some(PeerCa::System) | None => system_roots()?,
            };
            let client = client(provider, roots, identity)?;
            Ok(Made::Client(Arc::new(client), name.clone()))
        }
        (None, Some(identity)) => {
            let authority = match &config.peer_ca {
                Some(PeerCa::File(path)) => Some((path.as_path(), authorities(path)?)),
                Some(PeerCa::System) | None => None,
            };
            server(provider, authority, identity).map(|config| Made::Server(Arc::new(config)))
        }
        // The configuration has a certificate for each link that listens.
        (None, None) => Err(TlsError::Empty { path: PathBuf::new(), what: "certificate" }),
    }
}

type Own<'a> = (&'a Identity, (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>));

fn server(
    provider: Arc<CryptoProvider>,
    authority: Option<(&Path, RootCertStore)>,
    (files, (chain, key)): Own<'_>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring supports the protocol versions rustls enables");
    let builder = match authority {
        None => builder.with_no_client_auth(),
        Some((path, roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| TlsError::Authority { path: path.to_owned(), what: error.to_string() })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unusable(files, &error))?;
    // A resumed session would not look at the client's certificate again, and links live long.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    provider: Arc<CryptoProvider>,
    roots: RootCertStore,
    identity: Option<Own<'_>>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring supports the protocol versions rustls enables")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((files, (chain, key))) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable(files, &error))?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn unusable(files: &Identity, error: &rustls::Error) -> TlsError {
    let Identity { certificate, key } = files.clone();
    TlsError::Identity { certificate, key, what: error.to_string() }
}

fn read_identity(files: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = read_certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, "private key", &error))?;
    Ok((chain, key))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(path, "certificate", &error))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned(), what: "certificate" });
    }
    Ok(chain)
}

/// A PEM reader's errors can quote the line they stumble over, which in a key's file is the key: only their
/// kind is told.
fn wrong(path: &Path, wanted: &'static str, error: &pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::NoItemsFound => TlsError::Empty { path, what: wanted },
        pem::Error::Io(why) => TlsError::File { path, what: why.to_string() },
        _ => TlsError::File { path, what: "it is damaged or not PEM".to_owned() },
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::Authority { path: path.to_owned(), what: error.to_string() })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoSystemRoots) } else { Ok(roots) }
}
