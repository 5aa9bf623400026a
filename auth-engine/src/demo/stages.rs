//! Where a tap's time went, by the engine's own trace of its authorization.

use serde_json::Value;

use super::api::Api;
use crate::cli::Failure;

/// Microseconds of one message by stage; none where the engine measures nothing, or nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Spent {
    /// Frame in to decided, less what is the partner's; for a tap that asked, what came after the answer too.
    pub(super) decide: Option<f64>,
    /// The ask.
    pub(super) partner: Option<f64>,
    /// Decided to durable.
    pub(super) journal: Option<f64>,
    /// Durable to handed to the kernel.
    pub(super) reply: Option<f64>,
}

/// Reads the trace of an authorization.
pub(super) fn of(api: &mut Api, authorization: &str) -> Result<Spent, Failure> {
    Ok(spent(&api.get(&format!("/v1/authorizations/{authorization}/trace"))?))
}

fn spent(trace: &Value) -> Spent {
    let mut spent = Spent::default();
    for one in trace["stages"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let (Some(stage), Some(ns)) = (one["stage"].as_str(), one["ns"].as_f64()) else { continue };
        let column = match stage {
            "partner" => &mut spent.partner,
            "journal" => &mut spent.journal,
            "reply" => &mut spent.reply,
            // Queue, decode, decide, and the waits between them.
            _ => &mut spent.decide,
        };
        *column.get_or_insert(0.0) += ns / 1e3;
    }
    spent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_before_the_decision_are_told_as_one() {
        let one = |stage: &str, ns: u64| serde_json::json!({"stage": stage, "start_ns": 0, "ns": ns});
        let direct = [one("queue", 1_000), one("decode", 2_000), one("decide", 3_000), one("journal", 150_000)];
        let told = spent(&serde_json::json!({"stages": direct}));
        assert_eq!(told, Spent { decide: Some(6.0), partner: None, journal: Some(150.0), reply: None });
        let asked = [one("decide", 3_000), one("wait", 500), one("partner", 90_000), one("decide", 2_000)];
        let told = spent(&serde_json::json!({"stages": asked}));
        assert_eq!((told.decide, told.partner), (Some(5.5), Some(90.0)));
        assert_eq!(spent(&Value::Null), Spent::default());
    }
}
