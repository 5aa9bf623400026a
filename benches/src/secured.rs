//! What TLS costs a tap: one in flight on a link with certificates on both sides, and on one without, of the same engine,
//! in turns with the floor. It owns the certificates of the run; it must never compare figures of two runs.

use crate::client::{Link, SecureLink};
use crate::engine::{Site, workplace};
use crate::fault::Fault;
use crate::floor::{Floor, How};
use crate::load::mix::{Funding, Mix, Payer, Pick};
use crate::load::target::fixture;
use crate::measure::{Series, machine, summaries};
use crate::turns::Taps;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The name in the certificates.
const NAME: &str = "localhost";
/// How long a tap may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Arguments of `secured`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  benches secured --samples 5000")]
pub(crate) struct Args {
    /// Samples of each, after the warm-up
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..))]
    samples: u32,
    /// Taps in one turn
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    turn: u32,
    /// Taps of each before the first sample
    #[arg(long, default_value_t = 500)]
    warm_up: u32,
    /// JSON for machines instead of a table
    #[arg(long)]
    json: bool,
    /// The engine's binary (default: beside this program)
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,
    /// Where the data directory and the floor's file lie (default: beside this program)
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
}

/// Runs `secured`.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let place = workplace(args.work.as_deref())?;
    let client = certificates(place.path())?;
    let at = |file: &str| place.path().join(file);
    let config = format!(
        "sandbox = true\n\n[[link]]\nname = \"plain\"\nlisten = \"127.0.0.1:0\"\n\n\
         [[link]]\nname = \"secured\"\nlisten = \"127.0.0.1:0\"\n[link.tls]\n\
         certificate = {:?}\nkey = {:?}\npeer_ca = {:?}\n\n[rest]\nlisten = \"127.0.0.1:0\"\n",
        at("own.pem"),
        at("own.key"),
        at("ca.pem")
    );
    let site = Site::configured(args.engine.as_deref(), place.path(), None, &config)?;
    let engine = site.start()?;
    let mix = Mix { cards: Pick { count: 1, ..Pick::default() }, ..Mix::load("accounts")? };
    let mix = Mix { funding: Funding { kind: Payer::Account, sources: 1 }, ..mix };
    let cards = fixture(&site.rest(&engine)?, &mix, &json!({ "name": "Secured", "decision_mode": "auto_approve" }))?;
    let &[plain, secured] = engine.links.as_slice() else {
        return Err(Fault::Engine("it does not listen on both links".to_owned()));
    };
    let mut plain = Taps::new(plain, cards.text(0))?;
    let link = Link::connect(secured, PATIENCE).and_then(|link| link.secured(client, name()?));
    let link: SecureLink = link.map_err(Fault::io("connecting to the link with TLS"))?;
    let mut secured = Taps::on(link, cards.text(0))?;
    let (_, reply) = plain.sizes()?;
    let mut floor = Floor::start(place.path(), How::Fdatasync, reply)?;

    let [mut of_plain, mut of_secured, mut of_floor] = [(); 3].map(|()| Series::default());
    let (mut done, mut first) = (0, 0);
    let all = args.warm_up + args.samples;
    while done < all {
        let length = args.turn.min(all - done);
        // Many of each behind one another: a sync behind one of another file is slower than behind one of its own.
        for who in 0..3 {
            for at in 0..length {
                let (series, took) = match (first + who) % 3 {
                    0 => (&mut of_plain, plain.request().and_then(|request| plain.sample(&request))?),
                    1 => (&mut of_secured, secured.request().and_then(|request| secured.sample(&request))?),
                    _ => (&mut of_floor, plain.request().and_then(|request| floor.sample(&request))?),
                };
                if done + at >= args.warm_up {
                    series.push(took);
                }
            }
        }
        done += length;
        first += 1;
    }
    let rows = [of_plain.summary("plain"), of_secured.summary("TLS"), of_floor.summary("floor")];
    let [plain, secured, _] = &rows;
    let ratio = secured.over(plain);
    if args.json {
        println!("{}", json!({ "machine": machine(), "rows": rows, "ratio": ratio }));
    } else {
        println!("{}; one tap in flight, certificates on both sides", machine());
        println!("{}", summaries(&rows.iter().collect::<Vec<_>>()));
        println!(
            "TLS over plain: p50 {:.2} x, {:+.1} µs; p99 {:.2} x",
            ratio.p50,
            secured.p50_us - plain.p50_us,
            ratio.p99
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn name() -> std::io::Result<ServerName<'static>> {
    ServerName::try_from(NAME).map_err(std::io::Error::other)
}

/// An authority, the engine's certificate and a client's, in files; and who connects with the client's.
fn certificates(dir: &Path) -> Result<Arc<ClientConfig>, Fault> {
    let wrong = |error: rcgen::Error| Fault::Message(format!("a certificate cannot be made: {error}"));
    let tls = |error: rustls::Error| Fault::Message(format!("a certificate cannot be used: {error}"));
    let mut params = CertificateParams::new(Vec::new()).map_err(wrong)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().map_err(wrong)?;
    let ca = params.self_signed(&key).map_err(wrong)?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().map_err(wrong)?;
    let own = CertificateParams::new(vec![NAME.to_owned()]).and_then(|params| params.signed_by(&key, &issuer));
    let own = own.map_err(wrong)?;
    for (file, text) in [("ca.pem", ca.pem()), ("own.pem", own.pem()), ("own.key", key.serialize_pem())] {
        let file = dir.join(file);
        fs::write(&file, text).map_err(Fault::io(format!("writing {}", file.display())))?;
    }
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).map_err(tls)?;
    let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes())
        .map_err(|error| Fault::Message(format!("a key cannot be read: {error}")))?;
    let chain: Vec<CertificateDer<'static>> = vec![own.der().clone()];
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, private)
        .map_err(tls)?;
    Ok(Arc::new(client))
}
