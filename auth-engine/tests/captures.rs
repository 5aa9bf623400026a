//! `decode` of captures, `diff`, `redact` and `doctor` as a user meets them: the real binary and capture files.

mod cli_support;

use std::path::Path;

use etherparse::PacketBuilder;

use cli_support::{run, text};

const PAN: &str = "5351101200004242";
const PAN_EBCDIC: &str = "F5F3F5F1F1F0F1F2F0F0F0F0F4F2F4F2";

fn message(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/messages").join(name);
    let text = std::fs::read_to_string(path).expect(name);
    let line = text.lines().find(|line| !line.starts_with('#')).expect("a message");
    (0..line.len() / 2).map(|at| u8::from_str_radix(&line[at * 2..at * 2 + 2], 16).expect("hexadecimal")).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(message.len()).expect("short").to_be_bytes().to_vec();
    frame.extend_from_slice(message);
    frame
}

/// A pcap file of TCP segments between a client's port and 8583: sequence number, payload, from the client.
fn pcap(segments: &[(u32, &[u8], bool)]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for (at, (sequence, payload, from_client)) in segments.iter().enumerate() {
        let (source, destination) = if *from_client { (40_000, 8583) } else { (8583, 40_000) };
        let (here, there) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        let (from, to) = if *from_client { (here, there) } else { (there, here) };
        let builder =
            PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from, to, 64).tcp(source, destination, *sequence, 1024);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).expect("a packet");
        let size = u32::try_from(packet.len()).expect("short");
        for word in [1_700_000_000 + u32::try_from(at).expect("few"), 250_000, size, size] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        file.extend_from_slice(&packet);
    }
    file
}

/// One frame in two segments, the first of them sent twice, in the wrong order; the reply; a packet nobody can read.
fn capture() -> Vec<u8> {
    let (request, reply) =
        (framed(&message("mastercard-0100-contactless.hex")), framed(&message("mastercard-0110-declined.hex")));
    let (first, second) = request.split_at(100);
    // Across the wrap of sequence numbers.
    let start = u32::MAX - 40;
    pcap(&[(start, first, true), (start.wrapping_add(100), second, true), (start, first, true), (9_000, &reply, false)])
}

#[test]
fn a_capture_is_put_together_and_explained_packet_by_packet() {
    let output = run(&["decode", "--format", "pcap", "--json", "-"], &capture());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<serde_json::Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["mti"], &lines[1]["mti"]), (&"0100".into(), &"0110".into()));
    assert_eq!((&lines[0]["packet"], &lines[1]["packet"]), (&1.into(), &4.into()));
    assert_eq!(lines[0]["to"], "10.0.0.2:8583");
    assert_eq!(lines[0]["at"], "2023-11-14T22:13:20.25Z");
    assert_eq!(lines[0]["fields"]["2"]["value"], "53511012****4242");
    let told = text(&run(&["decode", "--format", "pcap", "-"], &capture()).stdout);
    assert!(told.contains("packet 4") && told.contains("10.0.0.1:40000") && !told.contains(PAN), "{told}");
    let other = run(&["decode", "--format", "pcap", "--port", "9999", "-"], &capture());
    assert_eq!(other.status.code(), Some(1));
}

#[test]
fn a_gap_in_a_capture_is_told_and_what_follows_is_read_from_its_packet_on() {
    let request = framed(&message("mastercard-0100-contactless.hex"));
    let echo = framed(&message("mastercard-0810-echo.hex"));
    let behind = 1_000 + u32::try_from(request.len()).expect("short") + 500;
    let file = pcap(&[(1_000, &request, true), (behind, &echo, true)]);
    let told = text(&run(&["decode", "--format", "pcap", "-"], &file).stdout);
    assert!(told.contains("lacks 500 bytes") && told.contains("0100") && told.contains("0810"), "{told}");
}

#[test]
fn a_caret_stands_under_the_byte_that_is_wrong_and_no_card_number_beside_it() {
    let mut bytes = message("mastercard-0100-contactless.hex");
    // DE4's fourth digit becomes a letter.
    let at = hex(&bytes).find("F0F0F0F0F0F0F0F0F0F1F3F4F0").expect("DE4") / 2 + 3;
    bytes[at] = 0xC1;
    let output = run(&["decode"], hex(&bytes).as_bytes());
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    let caret = told.lines().position(|line| line.trim_start().starts_with("^^")).expect("a caret");
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[caret].contains("DE4") && lines[caret].contains(&format!("offset {at}")), "{told}");
    let column = lines[caret].find("^^").expect("a caret");
    assert_eq!(lines[caret - 1].get(column..column + 2), Some("C1"), "{told}");
    assert!(!told.replace(' ', "").contains(PAN_EBCDIC) && told.contains("**"), "{told}");
}

#[test]
fn what_was_not_decoded_shows_no_digits() {
    // A type and bitmap, then a card number where the spec wants a length.
    let mut bytes = vec![0xF0, 0xF1, 0xF0, 0xF0, 0x40, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&[0xC1, 0xC1]);
    bytes.extend(PAN.bytes());
    bytes.extend(PAN.bytes().map(|digit| digit + 0xC0));
    let told = text(&run(&["decode"], hex(&bytes).as_bytes()).stdout).replace(' ', "");
    assert!(told.contains("^^") && !told.contains("353335") && !told.contains("F5F3F5"), "{told}");
}

#[test]
fn a_shared_capture_decodes_alike_and_holds_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    let (before, after) = (folder.path().join("before.pcap"), folder.path().join("after.pcap"));
    std::fs::write(&before, capture()).expect("written");
    let name = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let output = run(&["redact", "--format", "pcap", &name(&before), "-o", &name(&after)], b"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("2 messages made shareable, 0 bytes blanked"), "{}", text(&output.stderr));
    let shared = std::fs::read(&after).expect("there");
    assert_eq!(shared.len(), capture().len());
    assert!(!hex(&shared).contains(PAN_EBCDIC));
    let found = |file: &Path| {
        let output = run(&["decode", "--format", "pcap", "--json", "--clear", &name(file)], b"");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let lines: Vec<serde_json::Value> =
            text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        lines
    };
    let (clear, shared) = (found(&before), found(&after));
    let number =
        |lines: &[serde_json::Value], at: usize| lines[at]["fields"]["2"]["value"].as_str().expect("text").to_owned();
    let pseudonym = number(&shared, 0);
    assert_eq!(pseudonym, number(&shared, 1), "equal numbers stay equal");
    assert!(pseudonym.starts_with("53511012") && pseudonym.ends_with("4242") && pseudonym.len() == 16);
    assert!(pseudonym != PAN && luhn(&pseudonym) == luhn(PAN));
    assert_eq!(clear[0]["fields"]["4"], shared[0]["fields"]["4"]);
    let sub = |lines: &[serde_json::Value], id: &str| {
        let items = lines[0]["fields"]["48"]["value"].as_array().expect("sub-elements").clone();
        items.into_iter().find(|item| item["id"] == id).expect(id)
    };
    assert_eq!(sub(&clear, "92")["value"], "123");
    assert_eq!(sub(&shared, "92")["value"], "000", "a verification code");
    assert_eq!(sub(&clear, "63"), sub(&shared, "63"));
}

#[test]
fn every_fixture_can_be_shared_and_differs_in_masked_places_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/messages");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("fixtures") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        // The spec's name, then the message type.
        let typed = |at: &usize| name[at + 1..].starts_with(|ch: char| ch.is_ascii_digit());
        let end = name.match_indices('-').map(|(at, _)| at).find(typed).expect("a type");
        let (spec, bytes) = (&name[..end], message(&format!("{name}.hex")));
        let shared = run(&["redact", "--spec", spec], hex(&bytes).as_bytes());
        assert_eq!(shared.status.code(), Some(0), "{name}: {}", text(&shared.stderr));
        let decoded = |bytes: &[u8]| {
            let output = run(&["decode", "--spec", spec, "--json"], bytes);
            assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
            text(&output.stdout)
        };
        // Chip data that does not read becomes zeros, which are padding.
        if name != "mastercard-0100-odd-inside" {
            assert_eq!(decoded(hex(&bytes).as_bytes()), decoded(&shared.stdout), "{name}: masked, they are alike");
        }
        count += 1;
    }
    assert!(count >= 13);
}

fn luhn(number: &str) -> bool {
    iso_codec::Pan::from_ascii(number.as_bytes()).expect("digits").luhn_valid()
}

#[test]
fn what_does_not_decode_is_blanked_and_told() {
    let output = run(&["redact", "--spec", "iso1987-ascii"], hex(&message("mastercard-0110-declined.hex")).as_bytes());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).trim().bytes().all(|digit| digit == b'0'));
    assert!(text(&output.stderr).contains("doctor"));
}

#[test]
fn two_messages_are_compared_by_element() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, hex(bytes)).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let bytes = message("mastercard-0110-declined.hex");
    let a = file("a.hex", &bytes);
    let mut other = bytes.clone();
    // The card number's eleventh digit and DE39.
    let card = hex(&bytes).find(PAN_EBCDIC).expect("DE2") / 2 + 10;
    other[card] = 0xF7;
    let code = hex(&bytes).find("F5F1F0F1F2D9").expect("DE39") / 2;
    other[code + 1] = 0xF7;
    let b = file("b.hex", &other);
    assert_eq!(run(&["diff", &a, &a], b"").status.code(), Some(0));
    let output = run(&["diff", "--json", &a, &b], b"");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told: serde_json::Value = serde_json::from_str(text(&output.stdout).trim()).expect("JSON");
    let places: Vec<&str> =
        told["differences"].as_array().expect("a list").iter().filter_map(|one| one["place"].as_str()).collect();
    assert_eq!(places, ["DE2", "DE39"]);
    let table = text(&run(&["diff", &a, &b], b"").stdout);
    assert!(table.contains("53511012****4242") && table.contains("(another)") && !table.contains(PAN), "{table}");
}

#[test]
fn the_doctor_finds_framing_header_and_spec() {
    let spec_of = |name: &str| if name.starts_with("iso1987") { "iso1987-ascii" } else { "mastercard" };
    for name in ["mastercard-0100-contactless.hex", "iso1987-ascii-0200.hex"] {
        for (width, inclusive, header) in
            [("len2be", false, 0), ("len2le", true, 0), ("len4ascii", false, 5), ("len4be", true, 12)]
        {
            let bytes = message(name);
            let mut stream = Vec::new();
            for _ in 0..3 {
                let own = if width.starts_with("len4") { 4 } else { 2 };
                let len = bytes.len() + header + if inclusive { own } else { 0 };
                match width {
                    "len2be" => stream.extend_from_slice(&u16::try_from(len).expect("short").to_be_bytes()),
                    "len2le" => stream.extend_from_slice(&u16::try_from(len).expect("short").to_le_bytes()),
                    "len4be" => stream.extend_from_slice(&u32::try_from(len).expect("short").to_be_bytes()),
                    _ => stream.extend_from_slice(format!("{len:04}").as_bytes()),
                }
                let tpdu = [0x60, 0, 1, 0, 2];
                stream.extend((0..header).map(|at| tpdu.get(at).copied().unwrap_or(7)));
                stream.extend_from_slice(&bytes);
            }
            // The last frame is cut, as live bytes are.
            stream.truncate(stream.len() - 20);
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("sample.bin");
            std::fs::write(&path, &stream).expect("written");
            let output = run(&["doctor", "--json", "--sample", path.to_str().expect("UTF-8")], b"");
            assert_eq!(output.status.code(), Some(0), "{name} {width}: {}", text(&output.stderr));
            let told: serde_json::Value = serde_json::from_str(text(&output.stdout).trim()).expect("JSON");
            let best = &told["guesses"][0];
            let found = (&best["framing"], &best["inclusive"], &best["header_bytes"], &best["spec"], &best["tpdu"]);
            let wanted =
                (&width.into(), &inclusive.into(), &header.into(), &spec_of(name).into(), &(header == 5).into());
            assert_eq!(found, wanted, "{told}");
        }
    }
    let noise = run(&["doctor", "--sample", "-"], b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n");
    assert_eq!(noise.status.code(), Some(1));
}
