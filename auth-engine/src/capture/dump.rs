//! The bytes of a message that does not decode, with a caret under the one that is wrong. Bytes of masked elements are
//! not shown; where nothing was decoded, bytes that may be digits of a card number are not shown either, in whatever
//! writing.

use std::fmt::Write as _;

use iso_codec::{DecodeError, DescribeOptions, describe};

/// Bytes a line.
const WIDTH: usize = 16;
/// Lines shown before and behind the fault.
const AROUND: usize = 2;

/// Lines of hexadecimal around the fault, and below it a caret and what is wrong. `clear` shows every byte.
pub fn around(frame: &[u8], error: &DecodeError, clear: bool) -> String {
    let shown = if clear { vec![Show::Byte; frame.len()] } else { shown(frame, error) };
    let at = error.offset.min(frame.len());
    let line = at / WIDTH;
    let mut text = String::new();
    for number in line.saturating_sub(AROUND)..=line + AROUND {
        let from = number * WIDTH;
        let bytes = frame.get(from..(from + WIDTH).min(frame.len())).unwrap_or_default();
        if bytes.is_empty() && number != line {
            continue;
        }
        // Writing into a string does not fail.
        let _ = write!(text, "  {from:04X} ");
        for (place, byte) in (from..).zip(bytes) {
            let _ = match shown.get(place).copied().unwrap_or(Show::Hidden) {
                Show::Byte => write!(text, " {byte:02X}"),
                Show::Hidden => write!(text, " **"),
                Show::Digits => write!(text, " ##"),
            };
        }
        text.push('\n');
        if number == line {
            let _ = writeln!(text, "{:width$}^^ offset {at}: {error}", "", width = 8 + (at % WIDTH) * 3);
        }
    }
    if !clear && shown.contains(&Show::Digits) {
        text.push_str("  ## may be digits of a card number; --clear shows them\n");
    }
    text
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Byte,
    Hidden,
    Digits,
}

fn shown(frame: &[u8], error: &DecodeError) -> Vec<Show> {
    let mut shown: Vec<Show> =
        frame.iter().map(|byte| if may_be_digits(*byte) { Show::Digits } else { Show::Byte }).collect();
    let Some(message) = &error.partial else { return shown };
    let masked = describe(message, &DescribeOptions { clear: false });
    for (n, element) in &masked.fields {
        let Some(place) = message.raw(*n).and_then(|raw| place_of(frame, raw)) else { continue };
        let show = if element.raw.is_some() { Show::Byte } else { Show::Hidden };
        if let Some(piece) = shown.get_mut(place) {
            piece.fill(show);
        }
    }
    // Type and bitmaps, as far as the first element.
    let first = message.present().filter_map(|n| message.wire(n).and_then(|wire| place_of(frame, wire))).next();
    let head = first.map_or(error.offset, |place| place.start).min(error.offset);
    if let Some(piece) = shown.get_mut(..head) {
        piece.fill(Show::Byte);
    }
    shown
}

/// Where a slice of the message's bytes stands in them.
fn place_of(frame: &[u8], raw: &[u8]) -> Option<std::ops::Range<usize>> {
    let at = (raw.as_ptr() as usize).checked_sub(frame.as_ptr() as usize)?;
    (at + raw.len() <= frame.len()).then(|| at..at + raw.len())
}

/// Digits of ASCII, of EBCDIC, or packed, also with a filler or a track's separator.
fn may_be_digits(byte: u8) -> bool {
    let (high, low) = (byte >> 4, byte & 15);
    high <= 9 || (high == 15 && low <= 9) || (matches!(high, 13 | 15) && low <= 9)
}
