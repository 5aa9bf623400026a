//! Card numbers: checked when given, drawn when not. A number is wiped when it is dropped and never printed.

use iso_codec::Pan;
use zeroize::Zeroizing;

use super::keys::NoRandomness;

/// Digits of an issued number.
const ISSUED: usize = 16;

/// Digits of a PAN with its fingerprint's input form: ASCII digits.
pub(super) type Digits = Zeroizing<Vec<u8>>;

/// The digits of a given card number: 13 to 19 of them with a good Luhn digit.
pub(super) fn check(text: &str) -> Result<Digits, &'static str> {
    let pan = Pan::from_ascii(text.as_bytes())
        .filter(|pan| pan.as_digits().len() >= 13)
        .ok_or("a card number of 13 to 19 digits without blanks is needed")?;
    if !pan.luhn_valid() {
        return Err("the card number's last digit is not its Luhn check digit");
    }
    Ok(Zeroizing::new(pan.as_digits().to_vec()))
}

/// A number of 16 digits under `bin` (6 to 11 digits): random digits, then the Luhn check digit.
pub(super) fn draw(bin: &str) -> Result<Digits, NoRandomness> {
    let mut digits: Digits = Zeroizing::new(bin.bytes().filter(u8::is_ascii_digit).take(ISSUED - 1).collect());
    let mut random = Zeroizing::new([0u8; 64]);
    while digits.len() < ISSUED - 1 {
        getrandom::fill(&mut *random)?;
        // Bytes from 250 on would favour the low digits.
        let missing = ISSUED - 1 - digits.len();
        let fair = random.iter().filter(|byte| **byte < 250).map(|byte| b'0' + byte % 10);
        digits.extend(fair.take(missing));
    }
    let check = luhn_digit(&digits);
    digits.push(check);
    Ok(digits)
}

/// The digit that makes `digits` and itself pass Luhn.
fn luhn_digit(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit.wrapping_sub(b'0'));
            // The check digit will stand at place 0, so the doubled places are the even ones here.
            match (place % 2 == 0, value > 4) {
                (true, true) => value * 2 - 9,
                (true, false) => value * 2,
                (false, _) => value,
            }
        })
        .sum();
    b'0' + u8::try_from((10 - sum % 10) % 10).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_numbers_pass_the_check_that_given_ones_must() {
        for bin in ["535110", "53511012", "53511012345"] {
            for _ in 0..200 {
                let digits = draw(bin).expect("randomness");
                let text = std::str::from_utf8(&digits).expect("digits");
                assert!(text.starts_with(bin) && text.len() == 16);
                check(text).expect("a drawn number is good");
            }
        }
    }

    #[test]
    fn bad_numbers_are_refused() {
        assert!(check("4111111111111111").is_ok());
        for bad in [
            "4111111111111112",
            "411111111111",
            "41111111111111111111",
            "4111-1111-1111-1111",
            "",
            "４１１１１１１１１１１１１１１１",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
