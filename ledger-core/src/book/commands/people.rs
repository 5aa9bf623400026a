//! Partners, keys, users, KYC and accounts: who takes part and on which terms. Moves no money.

use std::borrow::Cow;

use super::super::{Done, Partner, PartnerChange, Refusal, Sealer, dense};
use super::{Draft, bounded, filled};
use crate::event::admin::{
    KeyCreated, KeyRevoked, KycChanged, PartnerChanged, PartnerCreated, PartnerTerms, SecretRotated, UserChanged,
    UserCreated,
};
use crate::event::words::{DecisionMode, Kyc, Service, Status};
use crate::event::{Event, field};
use crate::id::No;
use crate::limits::SECRET_OVERLAP_US;
use crate::money::Currency;
use crate::time::Timestamp;

/// Longest webhook secret in bytes: what Standard Webhooks allows.
const MAX_SECRET: usize = 64;
/// Shortest one.
const MIN_SECRET: usize = 24;
/// Longest decision timeout a partner may ask for, in milliseconds; every link's budget is shorter.
const MAX_TIMEOUT_MS: u32 = 60_000;

/// The free texts of a KYC step.
pub(super) struct KycTexts<'t> {
    pub(super) level: &'t Option<String>,
    pub(super) provider: &'t Option<String>,
    pub(super) reference: &'t Option<String>,
    pub(super) reason: &'t Option<String>,
}

impl Draft<'_> {
    pub(super) fn create_partner(
        &mut self,
        change: &PartnerChange,
        secret: &[u8],
        sealer: &dyn Sealer,
    ) -> Result<Done, Refusal> {
        let fresh = PartnerTerms {
            name: Cow::Borrowed(""),
            decision_url: None,
            decision_mode: DecisionMode::Webhook,
            decision_timeout_ms: None,
            services: all_services(),
            timeout_code: None,
            unreachable_code: None,
            bad_response_code: None,
            status: Status::Active,
        };
        let terms = changed_terms(fresh, change)?;
        check_secret(secret)?;
        let sealed = sealer.seal(self.next_seq(), field::WEBHOOK_SECRET, secret);
        let no = self.take_no();
        self.events.push(Event::PartnerCreated(PartnerCreated { no, terms, secret: Cow::Owned(sealed) }));
        Ok(Done::Partner(dense(self.book.partners.len())))
    }

    pub(super) fn change_partner(&mut self, partner: u32, change: &PartnerChange) -> Result<Done, Refusal> {
        let before = terms_of(self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?);
        let terms = changed_terms(before.clone(), change)?;
        if terms != before {
            self.events.push(Event::PartnerChanged(PartnerChanged { partner, terms }));
        }
        Ok(Done::Partner(partner))
    }

    pub(super) fn rotate_secret(
        &mut self,
        partner: u32,
        secret: &[u8],
        now: Timestamp,
        sealer: &dyn Sealer,
    ) -> Result<Done, Refusal> {
        self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?;
        check_secret(secret)?;
        let sealed = sealer.seal(self.next_seq(), field::WEBHOOK_SECRET, secret);
        let previous_until = now.plus_us(SECRET_OVERLAP_US);
        self.events.push(Event::SecretRotated(SecretRotated { partner, secret: Cow::Owned(sealed), previous_until }));
        Ok(Done::Partner(partner))
    }

    pub(super) fn create_key(&mut self, partner: Option<u32>, name: &str, hash: &[u8; 32]) -> Result<Done, Refusal> {
        if let Some(partner) = partner {
            self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?;
        }
        let name = owned(bounded(name, "name is longer than 256 bytes")?);
        let no = self.take_no();
        self.events.push(Event::KeyCreated(KeyCreated { no, partner, name, hash: *hash }));
        Ok(Done::Key(no))
    }

    /// Revoking twice changes nothing the second time, as a DELETE should.
    pub(super) fn revoke_key(&mut self, no: No) -> Result<Done, Refusal> {
        let key = self.book.key(no).ok_or(Refusal::NotFound("key"))?;
        if !key.revoked {
            self.events.push(Event::KeyRevoked(KeyRevoked { no }));
        }
        Ok(Done::Key(no))
    }

    pub(super) fn create_user(
        &mut self,
        partner: u32,
        external_id: &str,
        country: &str,
        time_zone: Option<&str>,
    ) -> Result<Done, Refusal> {
        self.book.partner(partner).ok_or(Refusal::NotFound("partner"))?;
        let external_id = filled(external_id, "external_id must have 1 to 256 bytes")?;
        check_country(country)?;
        check_time_zone(time_zone)?;
        if self.book.identities.user(partner, external_id, &self.book.users).is_some() {
            return Err(Refusal::DuplicateExternalId);
        }
        let no = self.take_no();
        self.events.push(Event::UserCreated(UserCreated {
            no,
            partner,
            external_id: owned(external_id),
            country: owned(country),
            time_zone: time_zone.map(owned),
        }));
        Ok(Done::User(self.book.users.len()))
    }

    pub(super) fn change_user(
        &mut self,
        user: u32,
        status: Option<Status>,
        country: Option<&str>,
        time_zone: Option<&Option<String>>,
    ) -> Result<Done, Refusal> {
        let before = self.book.user(user).ok_or(Refusal::NotFound("user"))?;
        let status = status.unwrap_or(before.status);
        let country = country.unwrap_or(&before.country);
        let time_zone = time_zone.map_or(before.time_zone.as_deref(), |wanted| wanted.as_deref());
        check_country(country)?;
        check_time_zone(time_zone)?;
        if status != before.status || *country != *before.country || time_zone != before.time_zone.as_deref() {
            self.events.push(Event::UserChanged(UserChanged {
                user,
                status,
                country: owned(country),
                time_zone: time_zone.map(owned),
            }));
        }
        Ok(Done::User(user))
    }

    pub(super) fn move_kyc(&mut self, user: u32, status: Kyc, texts: &KycTexts<'_>) -> Result<Done, Refusal> {
        let before = self.book.user(user).ok_or(Refusal::NotFound("user"))?.kyc;
        let KycTexts { level, provider, reference, reason } = *texts;
        let level = optional(level, "level is longer than 256 bytes")?;
        let provider = optional(provider, "provider is longer than 256 bytes")?;
        let reference = optional(reference, "reference is longer than 256 bytes")?;
        let reason = optional(reason, "reason is longer than 256 bytes")?;
        if !kyc_may_move(before, status) {
            return Err(Refusal::InvalidState("KYC cannot take this step from where it stands"));
        }
        self.events.push(Event::KycChanged(KycChanged { user, status, level, provider, reference, reason }));
        Ok(Done::User(user))
    }

    pub(super) fn open_account(&mut self, user: u32, currency: Currency) -> Result<Done, Refusal> {
        let partner = self.book.user(user).ok_or(Refusal::NotFound("user"))?.partner;
        if !Currency::ACCOUNTS.contains(&currency) {
            return Err(Refusal::Invalid("an account's currency is one of EUR USD CHF SGD HKD JPY"));
        }
        self.require_service(partner, Service::Balances)?;
        let (account, opened) = self.account_for(user, currency);
        Ok(Done::Account(account, opened))
    }
}

/// True for the steps of contracts 4.1, and for no others.
pub(in crate::book) const fn kyc_may_move(from: Kyc, to: Kyc) -> bool {
    match from {
        Kyc::NotStarted | Kyc::Rejected | Kyc::Expired | Kyc::Revoked => matches!(to, Kyc::Submitted),
        Kyc::Submitted => matches!(to, Kyc::InReview),
        Kyc::InReview => matches!(to, Kyc::Approved | Kyc::Rejected),
        Kyc::Approved => matches!(to, Kyc::Expired | Kyc::Revoked),
    }
}

fn all_services() -> u8 {
    Service::ALL.iter().fold(0, |bits, service| bits | (1 << service.number()))
}

fn owned(text: &str) -> Cow<'static, str> {
    Cow::Owned(text.to_owned())
}

fn optional(text: &Option<String>, why: &'static str) -> Result<Option<Cow<'static, str>>, Refusal> {
    text.as_deref().map(|t| bounded(t, why).map(owned)).transpose()
}

fn terms_of(partner: &Partner) -> PartnerTerms<'static> {
    PartnerTerms {
        name: owned(&partner.name),
        decision_url: partner.decision_url.as_deref().map(owned),
        decision_mode: partner.decision_mode,
        decision_timeout_ms: partner.decision_timeout_ms,
        services: partner.services,
        timeout_code: partner.timeout_code,
        unreachable_code: partner.unreachable_code,
        bad_response_code: partner.bad_response_code,
        status: partner.status,
    }
}

fn changed_terms(before: PartnerTerms<'static>, change: &PartnerChange) -> Result<PartnerTerms<'static>, Refusal> {
    let PartnerChange {
        name,
        decision_url,
        decision_mode,
        decision_timeout_ms,
        services,
        timeout_code,
        unreachable_code,
        bad_response_code,
        status,
    } = change;
    let terms = PartnerTerms {
        name: name.as_deref().map_or(before.name, owned),
        decision_url: decision_url.as_ref().map_or(before.decision_url, |url| url.as_deref().map(owned)),
        decision_mode: decision_mode.unwrap_or(before.decision_mode),
        decision_timeout_ms: decision_timeout_ms.unwrap_or(before.decision_timeout_ms),
        services: services.unwrap_or(before.services),
        timeout_code: timeout_code.unwrap_or(before.timeout_code),
        unreachable_code: unreachable_code.unwrap_or(before.unreachable_code),
        bad_response_code: bad_response_code.unwrap_or(before.bad_response_code),
        status: status.unwrap_or(before.status),
    };
    filled(&terms.name, "name must have 1 to 256 bytes")?;
    if let Some(url) = &terms.decision_url {
        filled(url, "decision_url must have 1 to 256 bytes")?;
    }
    if terms.decision_timeout_ms.is_some_and(|ms| ms == 0 || ms > MAX_TIMEOUT_MS) {
        return Err(Refusal::Invalid("decision_timeout_ms must be 1 to 60000"));
    }
    if terms.services & !all_services() != 0 {
        return Err(Refusal::Invalid("services has a bit that no service owns"));
    }
    for code in [terms.timeout_code, terms.unreachable_code, terms.bad_response_code].into_iter().flatten() {
        check_decline_code(code)?;
    }
    Ok(terms)
}

/// A partner that does not answer must never become an approval that holds nothing.
fn check_decline_code(code: [u8; 2]) -> Result<(), Refusal> {
    if !code.iter().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()) {
        return Err(Refusal::Invalid("a response code is two digits or capital letters"));
    }
    if matches!(&code, b"00" | b"08" | b"10" | b"85") {
        return Err(Refusal::Invalid("a response code for a failed decision must be a decline"));
    }
    Ok(())
}

fn check_secret(secret: &[u8]) -> Result<(), Refusal> {
    if (MIN_SECRET..=MAX_SECRET).contains(&secret.len()) {
        Ok(())
    } else {
        Err(Refusal::Invalid("a webhook secret has 24 to 64 bytes"))
    }
}

fn check_country(country: &str) -> Result<(), Refusal> {
    if country.len() == 2 && country.bytes().all(|c| c.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(Refusal::Invalid("country must be two capital letters (ISO 3166 alpha-2)"))
    }
}

/// The shape alone: whether the zone exists is known where the time zone database is.
fn check_time_zone(zone: Option<&str>) -> Result<(), Refusal> {
    let Some(zone) = zone else { return Ok(()) };
    filled(zone, "time_zone must have 1 to 256 bytes")?;
    if zone.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'/' | b'_' | b'-' | b'+')) {
        Ok(())
    } else {
        Err(Refusal::Invalid("time_zone must be an IANA name like Europe/Berlin"))
    }
}
