//! How frames are delimited on a link. Pure rules; it must never do IO.

/// How the length prefix is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Two bytes, big-endian.
    Len2Be,
    /// Two bytes, little-endian.
    Len2Le,
    /// Four bytes, big-endian.
    Len4Be,
    /// Four ASCII digits.
    Len4Ascii,
}

/// Framing of one link: prefix, whether it counts itself, and a fixed header behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// The prefix.
    pub width: Width,
    /// Whether the length counts the prefix itself.
    pub inclusive: bool,
    /// Bytes between prefix and message; the length counts them.
    pub header_bytes: usize,
}
