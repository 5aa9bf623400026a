//! Reading what is inside elements: card numbers, sub-elements, TLVs, parts; and that nothing secret is shown.

mod common;

use bytes::Bytes;
use common::{fixture, fixtures};
use iso_codec::{
    DescribeOptions, Described, Draft, EncodeError, JsonError, Message, Mti, Spec, SubFault, decode, describe,
    from_json,
};
use std::sync::Arc;

const PAN: &str = "5351101200004242";
const MASKED: &str = "53511012****4242";

fn read(name: &str) -> Message {
    let fixture = fixture(name);
    decode(&fixture.spec, fixture.frame).expect(name)
}

fn spec() -> Arc<Spec> {
    Spec::embedded("mastercard").expect("embedded")
}

fn text(found: Option<&[u8]>) -> String {
    String::from_utf8(found.expect("present").to_vec()).expect("ASCII")
}

#[test]
fn a_purchase_reads_as_it_was_written() {
    let message = read("mastercard-0100-contactless");
    let mut buf = [0u8; 99];
    assert_eq!(message.mti(), Mti(0x0100));
    assert_eq!((message.digits(4), message.digits(6), message.digits(49)), (Some(1340), Some(1250), Some(840)));
    assert_eq!(message.digits(2), Some(5_351_101_200_004_242));
    assert_eq!(message.pan().map(|pan| pan.to_string()).as_deref(), Some(MASKED));
    assert_eq!(message.tcc(), Some(b'R'));
    assert_eq!(text(message.sub_text(48, "63", &mut buf)), "MCC1234560131  ");
    assert_eq!(text(message.sub_text(48, "61", &mut buf)), "10001");
    assert_eq!(message.sub_raw(48, "72"), Some(&[0x00, 0xFF, 0x40, 0xD9, 0xF1, 0xC0, 0xAA, 0x55][..]));
    let wire = message.sub_wire(48, "42").expect("SE42");
    assert_eq!(spec().charset().string(wire), "42070103210");
    assert_eq!(message.sub_wire(48, "99"), None);
    assert!(message.subs(48).all(|sub| sub.is_ok()));
    assert_eq!(text(message.part(43, "city", &mut buf)), "SPRINGFIELD  ");
    assert_eq!(text(message.part(43, "country", &mut buf)), "USA");
    assert_eq!(text(message.part(61, "status", &mut buf)), "0");
    assert_eq!(text(message.part(61, "postal_code", &mut buf)), "62704");
    assert_eq!(text(message.part(63, "reference", &mut buf)), "123456");
    assert_eq!(message.part(63, "nothing", &mut buf), None);
    assert_eq!(message.text(43, &mut [0; 39]), None, "a buffer too small");
    let tags: Vec<u32> = message.tlvs(55).map(|tlv| tlv.expect("readable").tag).collect();
    assert_eq!(tags.first(), Some(&0x9F26));
    assert_eq!(tags.last(), Some(&0x9F6E));
    assert_eq!(tags.len(), 20);
}

#[test]
fn the_card_number_is_found_in_track_2_with_either_separator() {
    let message = read("mastercard-0100-track");
    assert!(!message.has(2));
    assert_eq!(message.pan().map(|pan| pan.to_string()).as_deref(), Some(MASKED));
    assert_eq!(message.track2_expiry(), Some(*b"2901"));
    let mut draft = Draft::new(Mti(0x0100));
    draft.set_text(35, format!("{PAN}=2901201"));
    let message = decode(&spec(), draft.encode(&spec()).expect("encodes")).expect("decodes");
    assert_eq!(message.pan().map(|pan| pan.as_digits().to_vec()), Some(PAN.as_bytes().to_vec()));
    draft.set_text(35, "no track at all");
    let message = decode(&spec(), draft.encode(&spec()).expect("encodes")).expect("decodes");
    assert_eq!(message.pan(), None);
}

#[test]
fn originals_and_replacements_are_read_by_part() {
    let message = read("mastercard-0420-partial");
    let mut buf = [0u8; 42];
    assert_eq!(text(message.part(90, "mti", &mut buf)), "0100");
    assert_eq!(text(message.part(90, "stan", &mut buf)), "000123");
    assert_eq!(text(message.part(90, "transmitted_at", &mut buf)), "0131120000");
    assert_eq!(text(message.part(90, "forwarder", &mut buf)), "00000000000");
    assert_eq!(text(message.part(95, "transaction", &mut buf)), "000000000500");
    assert_eq!(text(message.part(95, "billing", &mut buf)), "000000000466");
    let declined = read("mastercard-0110-declined");
    assert_eq!(text(declined.part(54, "amount", &mut buf)), "000000000500");
    assert_eq!(declined.part_of(54, 1, "amount", &mut buf), None);
}

#[test]
fn elements_are_read_as_values_in_every_encoding() {
    let partial = read("mastercard-0420-partial");
    let original = partial.original().expect("DE90");
    assert_eq!((original.mti, original.stan, original.transmitted), (Mti(0x0100), 123, 131_120_000));
    let replacement = partial.replacement().expect("DE95");
    assert_eq!((replacement.transaction, replacement.billing), (Some(500), Some(466)));
    assert_eq!(partial.advice_reason().map(|r| (r.reason, r.detail)), Some((400, Some(0))));
    let tap = read("mastercard-0100-contactless");
    assert_eq!(tap.rate(10).map(|rate| (rate.mantissa, rate.decimals)), Some((932_835, 7)));
    assert_eq!(tap.entry_mode().map(|mode| (mode.pan, mode.pin)), Some((7, 1)));
    assert_eq!(tap.network_reference(), Some(*b"MCC123456"));
    assert_eq!(tap.amount(4).map(|a| (a.minor, a.currency)), Some((1340, Some(840))));
    assert_eq!(tap.transmitted_at().map(|at| (at.month, at.day, at.hour)), Some((1, 31, 12)));
    let declined: Vec<_> = read("mastercard-0110-declined").additional_amounts().collect();
    assert_eq!(declined.len(), 1);
    assert_eq!((declined[0].kind, declined[0].currency, declined[0].debit, declined[0].amount), (2, 978, false, 500));
    let packed = read("iso1987-binary-0200");
    assert_eq!(packed.original().map(|o| (o.stan, o.acquirer, o.forwarder)), Some((123, 12_345, 200_200)));
    assert_eq!(packed.entry_mode().map(|mode| (mode.pan, mode.pin)), Some((5, 1)));
    assert_eq!(packed.pan().map(|pan| pan.to_string()).as_deref(), Some(MASKED));
    let mut draft = Draft::new(Mti(0x0800));
    for (text, good) in [("0229235959", true), ("0230000000", false), ("0431000000", false), ("1301000000", false)] {
        draft.set_text(7, text);
        let message = decode(&spec(), draft.encode(&spec()).expect("encodes")).expect("decodes");
        assert_eq!(message.transmitted_at().is_some(), good, "{text}");
    }
}

#[test]
fn h04_a_fault_inside_is_told_once_and_the_message_still_decodes() {
    let message = read("mastercard-0100-odd-inside");
    let subs: Vec<_> = message.subs(48).collect();
    assert_eq!(subs.len(), 2);
    assert_eq!(subs.first().and_then(|sub| sub.as_ref().ok()).map(|(tag, _)| *tag), Some(*b"42"));
    assert!(
        subs.last().is_some_and(|sub| matches!(sub, Err(error) if error.fault == SubFault::Tag && error.offset == 12))
    );
    let tlvs: Vec<_> = message.tlvs(55).collect();
    let tags: Vec<u32> = tlvs.iter().filter_map(|tlv| tlv.as_ref().ok()).map(|tlv| tlv.tag).collect();
    assert_eq!(tags, [0x9F26, 0x5A, 0x57, 0x77, 0xDF_8116]);
    assert!(tlvs.last().is_some_and(|tlv| matches!(tlv, Err(error) if error.fault == SubFault::Length)));
}

#[test]
fn no_description_of_a_fixture_shows_a_card_number_unasked() {
    let ebcdic: String = PAN.bytes().map(|digit| format!("F{}", char::from(digit))).collect();
    let ascii: String = PAN.bytes().map(|digit| format!("3{}", char::from(digit))).collect();
    for fixture in fixtures() {
        let message = decode(&fixture.spec, fixture.frame).expect("decodes");
        let described = describe(&message, &DescribeOptions::default());
        for shown in
            [described.to_text(), serde_json::to_string(&described).expect("serializes"), format!("{message:?}")]
        {
            for form in [PAN, &ebcdic, &ascii, "8F3A51C27B90DE44", "2901201", "DOE/JANE", "F1F2F3\",\"value\":\"123"] {
                assert!(!shown.contains(form), "{}: {form} in {shown}", fixture.name);
            }
        }
    }
}

#[test]
fn a_card_number_in_a_free_element_is_masked_too() {
    let mut draft = Draft::new(Mti(0x0100));
    draft.set_text(2, PAN).set_text(112, format!("card {PAN} again")).set_raw(108, PAN.as_bytes());
    draft.set_subs(48, &[("TCC", "R"), ("37", &format!("X{PAN}")), ("42", "0103210")]);
    let message = decode(&spec(), draft.encode(&spec()).expect("encodes")).expect("decodes");
    let json = serde_json::to_value(describe(&message, &DescribeOptions::default())).expect("serializes");
    assert_eq!(json["fields"]["112"]["value"], format!("card {MASKED} again"));
    assert_eq!(json["fields"]["112"]["raw"], serde_json::Value::Null);
    assert_eq!(json["fields"]["108"]["value"], "****");
    assert_eq!(json["fields"]["48"]["raw"], serde_json::Value::Null);
    assert_eq!(json["fields"]["48"]["value"][1]["value"], format!("X{MASKED}"));
    assert_eq!(json["fields"]["48"]["value"][2]["raw"], "F0F1F0F3F2F1F0");
}

fn clear(name: &str) -> Described {
    describe(&read(name), &DescribeOptions { clear: true })
}

#[test]
fn the_json_has_the_shape_of_the_contract() {
    let json = serde_json::to_value(clear("mastercard-0100-contactless")).expect("serializes");
    assert_eq!(json["spec"], "mastercard");
    assert_eq!(json["mti"], "0100");
    assert_eq!(json["fields"]["2"]["value"], PAN);
    assert_eq!(json["fields"]["4"]["raw"], "F0F0F0F0F0F0F0F0F1F3F4F0");
    assert_eq!(json["fields"]["4"]["value"], "000000001340");
    assert_eq!(json["fields"]["48"]["value"][0]["id"], "TCC");
    assert_eq!(json["fields"]["48"]["value"][0]["value"], "R");
    assert_eq!(json["fields"]["48"]["value"][7]["id"], "72");
    assert_eq!(json["fields"]["48"]["value"][7]["value"], serde_json::Value::Null);
    assert_eq!(json["fields"]["55"]["value"][0]["id"], "9F26");
    assert_eq!(json.get("bitmap"), None);
    let masked = describe(&read("mastercard-0100-track"), &DescribeOptions::default());
    let json = serde_json::to_value(masked).expect("serializes");
    assert_eq!(json["fields"]["35"]["value"], format!("{MASKED}=****"));
    assert_eq!(json["fields"]["52"]["value"], "****");
    assert_eq!(json["fields"]["52"]["raw"], serde_json::Value::Null);
}

#[test]
fn masked_values_are_refused_by_name() {
    let masked = serde_json::to_string(&describe(&read("mastercard-0100-contactless"), &DescribeOptions::default()));
    let refused = from_json(&masked.expect("serializes"), None).expect_err("masked");
    assert!(matches!(&refused, JsonError::Masked(place) if place == "DE2"), "{refused}");
    let inside = r#"{"spec":"mastercard","mti":"0100","fields":{"48":{"value":[{"id":"92","value":"***"}]}}}"#;
    let (_, draft) = from_json(inside, None).expect("only the spec knows that 92 is secret");
    assert_eq!(draft.encode(&spec()), Err(EncodeError::Masked("DE48 92".to_owned())));
    let star = r#"{"mti":"0100","fields":{"43":{"value":"SHOP *ORDER"}}}"#;
    let (name, draft) = from_json(star, None).expect("a star is a character");
    assert_eq!(name, "mastercard");
    assert!(draft.encode(&spec()).is_ok());
}

#[test]
fn json_that_is_no_message_is_refused_by_place() {
    let table = [
        ("", "not the JSON"),
        ("[]", "not the JSON"),
        (r#"{"mti":"0100","fields":{},"extra":1}"#, "extra"),
        (r#"{"mti":"010","fields":{}}"#, "four digits"),
        (r#"{"mti":"0100","fields":{"1":{"value":"1"}}}"#, "\"2\" to \"192\""),
        (r#"{"mti":"0100","fields":{"3":{"value":"1"},"3":{"value":"2"}}}"#, "DE3 stands"),
        (r#"{"mti":"0100","fields":{"3":{"value":1}}}"#, "DE3: a number must be quoted"),
        (r#"{"mti":"0100","fields":{"3":{"raw":"F"}}}"#, "DE3: an odd number"),
        (r#"{"mti":"0100","fields":{"3":{"raw":"zz"}}}"#, "DE3: not hexadecimal"),
        (r#"{"mti":"0100","fields":{"3":{}}}"#, "DE3: has neither"),
        (r#"{"mti":"0100","fields":{"48":{"value":[{"value":"x"}]}}}"#, "DE48: every part needs an `id`"),
    ];
    for (json, said) in table {
        let error = from_json(json, None).expect_err(json).to_string();
        assert!(error.contains(said), "{json}: {error}");
    }
    let encode = |json: &str| from_json(json, None).expect(json).1.encode(&spec()).expect_err(json).to_string();
    assert!(encode(r#"{"mti":"0100","fields":{"3":{"value":"abc"}}}"#).contains("DE3: character 1"));
    assert!(
        encode(r#"{"mti":"0100","fields":{"61":{"value":[{"id":"status","value":"0"}]}}}"#).contains("DE61 status")
    );
    assert!(encode(r#"{"mti":"0100","fields":{"42":{"value":"€"}}}"#).contains("Latin-1"));
    assert!(encode(r#"{"mti":"0100","fields":{"55":{"value":[{"id":"9F","value":"00"}]}}}"#).contains("DE55 9F"));
    assert!(encode(r#"{"mti":"0100","fields":{"4":{"value":[]}}}"#).contains("DE4"));
}

#[test]
fn embedded_specs_compile_and_know_the_standard() {
    for name in Spec::embedded_names() {
        let spec = Spec::embedded(name).expect("it compiles");
        assert_eq!(spec.name(), *name);
        let count = spec.fields().count();
        // The clearing records have the elements that they need; the others all of the standard's.
        assert!(count == 127 || spec.name() == "mastercard-ipm", "{name}: DE2 to DE128");
        if spec.name().starts_with("iso1987") || spec.name() == "mastercard" {
            for n in [90, 95] {
                assert_eq!(spec.field(n).map(|f| f.form()).as_deref(), Some("n42"));
            }
        }
        let other = Spec::from_toml(Spec::embedded_text(name).expect("text")).expect("compiles");
        assert_eq!(other.fields().count(), count);
    }
    assert_eq!(spec().field(2).map(|f| f.form()).as_deref(), Some("n..19"));
    assert_eq!(spec().field(48).map(|f| f.form()).as_deref(), Some("ans...999"));
    assert!(Spec::embedded("nothing").is_none());
}

#[test]
fn a_spec_that_contradicts_itself_is_refused_with_place_and_reason() {
    let head = "name = \"own\"\ncharset = \"ascii\"\nbitmap = \"binary\"\n[fields]\n";
    let table = [
        ("1 = { name = \"x\", kind = \"n\", length = 1 }", "fields.1: bit 1"),
        ("129 = { name = \"x\", kind = \"n\", length = 1 }", "fields.129: element numbers"),
        ("2 = { name = \"x\", kind = \"n\", length = 0 }", "fields.2.length: a fixed element cannot be empty"),
        ("2 = { name = \"x\", kind = \"n\", length = \"..190\" }", "fields.2.length: after 2 dots"),
        ("2 = { name = \"x\", kind = \"n\", length = \"19\" }", "fields.2.length: write a number"),
        ("2 = { name = \"x\", kind = \"q\", length = 1 }", "line 5"),
        ("2 = { name = \"x\", kind = \"n\", lenght = 1 }", "lenght"),
        ("2 = { name = \"x\", kind = \"n\", length = 1 }\n2 = { name = \"y\", kind = \"n\", length = 1 }", "line 6"),
        ("02 = { name = \"x\", kind = \"n\", length = 1 }\n2 = { name = \"y\", kind = \"n\", length = 1 }", "twice"),
        (
            "3 = { name = \"x\", kind = \"n\", length = 6, parts = [{ name = \"a\", length = 4 }] }",
            "fields.3.parts: the parts add up to 4, the element has 6",
        ),
        (
            "3 = { name = \"x\", kind = \"n\", length = 6, parts = [{ name = \"a\", length = \"rest\" }, { name = \"b\", length = 1 }] }",
            "fields.3.parts[0]: only the last",
        ),
        (
            "3 = { name = \"x\", kind = \"n\", length = 6, parts = [{ name = \"a\", length = 3 }, { name = \"a\", length = 3 }] }",
            "fields.3.parts[1]: a part named `a`",
        ),
        ("3 = { name = \"x\", kind = \"n\", length = 7, repeat = [{ name = \"a\", length = 3 }] }", "fields.3.repeat"),
        ("3 = { name = \"x\", kind = \"n\", length = 7, tagged = {} }", "fields.3.tagged"),
        ("3 = { name = \"x\", kind = \"b\", length = 7, tlv = { \"9F\" = { name = \"y\" } } }", "fields.3.tlv.9F"),
        ("3 = { name = \"x\", kind = \"ans\", length = 7, tlv = {} }", "fields.3.tlv: BER-TLV"),
        ("3 = { name = \"x\", kind = \"ans\", length = 7, lenient = true }", "fields.3.lenient"),
        ("3 = { name = \"x\", kind = \"x+n\", length = 1 }", "fields.3.length"),
        ("", "fields: a spec needs"),
    ];
    for (body, said) in table {
        let error = Spec::from_toml(&format!("{head}{body}")).expect_err(body).to_string();
        assert!(error.contains(said) && !error.contains('\n'), "{body}: {error}");
    }
    assert!(Spec::from_toml("not toml").expect_err("refused").to_string().starts_with("line 1"));
    let fine = Spec::from_toml(&format!("{head}3 = {{ name = \"x\", kind = \"n\", length = 6 }}")).expect("fine");
    let error = decode(&Arc::new(fine), Bytes::from_static(b"0100\x40\0\0\0\0\0\0\0")).expect_err("no DE2 in the spec");
    assert_eq!(error.to_string(), "DE2 at offset 12: expected an element that the spec has, got one it does not have");
}
