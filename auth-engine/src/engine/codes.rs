//! Reasons to DE39 (contracts 2.7). One exhaustive match, so that a new reason cannot slip through.

use ledger_core::book::Partner;
use ledger_core::event::words::{Kind, Reason};

/// What decides a code beside the reason.
#[derive(Debug, Clone, Copy, Default)]
pub struct CodeContext<'a> {
    /// The reason a partner gave for its decline.
    pub partner_reason: Option<&'a str>,
    /// The partner, whose own codes replace those of timeout, unreachable and bad response.
    pub partner: Option<&'a Partner>,
    /// Approved in part.
    pub partial: bool,
    /// What the tap was for.
    pub kind: Option<Kind>,
}

/// DE39 for a reason.
pub fn de39(reason: Reason, context: CodeContext<'_>) -> [u8; 2] {
    let own = |pick: fn(&Partner) -> Option<[u8; 2]>| context.partner.and_then(pick);
    match reason {
        Reason::Approved if context.partial => *b"10",
        Reason::Approved if context.kind == Some(Kind::AccountStatus) => *b"85",
        Reason::Approved => *b"00",
        Reason::FormatError => *b"30",
        Reason::NotSignedOn | Reason::Overloaded | Reason::Draining => *b"91",
        Reason::AlreadyReversed => *b"05",
        Reason::UnknownCard => *b"14",
        Reason::CardFrozen | Reason::CardClosed => *b"62",
        Reason::CardInactive => *b"78",
        Reason::CardLost => *b"41",
        Reason::CardStolen => *b"43",
        Reason::ExpiredCard => *b"54",
        Reason::PartnerSuspended | Reason::UserSuspended | Reason::KycNotApproved | Reason::ServiceNotEnabled => *b"57",
        Reason::UnsupportedType => *b"12",
        Reason::InquiryNotPermitted => *b"57",
        Reason::InvalidAmount => *b"13",
        Reason::UnsupportedCurrency => *b"57",
        Reason::RateMissing | Reason::FxLimit => *b"96",
        Reason::InsufficientFunds | Reason::PoolInsufficient | Reason::PoolSuspended => *b"51",
        Reason::PartnerDeclined => declined(context.partner_reason),
        Reason::PartnerTimeout => own(|p| p.timeout_code).unwrap_or(*b"91"),
        Reason::PartnerUnreachable => own(|p| p.unreachable_code).unwrap_or(*b"91"),
        Reason::PartnerBadResponse => own(|p| p.bad_response_code).unwrap_or(*b"96"),
        Reason::Interrupted | Reason::AnsweredLate => *b"91",
        // The advice itself is answered as taken; what it tells is recorded as declined.
        Reason::DeclinedElsewhere => *b"00",
        Reason::ChangedRepeat => *b"94",
    }
}

/// DE39 in the answer to an advice: 00, 14, 30, 94 and 96 are all that 0130 knows.
pub fn advice_de39(reason: Reason) -> [u8; 2] {
    match reason {
        Reason::Approved | Reason::DeclinedElsewhere | Reason::AlreadyReversed => *b"00",
        Reason::UnknownCard => *b"14",
        Reason::FormatError => *b"30",
        Reason::ChangedRepeat => *b"94",
        // It could not be booked: no rate, no room in the books, an unknown currency. The network sends it again.
        Reason::RateMissing
        | Reason::FxLimit
        | Reason::InvalidAmount
        | Reason::UnsupportedCurrency
        | Reason::Overloaded
        | Reason::Draining => *b"96",
        // Rules that no advice is put to.
        Reason::NotSignedOn
        | Reason::CardFrozen
        | Reason::CardInactive
        | Reason::CardLost
        | Reason::CardStolen
        | Reason::CardClosed
        | Reason::ExpiredCard
        | Reason::PartnerSuspended
        | Reason::UserSuspended
        | Reason::KycNotApproved
        | Reason::ServiceNotEnabled
        | Reason::UnsupportedType
        | Reason::InquiryNotPermitted
        | Reason::InsufficientFunds
        | Reason::PoolInsufficient
        | Reason::PoolSuspended
        | Reason::PartnerDeclined
        | Reason::PartnerTimeout
        | Reason::PartnerUnreachable
        | Reason::PartnerBadResponse
        | Reason::Interrupted
        | Reason::AnsweredLate => *b"96",
    }
}

fn declined(reason: Option<&str>) -> [u8; 2] {
    match reason {
        Some("insufficient_funds") => *b"51",
        Some("suspected_fraud") => *b"05",
        Some("card_restricted") => *b"62",
        Some("limit_exceeded") => *b"61",
        Some("not_permitted") => *b"57",
        Some(_) | None => *b"05",
    }
}
