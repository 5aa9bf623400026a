//! Words of the coverage: reasons with the number of their rule (contracts 2.7), and what the sidecar was told. Must
//! never invent a word that `coverage.rs` does not know.

/// The rule of a reason.
pub(super) fn word(reason: &str, partial: bool) -> &'static str {
    match reason {
        "approved" if partial => "approved in part",
        "approved" => "approved",
        "already_reversed" => "5 already_reversed",
        "unknown_card" => "6 unknown_card",
        "card_frozen" => "7 card_frozen",
        "card_inactive" => "7 card_inactive",
        "card_lost" => "7 card_lost",
        "card_stolen" => "7 card_stolen",
        "card_closed" => "7 card_closed",
        "expired_card" => "8 expired_card",
        "partner_suspended" => "10 partner_suspended",
        "user_suspended" => "10 user_suspended",
        "kyc_not_approved" => "10 kyc_not_approved",
        "service_not_enabled" => "10 service_not_enabled",
        "unsupported_type" => "11 unsupported_type",
        "inquiry_not_permitted" => "11 inquiry_not_permitted",
        "invalid_amount" => "11 invalid_amount",
        "unsupported_currency" => "11 unsupported_currency",
        "rate_missing" => "11 rate_missing",
        "fx_limit" => "11 fx_limit",
        "insufficient_funds" => "13 insufficient_funds",
        "pool_insufficient" => "13 pool_insufficient",
        "pool_suspended" => "13 pool_suspended",
        "partner_declined" => "14 partner_declined",
        "partner_timeout" => "14 partner_timeout",
        "partner_unreachable" => "14 partner_unreachable",
        "partner_bad_response" => "14 partner_bad_response",
        "interrupted" => "interrupted",
        "declined_elsewhere" => "declined_elsewhere",
        _ => "others",
    }
}

/// What a call came to.
pub(super) fn call_word(said: &str, status: u16) -> &'static str {
    const WORDS: [&str; 15] = [
        "not_found",
        "invalid_state",
        "insufficient_funds",
        "currency_mismatch",
        "duplicate_external_id",
        "duplicate_pan",
        "quote_expired",
        "quote_used",
        "kyc_not_approved",
        "user_suspended",
        "partner_suspended",
        "below_minimum_balance",
        "service_not_enabled",
        "rate_missing",
        "fx_limit",
    ];
    if status == 200 {
        return "done";
    }
    WORDS.into_iter().find(|word| *word == said).unwrap_or("refused otherwise")
}
