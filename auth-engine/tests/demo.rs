//! The demo as a stranger meets it: the binary, its exit code, what it prints.

use std::process::Command;

/// What a line of each case starts with, as contracts section 7 lists them.
const CASES: [&str; 23] = [
    "sign-on",
    "echo",
    "coffee: the partner approves",
    "casino: the partner declines",
    "the pool holds too little",
    "REST: crypto deposit",
    "groceries: the account pays",
    "the account holds too little",
    "the partner chooses: the account",
    "the partner stays silent",
    "the partner is dead",
    "repeat: coffee, the same bytes",
    "full reversal: groceries",
    "partial reversal: 80.00 stay",
    "reversal before its original",
    "and the original, too late",
    "advice: approved in our place",
    "account status inquiry",
    "unknown card",
    "frozen card",
    "KYC missing",
    "Balances before the first tap and after the last",
    "balances add up",
];

fn longest_run_of_digits(text: &str) -> usize {
    text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0)
}

#[test]
fn the_story_is_played_once_as_expected_and_shows_no_card_number() {
    let run = Command::new(env!("CARGO_BIN_EXE_auth-engine"))
        .args(["demo", "--once"])
        .env_remove("RUST_LOG")
        .output()
        .expect("it runs");
    let (told, errors) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert_eq!(run.status.code(), Some(0), "{told}\n{errors}");
    for case in CASES {
        assert!(told.contains(case), "{case:?} is missing in:\n{told}");
    }
    assert!(!told.contains('✗'), "{told}");
    for text in [&told, &errors] {
        assert!(longest_run_of_digits(text) < 12, "this may be a card number:\n{text}");
        assert!(!text.contains("whsec_") && !text.contains("Bearer"), "this may be a secret:\n{text}");
    }
    for line in told.lines() {
        assert!(line.chars().count() <= 110, "{} columns: {line}", line.chars().count());
        assert!(!line.contains('\u{1b}'), "colour without a terminal: {line:?}");
    }
    assert_eq!(errors, "", "a demo that goes well is quiet");
}
