//! `[[link]]`: one link's keys, what must hold between them, and between links.
//!
//! It must never touch the file system: spec and certificate files are read when they are used.

use std::collections::{BTreeMap, BTreeSet};

use iso_codec::{Framing, Spec, Width};
use rustls_pki_types::ServerName;

use super::build::Reader;
use super::{ElementText, Identity, LinkConfig, LinkTls, Opening, PeerCa, Problem, Setting, keys, values};

/// Bytes of a TPDU: an id and two addresses of two bytes.
const TPDU_BYTES: usize = 5;
/// How an element's value says that it stands in a file.
const FROM_FILE: &str = "file:";

impl Reader {
    pub(super) fn links(
        &mut self,
        max_connections: Option<usize>,
        out_buffer: Option<usize>,
    ) -> Option<Vec<LinkConfig>> {
        let numbers: BTreeSet<usize> =
            self.leaves.keys().filter_map(|path| path.strip_prefix("link.")?.split('.').next()?.parse().ok()).collect();
        let mut links: Vec<LinkConfig> = Vec::new();
        let mut whole = true;
        for (expected, number) in numbers.into_iter().enumerate() {
            if expected != number {
                let path = format!("link.{number}");
                let what = format!("there is no link {expected} before it; links are numbered from 0 without gaps");
                self.problems.push(Problem::new(path, what));
                return None;
            }
            let Some(link) = self.link(number, max_connections, out_buffer) else {
                whole = false;
                continue;
            };
            for earlier in &links {
                if earlier.name == link.name {
                    self.object(&format!("link.{number}.name"), format!("{:?} is taken by another link", link.name));
                }
                if let (Opening::Listen(before), Opening::Listen(listen)) = (&earlier.opening, &link.opening)
                    && before == listen
                    && listen.port() != 0
                {
                    self.object(
                        &format!("link.{number}.listen"),
                        format!("{listen} is taken by link {:?}", earlier.name),
                    );
                }
            }
            links.push(link);
        }
        if whole && links.is_empty() {
            self.problems
                .push(Problem::new("link".to_owned(), "there is none; write `[[link]]` with `name` and `listen`"));
        }
        whole.then_some(links)
    }

    /// Who opens the connections: one of the two keys, not both.
    fn opening(&mut self, listen: &str, connect: &str) -> Option<Opening> {
        match (self.leaves.contains_key(listen), self.leaves.contains_key(connect)) {
            (true, false) => self.address(listen).map(Opening::Listen),
            (false, true) => self.read(connect, |text, _| Some(values::target(text))).map(Opening::Connect),
            (true, true) => {
                self.object(connect, "stands beside `listen`; a link does one of both: keep one");
                None
            }
            (false, false) => {
                self.object(listen, "is missing; set it, or `connect = \"host:port\"` to connect out");
                None
            }
        }
    }

    /// What goes into our own 0800 beside what we put there.
    fn network_elements(&mut self, number: usize) -> BTreeMap<u8, ElementText> {
        let table = format!("link.{number}.network_elements.");
        let named = |path: &&String| path.starts_with(&table);
        let paths: Vec<String> = self.leaves.keys().filter(named).cloned().collect();
        let mut elements = BTreeMap::new();
        for path in paths {
            let Some(text) = self.leaves.get(&path).cloned() else { continue };
            let element = path.trim_start_matches(&table);
            match element.parse::<u8>() {
                Ok(n @ (7 | 11 | 39 | 70)) => self.object(&path, format!("element {n} is the engine's to set")),
                Ok(n @ 2..=128) if n != 65 && n.to_string() == element => {
                    let value = match text.text.strip_prefix(FROM_FILE) {
                        Some(file) => ElementText::File(file.into()),
                        None => ElementText::Plain(text.text.clone()),
                    };
                    elements.insert(n, value);
                }
                _ => self.object(&path, format!("{element:?} is no element; give a number from 2 to 128")),
            }
            self.settings.push(Setting { key: path, value: text.text, origin: text.origin });
        }
        elements
    }

    /// TLS of one link, when any of its keys is set.
    fn link_tls(&mut self, number: usize, opening: Option<&Opening>) -> Option<Option<LinkTls>> {
        let at = |name: &str| format!("link.{number}.tls.{name}");
        let [certificate, key, peer_ca, peer_name] = ["certificate", "key", "peer_ca", "peer_name"].map(at);
        let mut set = |path: &str| self.leaves.contains_key(path).then(|| self.text(path)).flatten();
        let (certificate_file, key_file) = (set(&certificate), set(&key));
        let (ca, name) = (set(&peer_ca), set(&peer_name));
        if certificate_file.is_none() && key_file.is_none() && ca.is_none() && name.is_none() {
            return Some(None);
        }
        let identity = match (certificate_file, key_file) {
            (Some(file), Some(key)) => Some(Identity { certificate: file.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) => {
                self.object(&key, "is missing; a certificate is of no use without its private key");
                return None;
            }
            (None, Some(_)) => {
                self.object(&certificate, "is missing; set it beside the key");
                return None;
            }
        };
        let ca = ca.map(|text| if text == "system" { PeerCa::System } else { PeerCa::File(text.into()) });
        let peer_name = match (opening?, name) {
            (Opening::Listen(_), named) => {
                if identity.is_none() {
                    self.object(&certificate, "is missing; a link that listens with TLS shows a certificate");
                    return None;
                }
                if ca == Some(PeerCa::System) {
                    // Whoever has any public certificate could come in.
                    self.object(&peer_ca, "is \"system\"; name the file of the authority that signs your clients");
                    return None;
                }
                if named.is_some() {
                    self.object(&peer_name, "is for links that connect; a client is known by who signed it (peer_ca)");
                    return None;
                }
                None
            }
            (Opening::Connect(target), named) => {
                if ca.is_none() {
                    self.object(&peer_ca, "is missing; name a file of authorities, or \"system\" for the platform's");
                    return None;
                }
                let name = named.unwrap_or_else(|| target.host.clone());
                match ServerName::try_from(name.clone()) {
                    Ok(name) => Some(name),
                    Err(_) => {
                        self.object(&peer_name, format!("{name:?} is no name that a certificate can have; set it"));
                        return None;
                    }
                }
            }
        };
        Some(Some(LinkTls { identity, peer_ca: ca, peer_name }))
    }

    fn link(&mut self, number: usize, max_connections: Option<usize>, out_buffer: Option<usize>) -> Option<LinkConfig> {
        let at = |name: &str| format!("link.{number}.{name}");
        let name = self.text(&at("name"));
        let opening = self.opening(&at("listen"), &at("connect"));
        let tls = self.link_tls(number, opening.as_ref());
        let spec = self.read(&at("spec"), |text, _| Some(spec_name(text)));
        let width = self.read(&at("framing"), |text, _| {
            let known = |word: &str| Width::parse(word).ok_or_else(|| format!("{word:?} is not known to the codec"));
            Some(values::word(text, keys::FRAMINGS).and_then(known))
        });
        let inclusive = self.switch(&at("inclusive"));
        let header_bytes = self.count(&at("header_bytes"));
        let tpdu = self.switch(&at("tpdu"));
        if let (Some(true), Some(bytes)) = (tpdu, header_bytes)
            && bytes != TPDU_BYTES
        {
            self.object(&at("tpdu"), format!("a TPDU has {TPDU_BYTES} bytes; set header_bytes = {TPDU_BYTES}"));
        }
        let budget = self.span(&at("budget"));
        let require_sign_on = self.switch(&at("require_sign_on"));
        let sign_on = self.switch(&at("sign_on"));
        let network_elements = self.network_elements(number);
        let connects = matches!(opening, Some(Opening::Connect(_)));
        self.leaf_default(&at("echo_interval"), if connects { keys::ECHO_WHEN_CONNECTING } else { "0s" });
        let echo_interval = self.span(&at("echo_interval"));
        let echo_timeout = self.span(&at("echo_timeout"));
        let max_frame = self.count(&at("max_frame"));
        let max_in_flight = self.count(&at("max_in_flight"));
        let frame_timeout = self.span(&at("frame_timeout"));
        let idle_timeout = self.span(&at("idle_timeout"));
        if let (Some(header), Some(max)) = (header_bytes, max_frame)
            && header >= max
        {
            self.object(&at("header_bytes"), "leaves no room for a message; max_frame counts the header too");
        }
        let name = name?;
        let plain_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !plain_name {
            self.object(&at("name"), format!("{name:?} is no link name; use up to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`"));
        }
        Some(LinkConfig {
            name,
            opening: opening?,
            tls: tls?,
            spec: spec?,
            framing: Framing { width: width?, inclusive: inclusive?, header_bytes: header_bytes? },
            budget: budget?,
            tpdu: tpdu?,
            require_sign_on: require_sign_on?,
            sign_on: sign_on?,
            network_elements,
            echo_interval: echo_interval.map(|span| (!span.is_zero()).then_some(span))?,
            echo_timeout: echo_timeout?,
            max_frame: max_frame?,
            max_in_flight: max_in_flight?,
            frame_timeout: frame_timeout?,
            idle_timeout: idle_timeout?,
            max_connections: max_connections?,
            out_buffer: out_buffer?,
        })
    }
}

/// An embedded spec by its name, or what looks like the path of a spec file; the file is read when it is used.
fn spec_name(text: &str) -> Result<String, String> {
    if text.contains(['/', '.']) {
        return Ok(text.to_owned());
    }
    values::word(text, Spec::embedded_names())
        .map(str::to_owned)
        .map_err(|error| format!("{error}; a spec file is named with its path, such as \"./specs/own.toml\""))
}
