//! Messages made up from a spec: any choice of its elements, each with content that its kind allows and that a peer can
//! carry. What a peer cannot carry is its own test's to leave out.

use iso_codec::{Draft, FieldSpec, Kind, Length, Mti, Spec};
use proptest::prelude::*;

/// Number and text of each element, ascending.
pub(crate) type Elements = Vec<(u8, String)>;

/// Messages of the elements that `carried` lets through. `ans` is what such elements are made of; all other kinds have
/// their own characters.
pub(crate) fn messages(
    spec: &Spec,
    ans: &'static [u8],
    carried: fn(&FieldSpec) -> bool,
) -> impl Strategy<Value = Elements> + use<> {
    let fields: Vec<FieldSpec> = spec.fields().filter(|field| carried(field)).cloned().collect();
    let most = fields.len().min(24);
    prop::sample::subsequence(fields, 1..=most)
        .prop_flat_map(move |fields| fields.iter().map(|field| element(field, ans)).collect::<Vec<_>>())
}

fn element(field: &FieldSpec, ans: &'static [u8]) -> BoxedStrategy<(u8, String)> {
    // A star in a card number is the mark of a masked one, which we refuse to write.
    let starless = |ch: u8| if field.secret.is_some() && ch == b'*' { b'+' } else { ch };
    let number = field.number;
    let alphabet: &[u8] = match field.kind {
        Kind::A => b"ABCXYZabcxyz ",
        Kind::N | Kind::Xn => b"0123456789",
        Kind::An => b"ABCXYZabcxyz 0123456789",
        Kind::Ans => ans,
        Kind::B => b"0123456789ABCDEF",
        Kind::Z => b"0123456789=D",
    };
    let alphabet: Vec<u8> = alphabet.iter().copied().map(starless).collect();
    // Bytes are written as two hexadecimal digits each; a sign stands before the digits.
    let signed = field.kind == Kind::Xn;
    let each = if field.kind == Kind::B { 2 } else { 1 };
    let lengths = match field.length {
        Length::Fixed(len) => {
            let len = usize::from(len);
            (len..=len).boxed()
        }
        // Mostly short; now and then as long as may be, where a prefix gets its last digit.
        Length::Variable { max, .. } => {
            let max = usize::from(max);
            prop_oneof![8 => 0..=max.min(20), 1 => 0..=max, 1 => Just(max)].boxed()
        }
    };
    let text = lengths.prop_flat_map(move |len| {
        prop::collection::vec(prop::sample::select(alphabet.clone()), len * each - usize::from(signed))
    });
    (prop::sample::select(&b"CD"[..]), text)
        .prop_map(move |(sign, text)| {
            let sign = signed.then_some(char::from(sign));
            (number, sign.into_iter().chain(text.into_iter().map(char::from)).collect())
        })
        .boxed()
}

/// The message as ours.
pub(crate) fn draft(mti: Mti, elements: &Elements) -> Draft {
    let mut draft = Draft::new(mti);
    for (n, text) in elements {
        draft.set_text(*n, text);
    }
    draft
}
