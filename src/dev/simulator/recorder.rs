//! The record of everything that was asked of the simulator. Tests judge the service by it.

use std::collections::VecDeque;

use serde::Serialize;

use super::clock::Millis;
use super::provider::{Endpoint, Provider};
use super::request::{Pairs, Request};

#[derive(Debug, Clone, Serialize)]
pub struct RecordedRequest {
    /// Counts from 1 over all providers, in the order of arrival.
    pub sequence: u64,
    pub at_ms: Millis,
    pub provider: Provider,
    pub endpoint: Endpoint,
    pub method: String,
    pub path: String,
    pub query: Pairs,
    /// Lower-case names; `authorization` is kept, all values here being fictional.
    pub headers: Pairs,
    /// Form or JSON members of the body.
    pub fields: Pairs,
    /// When the answer was ready, or the connection gone.
    pub ended_ms: Option<Millis>,
    /// Absent while the request is under way.
    pub outcome: Option<Outcome>,
    /// Why the simulator refused, when it did so of its own accord.
    pub refusal: Option<String>,
    /// Names of the faults that were applied.
    pub faults: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered with this status.
    Status(u16),
    /// The connection was closed without an answer, or in the middle of it.
    Dropped,
}

impl RecordedRequest {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }

    pub fn grant_type(&self) -> Option<&str> {
        self.field("grant_type")
    }

    /// The refresh token that was presented.
    pub fn refresh_token(&self) -> Option<&str> {
        self.field("refresh_token")
    }

    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Some(Outcome::Status(status)) => Some(status),
            Some(Outcome::Dropped) | None => None,
        }
    }
}

#[derive(Debug)]
pub struct Recorder {
    requests: VecDeque<RecordedRequest>,
    kept_max: usize,
    last_sequence: u64,
}

impl Recorder {
    pub fn new(kept_max: usize) -> Self {
        Self {
            requests: VecDeque::new(),
            kept_max: kept_max.max(1),
            last_sequence: 0,
        }
    }

    pub fn begin(&mut self, provider: Provider, endpoint: Endpoint, request: &Request, at_ms: Millis) -> u64 {
        self.last_sequence += 1;
        if self.requests.len() == self.kept_max {
            self.requests.pop_front();
        }
        let headers = request.headers.iter().map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        self.requests.push_back(RecordedRequest {
            sequence: self.last_sequence,
            at_ms,
            provider,
            endpoint,
            method: request.method.to_string(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: Pairs(headers.collect()),
            fields: request.fields.clone(),
            ended_ms: None,
            outcome: None,
            refusal: None,
            faults: Vec::new(),
        });
        self.last_sequence
    }

    /// The record of `sequence`, unless it has been forgotten.
    pub fn entry(&mut self, sequence: u64) -> Option<&mut RecordedRequest> {
        let first = self.requests.front()?.sequence;
        let at = usize::try_from(sequence.checked_sub(first)?).ok()?;
        self.requests.get_mut(at)
    }

    pub fn iter(&self) -> impl Iterator<Item = &RecordedRequest> {
        self.requests.iter()
    }

    pub fn as_slice(&mut self) -> &[RecordedRequest] {
        self.requests.make_contiguous()
    }

    pub fn clear(&mut self) {
        self.requests.clear();
    }
}
