//! Captures as text: a message a line in hexadecimal, perhaps behind a mark that tells which way it went (`>` from the
//! network, `<` from the engine) and on which link (`[name]`). Blanks do not count; lines that begin with `#` are for
//! people. It must never decode a message.

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the network to the engine.
    Out,
    /// From the engine to the network.
    In,
}

/// One line that is not for people alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    /// The mark as it stands in the text; empty when there is none.
    pub mark: &'a str,
    /// What the mark says.
    pub direction: Option<Direction>,
    /// What the line holds; empty on an empty line.
    pub bytes: Vec<u8>,
}

/// Text that is no capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLines {
    /// A character that is no hexadecimal digit.
    #[error("line {line}, column {column}: not hexadecimal")]
    Digit {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in bytes.
        column: usize,
    },
    /// Half a byte is left over.
    #[error("line {line}: an odd number of hexadecimal digits; two make a byte")]
    Odd {
        /// Counted from 1.
        line: usize,
    },
}

/// The lines of a text.
///
/// # Errors
/// The first line that does not read.
pub fn read(text: &[u8]) -> Result<Vec<Line<'_>>, NotLines> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        if line.trim_ascii_start().starts_with(b"#") {
            continue;
        }
        let (mark, direction) = mark(line);
        let mut bytes = Vec::with_capacity(line.len() / 2);
        let mut high = None;
        let digits = line.iter().enumerate().skip(mark.len());
        for (column, ch) in digits.filter(|(_, ch)| !ch.is_ascii_whitespace()) {
            let digit = char::from(*ch).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let digit = digit.ok_or(NotLines::Digit { line: number, column: column + 1 })?;
            match high.take() {
                Some(high) => bytes.push(high << 4 | digit),
                None => high = Some(digit),
            }
        }
        if high.is_some() {
            return Err(NotLines::Odd { line: number });
        }
        lines.push(Line { number, mark, direction, bytes });
    }
    Ok(lines)
}

/// What stands before the hexadecimal of a line, blanks before it included.
fn mark(line: &[u8]) -> (&str, Option<Direction>) {
    let from = line.len() - line.trim_ascii_start().len();
    let direction = match line.get(from) {
        Some(b'>') => Direction::Out,
        Some(b'<') => Direction::In,
        _ => return ("", None),
    };
    let behind = line.get(from + 1..).unwrap_or_default();
    let blanks = behind.len() - behind.trim_ascii_start().len();
    let named = behind.get(blanks..).filter(|rest| rest.starts_with(b"["));
    let name = named.and_then(|rest| rest.iter().position(|byte| *byte == b']')).map_or(0, |end| blanks + end + 1);
    // A name that is not UTF-8 is no mark, and no hexadecimal either: the line is refused where it begins.
    let mark = line.get(..from + 1 + name).and_then(|mark| std::str::from_utf8(mark).ok());
    (mark.unwrap_or(""), mark.and(Some(direction)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_names_blanks_and_remarks() {
        let text = b"# said\n0a 0B\n\n>FF\n < [net one] 0102 \n";
        let lines = read(text).expect("lines");
        let told: Vec<_> = lines.iter().map(|line| (line.number, line.mark, line.direction, &line.bytes[..])).collect();
        let wanted: [(usize, &str, Option<Direction>, &[u8]); 5] = [
            (2, "", None, &[10, 11]),
            (3, "", None, &[]),
            (4, ">", Some(Direction::Out), &[255]),
            (5, " < [net one]", Some(Direction::In), &[1, 2]),
            (6, "", None, &[]),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn what_does_not_read_is_told_with_its_place() {
        assert_eq!(read(b"00\n>[a] 0G"), Err(NotLines::Digit { line: 2, column: 7 }));
        assert_eq!(read(b"00\n001"), Err(NotLines::Odd { line: 2 }));
        assert_eq!(read(b">[a 00"), Err(NotLines::Digit { line: 1, column: 2 }));
        assert_eq!(read(b">[\xff] 00"), Err(NotLines::Digit { line: 1, column: 1 }));
    }
}
