//! How a content is written, from a spec file's words: encoding, length, prefix and filling, checked against each other.
//! Owns what one form may be; never what is inside a content (`spec_layout.rs`).

use crate::charset::Charset;
use crate::decode::LONGEST;
use crate::error::SpecError;
use crate::form::{Count, Encoding, Form, Padding};
use crate::spec::{Kind, PartLength};
use crate::spec_check::Defaults;
use crate::spec_file::{LengthFile, NodeFile};
use crate::spec_words::{BinaryFile, EncodingFile};

impl Defaults {
    /// How a content is written, checked.
    pub(crate) fn form(&self, place: &str, file: &NodeFile, kind: Kind, length: PartLength) -> Result<Form, SpecError> {
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
        let mut encoding = named.means(self.charset, filler);
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
            Some(count) => count.means(),
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
            prefix: file.prefix.unwrap_or(self.prefix).means(self.charset),
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
}

/// What is no length at all.
pub(crate) fn bad_length(place: &str) -> SpecError {
    let place = if place.ends_with(".length") { place.to_owned() } else { format!("{place}.length") };
    SpecError::new(place, "write a number for a fixed length, \"..19\" or \"...999\" for a variable one")
}

/// A length as it is written in the file.
pub(crate) fn part_length(place: &str, length: &LengthFile) -> Result<PartLength, SpecError> {
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
