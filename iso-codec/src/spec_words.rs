//! The words with which a spec file says how something is written, and what each of them stands for. Owns the list of
//! character sets that a file can name, once for all of them; never knows what is written so.

use crate::charset::Charset;
use crate::form::{Count, Encoding};
use crate::prefix::Prefix;
use crate::spec::MtiForm;
use serde::Deserialize;

/// The words for text in a character set, which are the same everywhere, and those that only one key has.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident($own:ident $(, $more:ident: $kind:ty)?) -> $made:ty = $text:path;
        $($(#[$other_doc:meta])* $other:ident => $value:expr,)*
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        pub(crate) enum $name {
            /// Characters of the spec's character set.
            Text,
            /// ASCII characters.
            Ascii,
            /// EBCDIC characters, code page 500.
            EbcdicCp500,
            /// EBCDIC characters, code page 1047.
            #[serde(rename = "ebcdic-1047")]
            Ebcdic1047,
            /// EBCDIC characters, code page 37.
            #[serde(rename = "ebcdic-037")]
            Ebcdic037,
            $($(#[$other_doc])* $other,)*
        }

        impl $name {
            /// What it stands for in a spec of that character set.
            pub(crate) fn means(self, $own: Charset $(, $more: $kind)?) -> $made {
                match self {
                    $name::Text => $text($own),
                    $name::Ascii => $text(Charset::Ascii),
                    $name::EbcdicCp500 => $text(Charset::EbcdicCp500),
                    $name::Ebcdic1047 => $text(Charset::Ebcdic1047),
                    $name::Ebcdic037 => $text(Charset::Ebcdic037),
                    $($name::$other => $value,)*
                }
            }
        }
    };
}

words! {
    /// How the message type is written.
    MtiFile(own) -> MtiForm = MtiForm::Text;
    /// Two bytes.
    Bcd => MtiForm::Bcd,
    /// Two bytes, too.
    Binary => MtiForm::Bcd,
}

words! {
    /// How a content is written.
    EncodingFile(own, filler: u8) -> Encoding = Encoding::Text;
    /// Two digits a byte, an odd count filled in front.
    Bcd => Encoding::Bcd { left: false, filler },
    /// Two digits a byte, an odd count filled behind.
    BcdLeft => Encoding::Bcd { left: true, filler },
    /// Bytes as they are.
    Binary => Encoding::Binary,
    /// Two hexadecimal characters of the spec's character set a byte.
    Hex => Encoding::Hex(own),
    /// Two hexadecimal characters in ASCII a byte.
    HexAscii => Encoding::Hex(Charset::Ascii),
    /// Two hexadecimal characters in EBCDIC a byte.
    HexEbcdic => Encoding::Hex(ebcdic(own)),
}

words! {
    /// How a length prefix is written.
    PrefixFile(own) -> Prefix = Prefix::Text;
    /// Two digits a byte.
    Bcd => Prefix::Bcd,
    /// A byte for each dot, the highest first.
    Binary => Prefix::Binary,
    /// Two hexadecimal characters for each dot.
    Hex => Prefix::Hex(own),
}

#[allow(clippy::derivable_impls, reason = "the macro knows no default; only the message type has one")]
impl Default for MtiFile {
    fn default() -> MtiFile {
        MtiFile::Text
    }
}

/// How bitmaps are written.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum BitmapFile {
    /// Eight bytes each.
    Binary,
    /// Sixteen hexadecimal characters of the spec's character set.
    Hex,
    /// Sixteen hexadecimal characters in ASCII.
    HexAscii,
    /// Sixteen hexadecimal characters in EBCDIC.
    HexEbcdic,
}

impl BitmapFile {
    /// In which character set it is hexadecimal; `None` for bytes.
    pub(crate) fn hex(self, own: Charset) -> Option<Charset> {
        match self {
            BitmapFile::Binary => None,
            BitmapFile::Hex => Some(own),
            BitmapFile::HexAscii => Some(Charset::Ascii),
            BitmapFile::HexEbcdic => Some(ebcdic(own)),
        }
    }
}

/// How `b` elements are written.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum BinaryFile {
    /// Bytes as they are.
    #[default]
    Raw,
    /// Two hexadecimal characters a byte, which the length prefix counts.
    Hex,
}

/// What a length counts.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) enum CountFile {
    /// Characters, digits, or bytes of a binary content.
    Characters,
    /// Bytes on the wire.
    Bytes,
    /// Half-bytes on the wire.
    Nibbles,
}

impl CountFile {
    /// What it stands for.
    pub(crate) fn means(self) -> Count {
        match self {
            CountFile::Characters => Count::Characters,
            CountFile::Bytes => Count::Bytes,
            CountFile::Nibbles => Count::Nibbles,
        }
    }
}

/// Hexadecimal digits stand at the same places in all EBCDIC code pages.
fn ebcdic(charset: Charset) -> Charset {
    if charset == Charset::Ascii { Charset::EbcdicCp500 } else { charset }
}
