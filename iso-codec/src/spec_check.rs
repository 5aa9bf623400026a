//! From a spec file's shape to a compiled [`Spec`], checking that it does not contradict itself: nothing else in the
//! crate may doubt a spec afterwards. Owns the defaults, and every refusal with its place and reason.

use crate::charset::Charset;
use crate::decode::LONGEST;
use crate::error::SpecError;
use crate::form::{Count, Encoding, Form, Padding, Prefix};
use crate::spec::{
    BitmapForm, BitmappedLayout, Check, DatasetSpec, FieldPlan, FieldSpec, Kind, Layout, Length, MtiForm, Pad, Part,
    PartLength, Spec, SubSpec, TagForm, TagLength, TaggedLayout, TlvLayout,
};
use crate::spec_file::{
    BinaryFile, BitmapFile, BitmappedFile, CountFile, DatasetFile, EncodingFile, LengthFile, MtiFile, NodeFile,
    PrefixFile, SpecFile, TaggedFile, ber_tag,
};
use std::collections::{BTreeMap, BTreeSet};

/// How deep layouts may stand in one another: as deep as JSON of a message may.
const DEEPEST: u8 = 6;

/// The file's defaults.
struct Defaults {
    charset: Charset,
    numeric: EncodingFile,
    track: EncodingFile,
    binary: BinaryFile,
    prefix: PrefixFile,
    count: Option<CountFile>,
}

/// Compiles a file that has the right shape.
pub(crate) fn check(file: SpecFile) -> Result<Spec, SpecError> {
    if file.name.is_empty() || !file.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err(SpecError::new("name", "must be lower-case letters, digits and hyphens"));
    }
    let third = match file.bitmaps {
        None | Some(2) => false,
        Some(3) => true,
        Some(_) => return Err(SpecError::new("bitmaps", "a message has 2 bitmaps at most, or 3")),
    };
    let defaults = Defaults {
        charset: file.charset,
        numeric: file.numeric.unwrap_or(EncodingFile::Text),
        track: file.track.unwrap_or(EncodingFile::Text),
        binary: file.binary,
        prefix: file.prefix.unwrap_or(PrefixFile::Text),
        count: file.count,
    };
    let mut plans = [None; 129];
    let mut places = [u8::MAX; 193];
    let mut fields = Vec::with_capacity(file.fields.len());
    for (key, field) in file.fields {
        let place = format!("fields.{key}");
        let number = element_number(&place, &key, third)?;
        let field = defaults.element(&place, number, field)?;
        if let Some(slot) = plans.get_mut(usize::from(number)) {
            *slot = plan(&field.wire, file.charset);
        }
        if fields.iter().any(|known: &FieldSpec| known.number == number) {
            return Err(SpecError::new(&place, "the element stands in the file twice; keep one"));
        }
        fields.push(field);
    }
    if fields.is_empty() {
        return Err(SpecError::new("fields", "a spec needs at least one element"));
    }
    fields.sort_by_key(|field| field.number);
    for (place, field) in (0..).zip(&fields) {
        if let Some(slot) = places.get_mut(usize::from(field.number)) {
            *slot = place;
        }
    }
    let bitmap_charset = match file.bitmap {
        BitmapFile::Binary | BitmapFile::Hex => file.charset,
        BitmapFile::HexAscii => Charset::Ascii,
        BitmapFile::HexEbcdic => ebcdic(file.charset),
    };
    Ok(Spec {
        name: file.name,
        title: file.title,
        charset: file.charset,
        tables: file.charset.tables(),
        bitmap: if file.bitmap == BitmapFile::Binary { BitmapForm::Binary } else { BitmapForm::Hex },
        bitmap_charset,
        mti: match file.mti {
            MtiFile::Text => MtiForm::Text(file.charset),
            MtiFile::Bcd | MtiFile::Binary => MtiForm::Bcd,
            MtiFile::Ascii => MtiForm::Text(Charset::Ascii),
            MtiFile::EbcdicCp500 => MtiForm::Text(Charset::EbcdicCp500),
            MtiFile::Ebcdic1047 => MtiForm::Text(Charset::Ebcdic1047),
            MtiFile::Ebcdic037 => MtiForm::Text(Charset::Ebcdic037),
        },
        third,
        common: fields.iter().all(|field| plan(&field.wire, file.charset).is_some() && field.number <= 128),
        plans,
        fields,
        places,
    })
}

/// Hexadecimal digits stand at the same places in all EBCDIC code pages.
fn ebcdic(charset: Charset) -> Charset {
    if charset == Charset::Ascii { Charset::EbcdicCp500 } else { charset }
}

fn element_number(place: &str, key: &str, third: bool) -> Result<u8, SpecError> {
    match key.parse::<u8>() {
        Ok(1) => Err(SpecError::new(place, "bit 1 marks the second bitmap and is no element; remove it")),
        Ok(65) if third => Err(SpecError::new(place, "bit 65 marks the third bitmap and is no element; remove it")),
        Ok(n @ 2..=128) => Ok(n),
        Ok(n @ 129..=192) if third => Ok(n),
        Ok(129..=192) => Err(SpecError::new(place, "element numbers go from 2 to 128, to 192 with `bitmaps = 3`")),
        Ok(_) | Err(_) => Err(SpecError::new(place, "element numbers go from 2 to 128")),
    }
}

/// The plan of an element that is written the common way: text, digits and lengths in the spec's own character set.
fn plan(form: &Form, charset: Charset) -> Option<FieldPlan> {
    let check = match (form.kind, form.encoding) {
        (Kind::B, Encoding::Binary) => Check::Any,
        (Kind::B, Encoding::Hex(set)) if set == charset => Check::Hex,
        (Kind::B, _) => return None,
        (kind, Encoding::Text(set)) if set == charset => match kind {
            Kind::A => Check::Letters,
            Kind::N => Check::Digits,
            Kind::An => Check::LettersAndDigits,
            Kind::Ans | Kind::B => Check::Any,
            Kind::Z => Check::Track,
            Kind::Xn => Check::SignAndDigits,
        },
        _ => return None,
    };
    let size = u16::try_from(form.size_of(form.max())).ok()?;
    let (prefix, pad) = match form.length {
        PartLength::Rest => return None,
        PartLength::Fixed(_) => {
            let pad = match form.pad {
                Padding::Left(b'0') => Pad::ZerosLeft,
                Padding::Right(b' ') => Pad::BlanksRight,
                Padding::None => Pad::None,
                Padding::Left(_) | Padding::Right(_) => return None,
            };
            (0, pad)
        }
        PartLength::Variable { digits, .. } => {
            let bytes = form.count == Count::Bytes || (form.count == Count::Characters && check != Check::Hex);
            if form.prefix != Prefix::Text(charset) || form.inclusive || !bytes {
                return None;
            }
            (digits, Pad::None)
        }
    };
    Some(FieldPlan { size, prefix, check: if form.lenient { Check::Any } else { check }, pad })
}

impl Defaults {
    fn element(&self, place: &str, number: u8, file: NodeFile) -> Result<FieldSpec, SpecError> {
        let kind = file.kind.ok_or_else(|| SpecError::new(place, "an element needs a `kind`"))?;
        let written = file.length.as_ref().ok_or_else(|| SpecError::new(place, "an element needs a `length`"))?;
        let length = match part_length(&format!("{place}.length"), written)? {
            PartLength::Fixed(n) => Length::Fixed(n),
            PartLength::Variable { digits, max } => Length::Variable { digits, max },
            PartLength::Rest => return Err(bad_length(place)),
        };
        if file.title.is_some() {
            return Err(SpecError::new(format!("{place}.title"), "only parts have a title; an element has its `name`"));
        }
        let wire = self.form(place, &file, kind, part_length(&format!("{place}.length"), written)?)?;
        let layout = self.layout(place, &file, &wire, 0)?;
        Ok(FieldSpec {
            number,
            name: file.name,
            kind,
            length,
            secret: file.secret,
            lenient: file.lenient,
            wire,
            layout,
        })
    }

    fn encoding(&self, named: EncodingFile, filler: u8) -> Encoding {
        match named {
            EncodingFile::Text => Encoding::Text(self.charset),
            EncodingFile::Ascii => Encoding::Text(Charset::Ascii),
            EncodingFile::EbcdicCp500 => Encoding::Text(Charset::EbcdicCp500),
            EncodingFile::Ebcdic1047 => Encoding::Text(Charset::Ebcdic1047),
            EncodingFile::Ebcdic037 => Encoding::Text(Charset::Ebcdic037),
            EncodingFile::Bcd => Encoding::Bcd { left: false, filler },
            EncodingFile::BcdLeft => Encoding::Bcd { left: true, filler },
            EncodingFile::Binary => Encoding::Binary,
            EncodingFile::Hex => Encoding::Hex(self.charset),
            EncodingFile::HexAscii => Encoding::Hex(Charset::Ascii),
            EncodingFile::HexEbcdic => Encoding::Hex(ebcdic(self.charset)),
        }
    }

    fn prefix(&self, named: PrefixFile) -> Prefix {
        match named {
            PrefixFile::Text => Prefix::Text(self.charset),
            PrefixFile::Ascii => Prefix::Text(Charset::Ascii),
            PrefixFile::EbcdicCp500 => Prefix::Text(Charset::EbcdicCp500),
            PrefixFile::Ebcdic1047 => Prefix::Text(Charset::Ebcdic1047),
            PrefixFile::Ebcdic037 => Prefix::Text(Charset::Ebcdic037),
            PrefixFile::Bcd => Prefix::Bcd,
            PrefixFile::Binary => Prefix::Binary,
            PrefixFile::Hex => Prefix::Hex(self.charset),
        }
    }

    /// How a content is written, checked.
    fn form(&self, place: &str, file: &NodeFile, kind: Kind, length: PartLength) -> Result<Form, SpecError> {
        let refuse = |key: &str, reason: &str| Err(SpecError::new(format!("{place}.{key}"), reason));
        if file.lenient && matches!(kind, Kind::Ans | Kind::B) {
            return refuse("lenient", "this kind is not checked anyway; remove the line");
        }
        let named = file.encoding.unwrap_or(match kind {
            Kind::N | Kind::Xn => self.numeric,
            Kind::Z => self.track,
            Kind::B if self.binary == BinaryFile::Hex => EncodingFile::Hex,
            Kind::B => EncodingFile::Binary,
            Kind::A | Kind::An | Kind::Ans => EncodingFile::Text,
        });
        let packed = matches!(named, EncodingFile::Bcd | EncodingFile::BcdLeft);
        let filler = match file.filler.as_deref() {
            None if kind == Kind::Z && named == EncodingFile::BcdLeft => 15,
            None => 0,
            Some(_) if !packed => return refuse("filler", "only packed digits (\"bcd\", \"bcd-left\") have a filler"),
            Some(text) => match text.as_bytes() {
                [digit @ (b'0'..=b'9' | b'A'..=b'F')] => char::from(*digit).to_digit(16).unwrap_or(0) as u8,
                _ => return refuse("filler", "a filler is one half-byte, \"0\" to \"F\""),
            },
        };
        let mut encoding = self.encoding(named, filler);
        match (kind, encoding) {
            (Kind::B, Encoding::Text(_) | Encoding::Bcd { .. }) => {
                return refuse("encoding", "kind \"b\" is written \"binary\" or \"hex\"");
            }
            (Kind::A | Kind::An | Kind::Ans, Encoding::Bcd { .. }) => {
                return refuse("encoding", "only digits can be packed: kinds n, x+n and z");
            }
            // Bytes as they are make text in ASCII.
            (_, Encoding::Binary) if kind != Kind::B => encoding = Encoding::Text(Charset::Ascii),
            _ => {}
        }
        let old_hex = kind == Kind::B && file.encoding.is_none() && self.binary == BinaryFile::Hex;
        let count = match file.count.or(self.count) {
            Some(CountFile::Characters) => Count::Characters,
            Some(CountFile::Bytes) => Count::Bytes,
            Some(CountFile::Nibbles) => Count::Nibbles,
            None if old_hex => Count::Bytes,
            None => Count::Characters,
        };
        let varies = matches!(length, PartLength::Variable { .. });
        if !varies {
            if file.prefix.is_some() {
                return refuse("prefix", "only a varying length (\"..19\") has a prefix");
            }
            if file.count.is_some() {
                return refuse("count", "only a varying length (\"..19\") counts anything");
            }
            if file.inclusive.is_some() {
                return refuse("inclusive", "only a varying length (\"..19\") can count itself");
            }
        }
        let pad = self.padding(place, file, kind, length)?;
        let form = Form {
            kind,
            lenient: file.lenient,
            encoding,
            charset: self.charset,
            length,
            prefix: self.prefix(file.prefix.unwrap_or(self.prefix)),
            count,
            inclusive: file.inclusive.unwrap_or(false),
            pad,
        };
        if kind == Kind::Xn && length != PartLength::Rest && form.max() < 2 {
            return refuse("length", "a sign and at least one digit take 2 characters");
        }
        if form.size_of(form.max()) > LONGEST && length != PartLength::Rest {
            return refuse("length", "it is longer than a message can be, 65535 bytes");
        }
        if let PartLength::Variable { digits, max } = length {
            let most = form.prefix.most(digits);
            if max == 0 || usize::from(max) > most {
                let reason = format!("after {digits} dots the longest length is a number from 1 to {most}");
                return refuse("length", &reason);
            }
            if old_hex && form.counted_max() > most {
                return refuse("length", "written in hexadecimal it is twice as long, more than its prefix can say");
            }
            if form.counted_max() > most {
                let reason =
                    format!("the longest is counted as {}, its prefix says {most} at most", form.counted_max());
                return refuse("length", &reason);
            }
        }
        Ok(form)
    }

    fn padding(&self, place: &str, file: &NodeFile, kind: Kind, length: PartLength) -> Result<Padding, SpecError> {
        let fixed = matches!(length, PartLength::Fixed(_));
        let place = format!("{place}.pad");
        let Some(text) = file.pad.as_deref() else {
            return Ok(match kind {
                Kind::N if fixed => Padding::Left(b'0'),
                Kind::A | Kind::An | Kind::Ans if fixed => Padding::Right(b' '),
                _ => Padding::None,
            });
        };
        if !fixed {
            return Err(SpecError::new(place, "only an element of a fixed length is filled up"));
        }
        let one = |text: &str| match *text.as_bytes() {
            [ch] if ch.is_ascii() => Some(ch),
            _ => None,
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Padding::None),
            Some(("left", ch)) if let Some(ch) = one(ch) => Ok(Padding::Left(ch)),
            Some(("right", ch)) if let Some(ch) = one(ch) => Ok(Padding::Right(ch)),
            _ => Err(SpecError::new(place, "write \"left:0\", \"right: \" (side and character) or \"none\"")),
        }
    }

    /// What is inside.
    fn layout(&self, place: &str, file: &NodeFile, form: &Form, depth: u8) -> Result<Layout, SpecError> {
        let layouts = [
            file.tagged.is_some(),
            file.parts.is_some(),
            file.repeat.is_some(),
            file.tlv.is_some(),
            file.datasets.is_some(),
            file.bitmapped.is_some(),
        ];
        if layouts.iter().filter(|has| **has).count() > 1 {
            let reason = "only one of `tagged`, `parts`, `repeat`, `tlv`, `datasets` and `bitmapped` can describe it";
            return Err(SpecError::new(place, reason));
        }
        if depth >= DEEPEST && layouts.contains(&true) {
            return Err(SpecError::new(place, "layouts are nested too deep"));
        }
        if file.tlv_class.is_some() && file.tlv.is_none() {
            return Err(SpecError::new(
                format!("{place}.tlv_class"),
                "a class byte stands before `tlv`, which is not here",
            ));
        }
        let raw = form.encoding == Encoding::Binary;
        if let Some(tagged) = &file.tagged {
            return self.tagged(place, form, tagged, depth).map(Layout::Tagged);
        }
        if let Some(files) = &file.parts {
            return self.positional(&format!("{place}.parts"), files, form, depth).map(Layout::Parts);
        }
        if let Some(files) = &file.repeat {
            return self.repeated(&format!("{place}.repeat"), files, form, depth).map(Layout::Repeat);
        }
        if let Some(tags) = &file.tlv {
            let place = format!("{place}.tlv");
            if !raw {
                return Err(SpecError::new(place, "BER-TLV needs a raw binary element (kind \"b\")"));
            }
            let subs = self.tlv_subs(&place, tags, depth)?;
            return Ok(Layout::Tlv(TlvLayout { class: file.tlv_class.clone(), subs }));
        }
        if let Some(datasets) = &file.datasets {
            let place = format!("{place}.datasets");
            if !raw {
                return Err(SpecError::new(place, "datasets need a raw binary element (kind \"b\")"));
            }
            return self.datasets(&place, datasets, depth).map(Layout::Datasets);
        }
        if let Some(bitmapped) = &file.bitmapped {
            return self.bitmapped(&format!("{place}.bitmapped"), form, bitmapped, depth).map(Layout::Bitmapped);
        }
        Ok(Layout::Plain)
    }

    fn tagged(&self, place: &str, form: &Form, file: &TaggedFile, depth: u8) -> Result<TaggedLayout, SpecError> {
        let place = format!("{place}.tagged");
        if !matches!(form.kind, Kind::Ans | Kind::B) || !form.is_bytewise() || form.is_hex_of_bytes() {
            return Err(SpecError::new(place, "only an element of kind \"ans\" can hold sub-elements"));
        }
        let tag = match &file.tag {
            None => TagForm { length: 2, encoding: Encoding::Text(self.charset) },
            Some(tag) if !(1..=8).contains(&tag.length) => {
                return Err(SpecError::new(format!("{place}.tag.length"), "a tag has 1 to 8 characters"));
            }
            Some(tag) => {
                TagForm { length: tag.length, encoding: self.encoding(tag.encoding.unwrap_or(EncodingFile::Text), 0) }
            }
        };
        let length = match &file.length {
            None => {
                TagLength { digits: 2, prefix: Prefix::Text(self.charset), count: Count::Characters, inclusive: false }
            }
            Some(length) if !(1..=6).contains(&length.digits) => {
                return Err(SpecError::new(format!("{place}.length.digits"), "a length has 1 to 6 digits"));
            }
            Some(length) => TagLength {
                digits: length.digits,
                prefix: self.prefix(length.encoding.unwrap_or(PrefixFile::Text)),
                count: match length.count {
                    None | Some(CountFile::Characters) => Count::Characters,
                    Some(CountFile::Bytes) => Count::Bytes,
                    Some(CountFile::Nibbles) => Count::Nibbles,
                },
                inclusive: length.inclusive,
            },
        };
        let own = (Encoding::Text(self.charset), Prefix::Text(self.charset));
        let short = (tag.encoding, length.prefix) == own
            && tag.length == 2
            && length.digits == 2
            && !length.inclusive
            // Letters in a tag are no mistake, only rarer; the short way knows digits alone.
            && file.subs.keys().all(|key| key.len() != 2 || key.bytes().all(|b| b.is_ascii_digit()));
        let mut subs = Vec::with_capacity(file.subs.len());
        for (key, sub) in &file.subs {
            let place = format!("{place}.subs.{key}");
            let fits = match tag.encoding {
                Encoding::Text(_) => {
                    key.len() == usize::from(tag.length)
                        && key.bytes().all(|b| if short { b.is_ascii_digit() } else { b.is_ascii_graphic() })
                }
                Encoding::Bcd { .. } => key.len() == usize::from(tag.length) && key.bytes().all(|b| b.is_ascii_digit()),
                Encoding::Binary | Encoding::Hex(_) => {
                    key.len() == 2 * usize::from(tag.length)
                        && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
                }
            };
            if !fits {
                let reason = match tag.encoding {
                    _ if short => "a tag is two digits".to_owned(),
                    Encoding::Text(_) => format!("a tag is {} characters", tag.length),
                    Encoding::Bcd { .. } => format!("a tag is {} digits", tag.length),
                    Encoding::Binary | Encoding::Hex(_) => {
                        format!("a tag is {} bytes in upper-case hexadecimal", tag.length)
                    }
                };
                return Err(SpecError::new(place, reason));
            }
            let usual = if form.kind == Kind::B { Kind::B } else { Kind::Ans };
            subs.push((key.clone(), self.sub(&place, sub, usual, depth)?));
        }
        Ok(TaggedLayout { class: file.class.clone(), tag, length, skip_unknown: file.skip_unknown, subs, short })
    }

    /// A sub-element whose length its tag says; a `length` of its own says how it is filled up.
    fn sub(&self, place: &str, file: &NodeFile, usual: Kind, depth: u8) -> Result<SubSpec, SpecError> {
        let length = match &file.length {
            None => PartLength::Rest,
            Some(written) => match part_length(&format!("{place}.length"), written)? {
                // The tag's length takes its place; the form only fills up to it.
                PartLength::Variable { .. } => PartLength::Rest,
                length => length,
            },
        };
        if file.prefix.is_some() || file.inclusive.is_some() || file.count.is_some() {
            return Err(SpecError::new(
                place,
                "its length stands behind its tag; `prefix`, `count`, `inclusive` go there",
            ));
        }
        self.sub_of(place, file, usual, length, depth)
    }

    fn sub_of(
        &self,
        place: &str,
        file: &NodeFile,
        usual: Kind,
        length: PartLength,
        depth: u8,
    ) -> Result<SubSpec, SpecError> {
        let kind = file.kind.unwrap_or(usual);
        let form = self.form(place, file, kind, length)?;
        let layout = self.layout(place, file, &form, depth + 1)?;
        let as_text = file.encoding.is_some() && kind != Kind::B;
        Ok(SubSpec { name: file.name.clone(), kind, secret: file.secret, form, as_text, layout })
    }

    fn tlv_subs(
        &self,
        place: &str,
        tags: &BTreeMap<String, NodeFile>,
        depth: u8,
    ) -> Result<Vec<(u32, SubSpec)>, SpecError> {
        let mut known = Vec::with_capacity(tags.len());
        for (key, sub) in tags {
            let place = format!("{place}.{key}");
            let tag = ber_tag(key)
                .ok_or_else(|| SpecError::new(&place, "not a BER tag of one to three bytes in upper-case hex"))?;
            known.push((tag, self.sub(&place, sub, Kind::B, depth)?));
        }
        known.sort_by_key(|(tag, _)| *tag);
        Ok(known)
    }

    fn datasets(
        &self,
        place: &str,
        files: &BTreeMap<String, DatasetFile>,
        depth: u8,
    ) -> Result<Vec<(u8, DatasetSpec)>, SpecError> {
        let mut known = Vec::with_capacity(files.len());
        for (key, file) in files {
            let place = format!("{place}.{key}");
            let id = u8::from_str_radix(key, 16).ok().filter(|id| format!("{id:02X}") == *key);
            let layout = match (id, &file.tlv, &file.fields) {
                (Some(0x01..=0x70), Some(tags), None) if file.bytes.is_none() => {
                    let subs = self.tlv_subs(&format!("{place}.tlv"), tags, depth)?;
                    Layout::Tlv(TlvLayout { class: None, subs })
                }
                (Some(0x71..=0xFE), None, Some(fields)) => {
                    let bytes = file.bytes.unwrap_or(2);
                    let encoding = Encoding::Binary;
                    Layout::Bitmapped(self.announced(&place, encoding, bytes, fields, depth)?)
                }
                (Some(0x01..=0x70), ..) => {
                    return Err(SpecError::new(place, "datasets 01 to 70 hold BER-TLV: `tlv`, nothing else"));
                }
                (Some(0x71..=0xFE), ..) => {
                    return Err(SpecError::new(place, "datasets 71 to FE hold a bitmap and elements: `fields`"));
                }
                _ => return Err(SpecError::new(place, "a dataset's identifier is \"01\" to \"FE\" in upper-case hex")),
            };
            known.extend(id.map(|id| (id, DatasetSpec { name: file.name.clone(), layout })));
        }
        Ok(known)
    }

    fn bitmapped(
        &self,
        place: &str,
        form: &Form,
        file: &BitmappedFile,
        depth: u8,
    ) -> Result<BitmappedLayout, SpecError> {
        if !form.is_bytewise() || form.is_hex_of_bytes() {
            return Err(SpecError::new(place, "only an element of bytes or characters can begin with a bitmap"));
        }
        let encoding = match file.bitmap {
            None | Some(BitmapFile::Binary) => Encoding::Binary,
            Some(BitmapFile::Hex) => Encoding::Hex(self.charset),
            Some(BitmapFile::HexAscii) => Encoding::Hex(Charset::Ascii),
            Some(BitmapFile::HexEbcdic) => Encoding::Hex(ebcdic(self.charset)),
        };
        self.announced(place, encoding, file.bytes.unwrap_or(8), &file.fields, depth)
    }

    fn announced(
        &self,
        place: &str,
        encoding: Encoding,
        bytes: u8,
        files: &BTreeMap<String, NodeFile>,
        depth: u8,
    ) -> Result<BitmappedLayout, SpecError> {
        if !(1..=16).contains(&bytes) {
            return Err(SpecError::new(format!("{place}.bytes"), "a bitmap of sub-elements has 1 to 16 bytes"));
        }
        let mut fields = Vec::with_capacity(files.len());
        for (key, file) in files {
            let place = format!("{place}.fields.{key}");
            let number = key.parse::<u8>().ok().filter(|n| *n > 0 && *n <= bytes * 8 && n.to_string() == *key);
            let number = number.ok_or_else(|| {
                SpecError::new(&place, format!("a bit of this bitmap is 1 to {}", u16::from(bytes) * 8))
            })?;
            let written = file.length.as_ref().ok_or_else(|| SpecError::new(&place, "it needs a `length`"))?;
            let length = part_length(&format!("{place}.length"), written)?;
            if length == PartLength::Rest {
                return Err(bad_length(&place));
            }
            fields.push((number, self.sub_of(&place, file, Kind::Ans, length, depth)?));
        }
        fields.sort_by_key(|(number, _)| *number);
        Ok(BitmappedLayout { encoding, bytes, fields })
    }

    fn positional(&self, place: &str, files: &[NodeFile], form: &Form, depth: u8) -> Result<Vec<Part>, SpecError> {
        let (parts, least) = self.parts(place, files, form, depth)?;
        let all_fixed = parts.iter().all(|part| matches!(part.length, PartLength::Fixed(_)));
        let own = parts.iter().any(|part| part.form.is_some());
        let max = if own { form.size_of(form.max()) } else { form.max() };
        match form.length {
            PartLength::Fixed(_) if all_fixed && least != max => {
                Err(SpecError::new(place, format!("the parts add up to {least}, the element has {max}")))
            }
            PartLength::Fixed(_) | PartLength::Variable { .. } if least > max => {
                Err(SpecError::new(place, format!("the parts add up to {least}, the element has at most {max}")))
            }
            _ => Ok(parts),
        }
    }

    fn repeated(&self, place: &str, files: &[NodeFile], form: &Form, depth: u8) -> Result<Vec<Part>, SpecError> {
        let (parts, total) = self.parts(place, files, form, depth)?;
        if parts.last().is_some_and(|part| part.length == PartLength::Rest) {
            return Err(SpecError::new(place, "a part that takes the rest cannot be repeated; give it a length"));
        }
        let all_fixed = parts.iter().all(|part| matches!(part.length, PartLength::Fixed(_)));
        let own = parts.iter().any(|part| part.form.is_some());
        let max = if own { form.size_of(form.max()) } else { form.max() };
        if all_fixed && form.length != PartLength::Rest && max % total.max(1) != 0 {
            let reason = format!("the parts add up to {total}, of which the element's {max} is no multiple");
            return Err(SpecError::new(place, reason));
        }
        Ok(parts)
    }

    /// Parts, and how long they are at least: in characters, or in bytes when they have forms of their own.
    fn parts(&self, place: &str, files: &[NodeFile], form: &Form, depth: u8) -> Result<(Vec<Part>, usize), SpecError> {
        if files.is_empty() {
            return Err(SpecError::new(place, "at least one part is needed"));
        }
        let own = form.kind == Kind::B || files.iter().any(has_form);
        if own && (!form.is_bytewise() || form.is_hex_of_bytes()) {
            let reason = "parts that are written in their own way need an element of bytes or characters around them";
            return Err(SpecError::new(place, reason));
        }
        let mut names = BTreeSet::new();
        let mut total = 0usize;
        let mut parts = Vec::with_capacity(files.len());
        for (at, file) in files.iter().enumerate() {
            let place = format!("{place}[{at}]");
            if !names.insert(file.name.as_str()) {
                let reason = format!("a part named `{}` stands before it; names differ", file.name);
                return Err(SpecError::new(place, reason));
            }
            let Some(written) = &file.length else {
                return Err(SpecError::new(place, "a part needs a `length`"));
            };
            let length = match written {
                LengthFile::Written(text) if text == "rest" && at + 1 < files.len() => {
                    return Err(SpecError::new(place, "only the last part can take the rest"));
                }
                written => part_length(&format!("{place}.length"), written)?,
            };
            let part_form = if own { Some(self.part_form(&place, file, form, length)?) } else { None };
            let inside = part_form.unwrap_or(Form { length, ..*form });
            total += match (length, part_form) {
                (PartLength::Rest, _) => 0,
                (PartLength::Fixed(n), None) | (PartLength::Variable { max: n, .. }, None) => usize::from(n),
                (PartLength::Fixed(n), Some(form)) => form.size_of(usize::from(n)),
                (PartLength::Variable { .. }, Some(form)) => form.prefix_size(),
            };
            parts.push(Part {
                name: file.name.clone(),
                title: file.title.clone().unwrap_or_else(|| file.name.replace('_', " ")),
                length,
                secret: file.secret,
                form: part_form,
                layout: self.layout(&place, file, &inside, depth + 1)?,
            });
        }
        Ok((parts, total))
    }

    /// The form of a part: that of the element around it where nothing else is said.
    fn part_form(&self, place: &str, file: &NodeFile, around: &Form, length: PartLength) -> Result<Form, SpecError> {
        let kind = file.kind.unwrap_or(around.kind);
        let mut form = self.form(place, file, kind, length)?;
        if file.encoding.is_none() && file.kind.is_none() {
            form.encoding = around.encoding;
        }
        Ok(form)
    }
}

/// Whether a part says anything about how it is written.
fn has_form(file: &NodeFile) -> bool {
    let layouts = file.parts.is_some()
        || file.repeat.is_some()
        || file.tagged.is_some()
        || file.tlv.is_some()
        || file.datasets.is_some()
        || file.bitmapped.is_some();
    let varies = matches!(&file.length, Some(LengthFile::Written(text)) if text != "rest");
    layouts || varies || file.kind.is_some() || file.encoding.is_some() || file.pad.is_some()
}

fn bad_length(place: &str) -> SpecError {
    let place = if place.ends_with(".length") { place.to_owned() } else { format!("{place}.length") };
    SpecError::new(place, "write a number for a fixed length, \"..19\" or \"...999\" for a variable one")
}

fn part_length(place: &str, length: &LengthFile) -> Result<PartLength, SpecError> {
    let written = match length {
        LengthFile::Fixed(0) => return Err(SpecError::new(place, "a fixed element cannot be empty")),
        LengthFile::Fixed(n) => return Ok(PartLength::Fixed(*n)),
        LengthFile::Written(text) if text == "rest" => return Ok(PartLength::Rest),
        LengthFile::Written(text) => text,
    };
    let max = written.trim_start_matches('.');
    let digits = match u8::try_from(written.len() - max.len()) {
        Ok(digits @ 1..=6) => digits,
        Ok(_) | Err(_) => return Err(bad_length(place)),
    };
    match max.parse::<u32>() {
        Ok(max) => match u16::try_from(max) {
            Ok(max) => Ok(PartLength::Variable { digits, max }),
            Err(_) => Err(SpecError::new(place, "it is longer than a message can be, 65535 bytes")),
        },
        Err(_) => Err(bad_length(place)),
    }
}
