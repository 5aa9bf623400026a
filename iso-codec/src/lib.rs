//! ISO 8583 messages: specs as data, zero-copy decode, byte-exact encode, framing rules, masking.
//!
//! This crate owns the meaning of bytes on a link and nothing else. It never does IO, reads a clock, spawns a
//! thread, or panics on input: whatever comes in is either a [`Message`] or a [`DecodeError`] that names the element
//! and the offset, never the bytes.
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use iso_codec::{Builder, Mti, Spec, decode};
//!
//! let spec = Spec::embedded("mastercard").expect("it is compiled in");
//! let mut out = BytesMut::new();
//! let mut request = Builder::new(&spec, Mti(0x0800), &mut out);
//! request.text(7, b"0131120000")?;
//! request.digits(11, 42)?;
//! request.digits(70, 270)?;
//! request.finish()?;
//! let message = decode(&spec, out.freeze())?;
//! assert_eq!(message.mti().response().to_string(), "0810");
//! assert_eq!(message.digits(11), Some(42));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bitmap;
mod charset;
mod charset_tables;
mod compose;
mod composite;
mod decode;
mod describe;
mod draft;
mod encode;
mod error;
mod form;
mod framing;
mod inside;
mod json;
mod message;
mod mti;
mod pan;
mod plan;
mod prefix;
mod spec;
mod spec_check;
mod spec_file;
mod spec_form;
mod spec_layout;
mod spec_words;
mod tags;
mod typed;

pub use bitmap::{Elements, Numbers};
pub use charset::Charset;
pub use composite::{SubError, SubFault, SubIter, Tlv, TlvIter};
pub use decode::decode;
pub use describe::{DescribeOptions, Described, DescribedElement, DescribedItem, DescribedValue, describe};
pub use draft::{Content, Draft, Item};
pub use encode::Builder;
pub use error::{DecodeError, ElementAt, EncodeError, Expected, Fault, Got, SpecError};
pub use form::{Count, Encoding, Form, Padding};
pub use framing::{Framing, FramingError, Step, Width};
pub use json::{JsonError, from_json};
pub use message::Message;
pub use mti::Mti;
pub use pan::{Pan, mask_digits};
pub use prefix::Prefix;
pub use spec::{
    BitmapForm, BitmappedLayout, ClassSpec, DatasetSpec, FieldSpec, Kind, Layout, Length, MtiForm, Part, PartLength,
    Secret, Spec, SubSpec, TagForm, TagLength, TaggedLayout, TlvLayout,
};
pub use tags::{Tagged, TaggedIter};
pub use typed::{
    AdditionalAmount, AdviceReason, Amount, EntryMode, Original, Rate, Replacement, TraceLink, TransmittedAt,
};
