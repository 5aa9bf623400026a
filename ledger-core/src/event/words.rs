//! The closed vocabularies of the journal: states, reasons, kinds. A number once given is never given again.

use minicbor::{Decode, Encode};

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(index_only)]
        #[allow(missing_docs)]
        pub enum $name { $($(#[$vmeta])* #[n($number)] $variant,)+ }

        impl $name {
            /// Every word, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as REST, metrics and logs show it.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The variant of a word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The number it is journaled under.
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number),+ }
            }
        }
    };
}

words! {
    /// Whether a partner, user or pool takes part.
    Status { Active = 0 "active", Suspended = 1 "suspended", }
}

words! {
    /// A card's state; `Closed` is final.
    CardStatus {
        Active = 0 "active",
        Frozen = 1 "frozen",
        Inactive = 2 "inactive",
        Lost = 3 "lost",
        Stolen = 4 "stolen",
        Closed = 5 "closed",
    }
}

words! {
    /// A user's KYC state.
    Kyc {
        NotStarted = 0 "not_started",
        Submitted = 1 "submitted",
        InReview = 2 "in_review",
        Approved = 3 "approved",
        Rejected = 4 "rejected",
        Expired = 5 "expired",
        Revoked = 6 "revoked",
    }
}

words! {
    /// How a partner decides on taps of pool and partner_choice cards.
    DecisionMode { Webhook = 0 "webhook", AutoApprove = 1 "auto_approve", AutoDecline = 2 "auto_decline", }
}

words! {
    /// One entry of the modular menu.
    Service {
        Balances = 0 "balances",
        PayIn = 1 "pay_in",
        Payout = 2 "payout",
        Cards = 3 "cards",
        OffRamp = 4 "off_ramp",
    }
}

words! {
    /// State of a top-up or payout.
    Settlement { Pending = 0 "pending", Settled = 1 "settled", Failed = 2 "failed", }
}

words! {
    /// Which message class an authorization came by.
    Class {
        /// 0100
        Authorization = 0 "authorization",
        /// 0200
        Financial = 1 "financial",
        /// 0120
        AuthorizationAdvice = 2 "authorization_advice",
        /// 0220
        FinancialAdvice = 3 "financial_advice",
    }
}

words! {
    /// What a tap is for.
    Kind {
        Purchase = 0 "purchase",
        Cash = 1 "cash",
        CashBack = 2 "cash_back",
        Preauthorization = 3 "preauthorization",
        Incremental = 4 "incremental",
        Refund = 5 "refund",
        BalanceInquiry = 6 "balance_inquiry",
        AccountStatus = 7 "account_status",
        /// A processing code that no rule supports.
        Unsupported = 8 "unsupported",
    }
}

impl Kind {
    /// True for what reserves money.
    pub const fn holds(self) -> bool {
        match self {
            Self::Purchase | Self::Cash | Self::CashBack | Self::Preauthorization | Self::Incremental => true,
            Self::Refund | Self::BalanceInquiry | Self::AccountStatus | Self::Unsupported => false,
        }
    }
}

words! {
    /// State of an authorization as REST shows it.
    State {
        Pending = 0 "pending",
        Approved = 1 "approved",
        Declined = 2 "declined",
        Reversed = 3 "reversed",
        PartiallyReversed = 4 "partially_reversed",
        Expired = 5 "expired",
        Cleared = 6 "cleared",
        PartiallyCleared = 7 "partially_cleared",
    }
}

impl State {
    /// True when nothing can be held any more.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Approved | Self::PartiallyReversed | Self::PartiallyCleared => false,
            Self::Declined | Self::Reversed | Self::Expired | Self::Cleared => true,
        }
    }
}

words! {
    /// Why a tap, an advice or a reversal was answered as it was (contracts 2.7).
    Reason {
        Approved = 0 "approved",
        FormatError = 1 "format_error",
        NotSignedOn = 2 "not_signed_on",
        Overloaded = 3 "overloaded",
        Draining = 4 "draining",
        AlreadyReversed = 5 "already_reversed",
        UnknownCard = 6 "unknown_card",
        CardFrozen = 7 "card_frozen",
        CardInactive = 8 "card_inactive",
        CardLost = 9 "card_lost",
        CardStolen = 10 "card_stolen",
        CardClosed = 11 "card_closed",
        ExpiredCard = 12 "expired_card",
        PartnerSuspended = 13 "partner_suspended",
        UserSuspended = 14 "user_suspended",
        KycNotApproved = 15 "kyc_not_approved",
        ServiceNotEnabled = 16 "service_not_enabled",
        UnsupportedType = 17 "unsupported_type",
        /// A balance inquiry on a pool or partner_choice card: same word, another code.
        InquiryNotPermitted = 18 "inquiry_not_permitted",
        InvalidAmount = 19 "invalid_amount",
        UnsupportedCurrency = 20 "unsupported_currency",
        RateMissing = 21 "rate_missing",
        FxLimit = 22 "fx_limit",
        InsufficientFunds = 23 "insufficient_funds",
        PoolInsufficient = 24 "pool_insufficient",
        PoolSuspended = 25 "pool_suspended",
        PartnerDeclined = 26 "partner_declined",
        PartnerTimeout = 27 "partner_timeout",
        PartnerUnreachable = 28 "partner_unreachable",
        PartnerBadResponse = 29 "partner_bad_response",
        Interrupted = 30 "interrupted",
        AnsweredLate = 31 "answered_late",
        /// An advice whose own DE39 says that the tap was declined elsewhere.
        DeclinedElsewhere = 32 "declined_elsewhere",
        /// The same key with another processing code, amount or currency.
        ChangedRepeat = 33 "changed_repeat",
    }
}

impl Reason {
    /// The stable word of contracts 2.7; two variants share `unsupported_type`.
    pub const fn public_word(self) -> &'static str {
        match self {
            Self::InquiryNotPermitted => Self::UnsupportedType.word(),
            other => other.word(),
        }
    }
}

words! {
    /// What became of an ask.
    PartnerOutcome {
        Approve = 0 "approve",
        Decline = 1 "decline",
        Timeout = 2 "timeout",
        Unreachable = 3 "unreachable",
        BadResponse = 4 "bad_response",
        Interrupted = 5 "interrupted",
    }
}
