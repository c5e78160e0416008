//! Real answers of real providers against the classifier: who must act, who is blamed, whose tokens go.
//!
//! The rows were collected from public traces, tests of vendors' own SDKs and documentation, and say what is right
//! independently of any table here. Providers that are not built in are declared as an operator would.

use std::{collections::BTreeMap, fmt::Write as _};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use oauth_manager_actors::{
    domain::{
        provider::RefreshClass,
        reason::{ReasonCode, WhoMustAct},
        scope::ScopeSet,
    },
    ports::oauth::{FailureKind, ProviderFailure},
};
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    classify::{self, Step},
    declaration::Dialect,
    google::Google,
    microsoft::Microsoft,
    notion::Notion,
    oauth2::Oauth2,
    revoke,
    settings::{DeclaredErrors, ErrorSign},
    transport::Answer,
    youtube::Youtube,
};

const ROWS: &str = include_str!("../../tests/fixtures/provider_errors.jsonl");

#[derive(Deserialize)]
struct Row {
    provider: String,
    phase: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    right: Right,
}

#[derive(Deserialize)]
struct Right {
    class: String,
    who_must_act: String,
}

struct Judged {
    row: Row,
    kind: Option<FailureKind>,
    who: WhoMustAct,
}

fn rows() -> Vec<Row> {
    ROWS.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn at(pointer: &str, equals: impl Into<Value>) -> ErrorSign {
    ErrorSign::Value {
        pointer: pointer.to_owned(),
        equals: equals.into(),
    }
}

/// What an operator would write who knows the provider's documentation; most providers need nothing.
fn declared(provider: &str) -> DeclaredErrors {
    let mut errors = DeclaredErrors::default();
    match provider {
        "facebook" => {
            errors.dead = vec![
                at("/error/code", 190),
                at("/error/message", "Invalid verification code format."),
            ];
            errors.client = vec![at("/error/code", 191)];
            errors.transient = vec![at("/error/code", 4)];
        }
        "salesforce" => errors.admin = vec![at("/error_description", "user hasn't approved this consumer")],
        "shopify" => errors.dead = vec![at("/error_description", "Invalid subject token")],
        "strava" => errors.dead = vec![at("/errors/0/resource", "RefreshToken")],
        "zoho" => errors.transient = vec![ErrorSign::Code("Access Denied".to_owned())],
        "zoom" => errors.dead = vec![at("/reason", "Invalid Token!")],
        _ => {}
    }
    errors
}

fn dialect(provider: &str) -> Box<dyn Dialect> {
    match provider {
        "google" => Box::new(Google),
        "youtube" => Box::new(Youtube),
        "notion" => Box::new(Notion::new(None, None).unwrap()),
        "microsoft" => Box::new(Microsoft::new(None, ScopeSet::default(), ScopeSet::default()).unwrap()),
        _ => Box::new(Oauth2),
    }
}

fn answer(row: &Row) -> Answer {
    let mut headers = HeaderMap::new();
    for (name, value) in &row.headers {
        headers.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let body = match &row.body {
        Value::String(text) => text.clone(),
        body => body.to_string(),
    };
    Answer {
        status: StatusCode::from_u16(row.status).unwrap(),
        headers,
        body: Zeroizing::new(body.into_bytes()),
        cut: None,
        sent: Zeroizing::default(),
    }
}

fn judge(row: Row, declared: &DeclaredErrors) -> Judged {
    let (answer, dialect) = (answer(&row), dialect(&row.provider));
    if row.phase == "revoke" && revoke::is_gone(&answer) {
        return Judged {
            row,
            kind: None,
            who: WhoMustAct::Nobody,
        };
    }
    let step = match row.phase.as_str() {
        "refresh" => Step::Refresh(RefreshClass::SingleUse),
        "exchange" => Step::Exchange,
        _ => Step::Repeatable,
    };
    let now = Timestamp::UNIX_EPOCH;
    let verdict = classify::token_endpoint(declared, dialect.as_ref(), step, &answer, now);
    let provider = row.provider.parse().unwrap();
    let failure = ProviderFailure::new(provider, verdict.kind, ReasonCode::new(verdict.reason));
    Judged {
        row,
        kind: Some(failure.kind),
        who: failure.who_must_act(),
    }
}

impl Judged {
    fn is_right(&self) -> bool {
        self.who.as_str() == self.row.right.who_must_act
    }

    /// Every account would wait for the operator, and the answer says nothing of the kind.
    fn blames_us_wrongly(&self) -> bool {
        self.kind == Some(FailureKind::Operator) && self.row.right.class != "client_fault"
    }

    /// The user would be asked to connect again, and need not.
    fn is_wrongly_dead(&self) -> bool {
        let asks = matches!(self.kind, Some(FailureKind::DeadGrant | FailureKind::Interaction));
        asks && self.row.right.who_must_act != "user"
    }

    fn line(&self) -> String {
        let Row {
            provider,
            phase,
            status,
            body,
            right,
            ..
        } = &self.row;
        format!(
            "{provider} {phase} {status} {body}: {:?}/{}, right: {}/{}",
            self.kind,
            self.who.as_str(),
            right.class,
            right.who_must_act
        )
    }
}

/// What is right, by what was said, with how often.
fn confusion(judged: &[Judged]) -> String {
    let mut table: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in judged {
        let kind = one.kind.map_or("gone", FailureKind::as_str);
        let right = format!("{}/{}", one.row.right.class, one.row.right.who_must_act);
        *table
            .entry((right, format!("{kind}/{}", one.who.as_str())))
            .or_default() += 1;
    }
    let mut text = String::new();
    for ((right, said), count) in table {
        writeln!(text, "{count:4}  {right:28} {said}").unwrap();
    }
    text
}

fn check(judged: &[Judged], least_right: f64) {
    println!("{}", confusion(judged));
    let wrong: Vec<_> = judged
        .iter()
        .filter(|one| !one.is_right())
        .map(Judged::line)
        .collect();
    println!(
        "{} of {} name who must act; not:\n{}",
        judged.len() - wrong.len(),
        judged.len(),
        wrong.join("\n")
    );
    for one in judged {
        assert!(
            !one.blames_us_wrongly(),
            "blamed on our registration: {}",
            one.line()
        );
        assert!(!one.is_wrongly_dead(), "wrongly dead: {}", one.line());
    }
    let share = (judged.len() - wrong.len()) as f64 / judged.len() as f64;
    assert!(share >= least_right, "{share}: {wrong:#?}");
}

#[test]
fn every_real_answer_names_who_must_act_and_blames_nobody_else() {
    let judged: Vec<_> = rows()
        .into_iter()
        .map(|row| {
            let declared = declared(&row.provider);
            judge(row, &declared)
        })
        .collect();
    assert!(judged.len() >= 174);
    check(&judged, 0.97);
}

#[test]
fn without_a_word_of_configuration_nobody_is_blamed_or_disconnected_either() {
    let judged: Vec<_> = rows()
        .into_iter()
        .map(|row| judge(row, &DeclaredErrors::default()))
        .collect();
    check(&judged, 0.90);
}
