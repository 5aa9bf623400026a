//! What is inside elements, from a spec file's words: sub-elements, parts, BER-TLV, datasets and bitmaps of their own,
//! each in the other. Owns which of them can stand where; how one content is written is `spec_form.rs`'s.

use crate::error::SpecError;
use crate::form::{Count, Encoding, Form};
use crate::prefix::Prefix;
use crate::spec::{
    BitmappedLayout, DatasetSpec, Kind, Layout, Part, PartLength, SubSpec, TagForm, TagLength, TaggedLayout, TlvLayout,
};
use crate::spec_check::Defaults;
use crate::spec_file::{BitmappedFile, DatasetFile, LengthFile, NodeFile, TaggedFile, ber_tag};
use crate::spec_form::{bad_length, part_length};
use crate::spec_words::{CountFile, EncodingFile, PrefixFile};
use std::collections::{BTreeMap, BTreeSet};

/// How deep layouts may stand in one another: as deep as JSON of a message may.
const DEEPEST: u8 = 6;

impl Defaults {
    /// What is inside.
    pub(crate) fn layout(&self, place: &str, file: &NodeFile, form: &Form, depth: u8) -> Result<Layout, SpecError> {
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
            Some(tag) => TagForm {
                length: tag.length,
                encoding: tag.encoding.unwrap_or(EncodingFile::Text).means(self.charset, 0),
            },
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
                prefix: length.encoding.unwrap_or(PrefixFile::Text).means(self.charset),
                count: length.count.map_or(Count::Characters, CountFile::means),
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
        let hex = file.bitmap.and_then(|bitmap| bitmap.hex(self.charset));
        let encoding = hex.map_or(Encoding::Binary, Encoding::Hex);
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
