//! A client of the sidecar: plain calls, whole answers.

use std::time::Duration;

use serde_json::Value;

use super::{Engine, audit};

/// An answer of the sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The body as it came.
    pub(crate) text: String,
    /// The body as JSON; null when it is none.
    pub(crate) body: Value,
    pub(crate) content_type: String,
}

impl Answer {
    /// The body of an answer that had to succeed.
    pub(crate) fn ok(self, what: &str) -> Value {
        assert!((200..300).contains(&self.status), "{what}: {} {}", self.status, self.text);
        self.body
    }

    /// Checks a refusal: its status, its stable word, and that it is a problem document.
    pub(crate) fn refused(&self, status: u16, word: &str) {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(word)), "{}", self.text);
        self.problem();
    }

    /// Checks that it is a problem document, whatever it says.
    pub(crate) fn problem(&self) {
        assert!(self.content_type.starts_with("application/problem+json"), "{} {}", self.content_type, self.text);
        assert_eq!(self.body["status"].as_u64(), Some(u64::from(self.status)), "{}", self.text);
        for member in ["type", "title", "detail", "code"] {
            assert!(self.body[member].is_string(), "no {member} in {}", self.text);
        }
    }
}

/// A JSON amount.
pub(crate) fn money(value: &str, currency: &str) -> Value {
    serde_json::json!({"value": value, "currency": currency})
}

/// One call with everything that can be said in one.
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) idempotency: Option<&'a str>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Engine {
    /// A call; `key` as the bearer.
    pub(crate) fn call(&self, method: &str, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let body = body.map(|body| body.to_string().into_bytes());
        self.send(Call { method, path, key, idempotency: None, body })
    }

    /// The same with an idempotency key.
    pub(crate) fn call_once(&self, path: &str, key: &str, idempotency: &str, body: &Value) -> Answer {
        let body = Some(body.to_string().into_bytes());
        self.send(Call { method: "POST", path, key: Some(key), idempotency: Some(idempotency), body })
    }

    /// A call of any shape. No answer but a new card's may show a card number.
    pub(crate) fn send(&self, call: Call<'_>) -> Answer {
        self.try_send(&call).unwrap_or_else(|error| panic!("{} {}: {error}", call.method, call.path))
    }

    /// A call whose connection may break.
    pub(crate) fn try_send(&self, call: &Call<'_>) -> Result<Answer, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .max_redirects(0)
            .build()
            .into();
        let mut request =
            http::Request::builder().method(call.method).uri(format!("http://{}{}", self.rest(), call.path));
        if let Some(key) = call.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(idempotency) = call.idempotency {
            request = request.header("idempotency-key", idempotency);
        }
        let mut response = match &call.body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                agent.run(request.body(body.clone()).expect("a request"))?
            }
            None if call.method == "POST" => agent.run(request.body(Vec::new()).expect("a request"))?,
            None => agent.run(request.body(()).expect("a request"))?,
        };
        let content_type =
            response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let text = response.body_mut().read_to_string()?;
        let status = response.status().as_u16();
        if !(call.method == "POST" && call.path == "/v1/cards" && status == 201) {
            audit(call.path, &text);
        }
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, text, body, content_type })
    }

    /// An operator's GET that has to succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        self.call("GET", path, Some(&self.operator()), None).ok(path)
    }

    /// An operator's POST that has to succeed.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.call("POST", path, Some(&self.operator()), Some(body)).ok(path)
    }

    /// An operator's action without a body that has to succeed.
    pub(crate) fn act(&self, path: &str) -> Value {
        self.call("POST", path, Some(&self.operator()), None).ok(path)
    }

    /// An operator's PATCH that has to succeed.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Value {
        self.call("PATCH", path, Some(&self.operator()), Some(body)).ok(path)
    }

    /// An operator's PUT that has to succeed.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Value {
        self.call("PUT", path, Some(&self.operator()), Some(body)).ok(path)
    }

    /// A list, waited for while the view is behind.
    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        let answer = super::until(path, || {
            let answer = self.call("GET", path, Some(&self.operator()), None);
            (answer.status != 503).then_some(answer)
        });
        answer.ok(path)["data"].as_array().expect("a list").clone()
    }
}
