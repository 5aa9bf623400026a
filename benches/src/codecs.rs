//! One request read and one reply written by each codec for Rust that there is: ours in both of its layouts, and the
//! two published crates in the layout each can speak. It owns that all of them do the same for the same message; it
//! must never take a time.

use bytes::{Bytes, BytesMut};
use iso_8583_rs::CompiledSpec;
use iso_8583_rs::specfile::{FieldDescription, Spec as SpecFile};
use iso_codec::{Builder, Draft, Mti, Spec, decode};
use iso8583_rs::iso8583::iso_spec;
use std::fmt::Write as _;
use std::sync::Arc;

/// What a reply returns of the request.
const RETURNED: [u8; 12] = [2, 3, 4, 7, 11, 32, 33, 37, 41, 48, 49, 63];
const APPROVAL: &str = "123456";
const APPROVED: &str = "00";

/// Elements of the message and its reply: number, kind, length, digits of the length prefix.
const ELEMENTS: [(u8, &str, usize, u32); 19] = [
    (2, "n", 19, 2),
    (3, "n", 6, 0),
    (4, "n", 12, 0),
    (7, "n", 10, 0),
    (11, "n", 6, 0),
    (18, "n", 4, 0),
    (22, "n", 3, 0),
    (32, "n", 11, 2),
    (33, "n", 11, 2),
    (37, "an", 12, 0),
    (38, "ans", 6, 0),
    (39, "an", 2, 0),
    (41, "ans", 8, 0),
    (42, "ans", 15, 0),
    (43, "ans", 40, 0),
    (48, "ans", 999, 3),
    (49, "n", 3, 0),
    (61, "ans", 999, 3),
    (63, "ans", 999, 3),
];

/// The values of the request.
const VALUES: [(u8, &str); 17] = [
    (2, "5351101200000003"),
    (3, "000000"),
    (4, "000000001250"),
    (7, "1122190000"),
    (11, "000042"),
    (18, "5812"),
    (22, "071"),
    (32, "123456"),
    (33, "200200"),
    (37, "000000000042"),
    (41, "TERM0001"),
    (42, "MERCHANT0000001"),
    (43, "CORNER SHOP            BERLIN        DEU"),
    (48, "R"),
    (49, "978"),
    (61, "000000000000027610115"),
    (63, "MBK000042"),
];

/// Something that answers the message.
pub(crate) trait Codec {
    /// The codec and the layout.
    fn name(&self) -> &'static str;

    /// Decodes the request and encodes the reply to it. The bytes hold until the next call.
    fn answer(&mut self) -> Result<&[u8], String>;
}

/// A codec's name, and the codec or why it has no place here.
pub(crate) type Entrant = (&'static str, Result<Box<dyn Codec>, String>);

/// All codecs, ours first in each layout.
pub(crate) fn all() -> Vec<Entrant> {
    vec![
        (EBCDIC, ours(EBCDIC, "mastercard")),
        (PEER_EBCDIC, PeerEbcdic::new().map(|codec| Box::new(codec) as Box<dyn Codec>)),
        (ASCII, ours(ASCII, "iso1987-ascii")),
        (PEER_ASCII, PeerAscii::new().map(|codec| Box::new(codec) as Box<dyn Codec>)),
    ]
}

/// Ours, in the network's layout.
pub(crate) const EBCDIC: &str = "iso-codec, EBCDIC and binary bitmaps";
/// `iso8583_rs` in the same layout.
pub(crate) const PEER_EBCDIC: &str = "iso8583_rs 0.1, EBCDIC and binary bitmaps";
/// Ours, in the standard's layout in ASCII.
pub(crate) const ASCII: &str = "iso-codec, ASCII and hexadecimal bitmaps";
/// `iso_8583_rs` in the same layout.
pub(crate) const PEER_ASCII: &str = "iso_8583_rs 0.2, ASCII and hexadecimal bitmaps";

fn ours(name: &'static str, spec: &str) -> Result<Box<dyn Codec>, String> {
    let spec = Spec::embedded(spec).ok_or_else(|| format!("the spec `{spec}` is not compiled in"))?;
    let request = request(&spec)?;
    Ok(Box::new(Ours { name, spec, request, out: BytesMut::with_capacity(1024) }))
}

/// The request, written by our codec: each codec reads these bytes.
fn request(spec: &Spec) -> Result<Bytes, String> {
    let mut draft = Draft::new(Mti(0x0100));
    for (number, value) in VALUES {
        if number == 48 && spec.name() == "mastercard" {
            draft.set_subs(number, &[("TCC", value)]);
        } else {
            draft.set_text(number, value);
        }
    }
    draft.encode(spec).map_err(|error| error.to_string())
}

fn embedded(spec: &str) -> Result<Bytes, String> {
    let spec = Spec::embedded(spec).ok_or_else(|| format!("the spec `{spec}` is not compiled in"))?;
    request(&spec)
}

struct Ours {
    name: &'static str,
    spec: Arc<Spec>,
    request: Bytes,
    out: BytesMut,
}

impl Codec for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn answer(&mut self) -> Result<&[u8], String> {
        let message = decode(&self.spec, self.request.clone()).map_err(|error| error.to_string())?;
        self.out.clear();
        let mut reply = Builder::new(&self.spec, message.mti().response(), &mut self.out);
        let mut write = || {
            for number in RETURNED.into_iter().filter(|number| *number < 38) {
                reply.copy(number, &message)?;
            }
            reply.text(38, APPROVAL.as_bytes())?;
            reply.text(39, APPROVED.as_bytes())?;
            RETURNED.into_iter().filter(|number| *number > 39).try_for_each(|number| reply.copy(number, &message))
        };
        write().map_err(|error| error.to_string())?;
        reply.finish().map_err(|error| error.to_string())?;
        Ok(&self.out)
    }
}

/// `iso_8583_rs`: ASCII and hexadecimal bitmaps only, specs as data, no allocation.
struct PeerAscii {
    spec: CompiledSpec,
    request: Bytes,
    out: Vec<u8>,
}

impl PeerAscii {
    fn new() -> Result<PeerAscii, String> {
        let fields = ELEMENTS.iter().map(|(number, kind, length, prefix)| {
            let len_type = match prefix {
                0 => "fixed",
                2 => "llvar",
                _ => "lllvar",
            };
            let description = FieldDescription {
                content_type: (*kind).to_owned(),
                max_len: *length,
                min_len: 0,
                len_type: len_type.to_owned(),
                label: String::new(),
            };
            (i64::from(*number), description)
        });
        let file = SpecFile { fields: fields.collect() };
        let spec = CompiledSpec::compile(&file).map_err(|error| error.to_string())?;
        Ok(PeerAscii { spec, request: embedded("iso1987-ascii")?, out: Vec::with_capacity(1024) })
    }
}

impl Codec for PeerAscii {
    fn name(&self) -> &'static str {
        PEER_ASCII
    }

    fn answer(&mut self) -> Result<&[u8], String> {
        let message = iso_8583_rs::Message::parse(&self.spec, &self.request).map_err(|error| error.to_string())?;
        let mut write = || {
            let mut reply = iso_8583_rs::Builder::new(&self.spec, b"0110")?;
            for number in RETURNED.map(usize::from) {
                if let Some(value) = message.get(number) {
                    reply.set(number, value)?;
                }
            }
            reply.set(38, APPROVAL.as_bytes())?.set(39, APPROVED.as_bytes())?;
            self.out.clear();
            reply.pack_into(&mut self.out);
            Ok::<(), iso_8583_rs::Error>(())
        };
        write().map_err(|error| error.to_string())?;
        Ok(&self.out)
    }
}

/// `iso8583_rs`: any encoding, a map of names to bytes for each message. It reads its spec once, from the file that
/// the environment names, and prints where it looked.
struct PeerEbcdic {
    spec: &'static iso_spec::Spec,
    request: Vec<u8>,
    out: Vec<u8>,
}

/// Where `iso8583_rs` looks for its spec.
pub(crate) const SPEC_FILE: &str = "SPEC_FILE";

/// The layout in that crate's own language, to be written to the file that [`SPEC_FILE`] names.
pub(crate) fn peer_spec() -> String {
    let mti = "type: Fixed\n    len: 4\n    data_encoding: EBCDIC\n";
    let mut text = format!("name: Network\nid: 1\nheader_fields:\n  - name: \"header\"\n    id: 1\n    {mti}");
    text.push_str("    children: []\nmessages:\n  - name: \"authorization\"\n    selector: [\"0100\", \"0110\"]\n");
    let mti = mti.replace("\n    ", "\n        ");
    let _ = write!(text, "    id: 1\n    fields:\n      - name: \"message_type\"\n        id: 1\n        {mti}");
    text.push_str("      - name: \"bitmap\"\n        id: 2\n        type: Bitmapped\n        len: 0\n");
    text.push_str("        data_encoding: BINARY\n        children:\n");
    for (number, _, length, prefix) in ELEMENTS {
        let id = u32::from(number) + 10;
        // Writing into a string cannot fail.
        let _ = match prefix {
            0 => writeln!(
                text,
                "          - {{name: \"de{number}\", id: {id}, type: Fixed, len: {length}, data_encoding: EBCDIC, \
                 position: {number}}}"
            ),
            _ => writeln!(
                text,
                "          - {{name: \"de{number}\", id: {id}, type: Variable, len: {prefix}, len_encoding: EBCDIC, \
                 data_encoding: EBCDIC, position: {number}}}"
            ),
        };
    }
    text
}

impl PeerEbcdic {
    fn new() -> Result<PeerEbcdic, String> {
        if std::env::var_os(SPEC_FILE).is_none() {
            return Err(format!("{SPEC_FILE} is not set, and without it the crate panics"));
        }
        let request = embedded("mastercard")?.to_vec();
        Ok(PeerEbcdic { spec: iso_spec::spec(""), request, out: Vec::new() })
    }
}

impl Codec for PeerEbcdic {
    fn name(&self) -> &'static str {
        PEER_EBCDIC
    }

    fn answer(&mut self) -> Result<&[u8], String> {
        let message = self.spec.parse(&mut self.request).map_err(|error| error.to_string())?;
        let write = || {
            let mut reply = iso_spec::new_msg(self.spec, message.msg);
            reply.set("message_type", "0110")?;
            reply.echo_from(&message, &RETURNED.map(u32::from))?;
            reply.set_on(38, APPROVAL)?;
            reply.set_on(39, APPROVED)?;
            reply.assemble()
        };
        self.out = write().map_err(|error| error.msg)?;
        Ok(&self.out)
    }
}
