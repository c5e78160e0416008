//! Faults: everything that goes wrong between a client and a provider, chosen by tests one request at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::gate::Gate;
use super::id_token::IdTokenFlaw;
use super::ledger::Ledger;
use super::provider::{Endpoint, Provider};
use super::request::Request;

/// One thing that goes wrong; [`Fault::All`] when one is not enough.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    // --- instead of the work: the provider has done nothing ---
    /// The provider's error with this code, in its own dialect: `invalid_grant`, `invalid_rapt`, `AADSTS50173`,
    /// `service_overload` … At the authorization endpoint: the redirect back with `error=<code>`.
    Error {
        code: String,
    },
    /// `{"error": <code>}` as in RFC 6749, whatever the provider's habit.
    PlainOauthError {
        code: String,
    },
    /// Any answer at all, as it is given here: what a real provider was seen to say, independent of the dialects' tables.
    Answer {
        status: u16,
        #[serde(default = "json_content_type")]
        content_type: String,
        #[serde(default)]
        headers: Vec<(String, String)>,
        #[serde(default)]
        body: String,
    },
    /// 429 with this `Retry-After`, in the dialect (Microsoft: plain text).
    TooManyRequests {
        retry_after: Option<String>,
    },
    /// 5xx with the dialect's body.
    ServerError {
        status: u16,
    },
    /// A proxy's page in place of the provider's answer.
    HtmlBody {
        status: u16,
    },
    EmptyBody {
        status: u16,
    },
    /// 200, JSON by its header, and not JSON.
    NonsenseJson,
    /// 200 and so many MiB of a JSON string that never ends.
    HugeBody {
        mebibytes: u32,
    },
    /// 307 to somewhere else.
    Redirect {
        to: String,
    },
    /// No answer until the simulator stops.
    Hang,
    /// The connection is reset.
    Reset,

    // --- around the work ---
    /// A pause before the work.
    Delay {
        #[serde(rename = "milliseconds", with = "milliseconds")]
        by: Duration,
    },
    /// Before the work: wait for the gate.
    #[serde(skip)]
    Gate(Gate),
    /// After the work, before the answer: wait for the gate.
    #[serde(skip)]
    GateAnswer(Gate),

    // --- the work is done, the answer does not arrive whole, or late ---
    /// The work is done; then a pause before the answer.
    DelayAnswer {
        #[serde(rename = "milliseconds", with = "milliseconds")]
        by: Duration,
    },
    /// The work is done, the connection closed without a byte.
    LoseAnswer,
    /// The work is done; no answer until the simulator stops.
    HangAfterWork,
    /// The work is done; the answer breaks off just behind the refresh token, the connection closes.
    TruncateAfterRefreshToken,
    /// The work is done; as above, but the length is honest: it looks like a whole answer.
    TruncateQuietly,
    /// The work is done; the answer comes byte by byte.
    SlowDrip {
        #[serde(rename = "milliseconds_per_byte", with = "milliseconds")]
        per_byte: Duration,
    },
    /// The work is done; the answer is wrapped in this many MiB of white space first.
    PaddedBody {
        mebibytes: u32,
    },

    // --- the work itself differs ---
    /// The user grants all but these.
    FewerScopes {
        without: Vec<String>,
    },
    /// The provider grants these as well.
    ExtraScopes {
        scopes: Vec<String>,
    },
    /// The code turns out to belong to another account.
    OtherAccount {
        key: String,
    },

    // --- the answer is successful, but odd ---
    OmitRefreshToken,
    NullRefreshToken,
    OmitScope,
    ScopeStyle {
        style: ScopeStyle,
    },
    /// Any JSON: `"3600"`, `-5`, `18446744073709551615`, `0`, `3599.5`, `null`.
    ExpiresIn {
        value: Value,
    },
    MissingTokenType,
    Set {
        field: String,
        value: Value,
    },
    Remove {
        field: String,
    },
    IdToken {
        flaw: IdTokenFlaw,
    },
    OmitIdToken,
    /// At the authorization endpoint: replaces (or with `null` removes) a parameter of the redirect back.
    CallbackParameter {
        name: String,
        value: Option<String>,
    },
    /// At the authorization endpoint: a parameter comes twice.
    RepeatCallbackParameter {
        name: String,
        value: String,
    },

    /// Several at once.
    All {
        faults: Vec<Fault>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeStyle {
    /// Microsoft: without `https://graph.microsoft.com/`.
    Unprefixed,
    Lowercase,
    Uppercase,
    CommaSeparated,
    JsonArray,
}

fn json_content_type() -> String {
    "application/json".to_owned()
}

impl Fault {
    /// The name as over the control API.
    pub fn name(&self) -> String {
        match self {
            Self::Gate(_) => "gate".to_owned(),
            Self::GateAnswer(_) => "gate_answer".to_owned(),
            other => serde_json::to_value(other)
                .ok()
                .and_then(|value| value["kind"].as_str().map(str::to_owned))
                .unwrap_or_default(),
        }
    }

    /// The wrong expiry of the kind most parsers trip over: a number in quotes.
    pub fn quoted_expires_in() -> Self {
        Self::ExpiresIn {
            value: Value::from("3600"),
        }
    }

    fn flatten(self, into: &mut Vec<Fault>) {
        match self {
            Self::All { faults } => faults.into_iter().for_each(|fault| fault.flatten(into)),
            single => into.push(single),
        }
    }
}

/// A fault with its address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FaultRule {
    pub provider: Provider,
    pub endpoint: Endpoint,
    pub fault: Fault,
    /// How many requests it hits; 0 stands for all to come.
    #[serde(default = "once")]
    pub times: u32,
    /// Hits only requests that have this value in their fields, query or `Authorization` header.
    #[serde(default)]
    pub only_if_sent: Option<String>,
    /// Hits only requests that present something of this account (key, subject or e-mail): a code, a refresh token, an access
    /// token. Everybody else at the provider is served as ever.
    #[serde(default)]
    pub only_for_account: Option<String>,
}

fn once() -> u32 {
    1
}

impl FaultRule {
    fn hits(&self, provider: Provider, endpoint: Endpoint, request: &Request, ledger: &Ledger) -> bool {
        let sent = |value: &str| {
            request
                .fields
                .0
                .iter()
                .chain(&request.query.0)
                .any(|(_, sent)| sent == value)
                || request
                    .header("authorization")
                    .is_some_and(|header| header.contains(value))
        };
        self.provider == provider
            && self.endpoint.covers(endpoint)
            && self.only_if_sent.as_deref().is_none_or(sent)
            && self.only_for_account.as_deref().is_none_or(|hint| {
                let account = ledger.account_presented_by(request);
                account.is_some_and(|account| account.answers_to(hint))
            })
    }
}

/// The faults still to come. Of several that fit a request, the one planned first is used.
#[derive(Debug, Default)]
pub struct FaultPlan {
    rules: Vec<FaultRule>,
}

impl FaultPlan {
    pub fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub fn clear(&mut self) {
        self.rules.clear();
    }

    pub fn pending(&self) -> &[FaultRule] {
        &self.rules
    }

    pub fn take(
        &mut self,
        provider: Provider,
        endpoint: Endpoint,
        request: &Request,
        ledger: &Ledger,
    ) -> Vec<Fault> {
        let Some(at) = self
            .rules
            .iter()
            .position(|rule| rule.hits(provider, endpoint, request, ledger))
        else {
            return Vec::new();
        };
        let fault = match self.rules[at].times {
            1 => self.rules.remove(at).fault,
            times => {
                self.rules[at].times = times.saturating_sub(1);
                self.rules[at].fault.clone()
            }
        };
        let mut faults = Vec::new();
        fault.flatten(&mut faults);
        faults
    }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
