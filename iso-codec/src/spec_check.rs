//! From a spec file's shape to a compiled [`Spec`], checking that it does not contradict itself: nothing else in the
//! crate may doubt a spec afterwards. Owns the defaults and the elements' numbers; how a content is written is checked
//! in `spec_form.rs`, what is inside it in `spec_layout.rs`.

use crate::charset::Charset;
use crate::error::SpecError;
use crate::plan::FieldPlan;
use crate::spec::{BitmapForm, FieldSpec, Length, PartLength, Spec};
use crate::spec_file::{NodeFile, SpecFile};
use crate::spec_form::{bad_length, part_length};
use crate::spec_words::{BinaryFile, CountFile, EncodingFile, PrefixFile};

/// The file's defaults.
pub(crate) struct Defaults {
    pub(crate) charset: Charset,
    pub(crate) numeric: EncodingFile,
    pub(crate) track: EncodingFile,
    pub(crate) binary: BinaryFile,
    pub(crate) prefix: PrefixFile,
    pub(crate) count: Option<CountFile>,
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
            *slot = FieldPlan::of(&field.wire, file.charset);
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
    let hex = file.bitmap.hex(file.charset);
    let common = fields.iter().all(|field| plans.get(usize::from(field.number)).is_some_and(Option::is_some));
    Ok(Spec {
        name: file.name,
        title: file.title,
        charset: file.charset,
        tables: file.charset.tables(),
        bitmap: hex.map_or(BitmapForm::Binary, |_| BitmapForm::Hex),
        bitmap_charset: hex.unwrap_or(file.charset),
        mti: file.mti.means(file.charset),
        third,
        common,
        plans,
        fields,
        places,
    })
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
}
