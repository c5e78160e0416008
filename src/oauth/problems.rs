//! What keeps a provider from being used at all, told once: when it begins, when it becomes another, and when it is over.
//!
//! A request that meets a wrong issuer or an unreadable key set says so to whoever made it. That is never the one who can
//! mend it, and the next request meets it again. So it is kept here, logged as it changes and shown to operators. This is the
//! engine's one file that logs.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use jiff::Timestamp;
use oauth_manager_actors::{
    domain::{ids::ProviderKey, provider_problem::ProviderProblem, reason::ReasonCode},
    ports::oauth::FailureKind,
};

use super::classify::Verdict;

/// Longest text shown of what a provider says.
const SHOWN_CHARS_MAX: usize = 200;

/// What of a provider is in trouble; in the order in which it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Its discovery document.
    Discovery,
    /// Its endpoints, from wherever they are known.
    Endpoints,
    /// Its key set.
    Keys,
    /// The address of its token endpoint.
    TokenEndpoint,
}

/// Trouble with a part: what it means for the call that met it, and what an operator needs to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) verdict: Verdict,
    pub(super) found: Option<String>,
    pub(super) expected: Option<String>,
}

/// The troubles that stand.
#[derive(Debug, Default)]
pub(super) struct Problems {
    standing: Mutex<BTreeMap<(ProviderKey, Part), Standing>>,
    /// How many: none is the rule, and then nothing is locked.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Standing {
    problem: ProviderProblem,
    /// Whether it may be over by itself.
    passes: bool,
}

// === impl Trouble ===

impl Trouble {
    pub(super) fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            found: None,
            expected: None,
        }
    }

    /// Something only the operator can mend.
    pub(super) fn operators(reason: String) -> Self {
        Self::new(Verdict::new(FailureKind::Operator, reason))
    }

    pub(super) fn found(mut self, found: impl AsRef<str>) -> Self {
        self.found = Some(shown(found.as_ref()));
        self
    }

    pub(super) fn expected(mut self, expected: impl AsRef<str>) -> Self {
        self.expected = Some(shown(expected.as_ref()));
        self
    }

    pub(super) fn since(&self, since: Timestamp) -> ProviderProblem {
        ProviderProblem {
            what: ReasonCode::new(&self.verdict.reason),
            found: self.found.clone(),
            expected: self.expected.clone(),
            since,
        }
    }
}

/// A provider's text as it may be shown: bounded, on one line.
fn shown(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(SHOWN_CHARS_MAX).map(safe).collect()
}

// === impl Problems ===

impl Problems {
    fn standing(&self) -> MutexGuard<'_, BTreeMap<(ProviderKey, Part), Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A part is in trouble.
    pub(super) fn met(&self, provider: &ProviderKey, part: Part, trouble: &Trouble, now: Timestamp) {
        let passes = trouble.verdict.kind != FailureKind::Operator;
        let mut problem = trouble.since(now);
        let mut standing = self.standing();
        let key = (provider.clone(), part);
        if let Some(known) = standing.get(&key) {
            let is_same = known.problem.what == problem.what && known.problem.expected == problem.expected;
            if is_same {
                problem.since = known.problem.since;
            }
            // One outage has many voices: refused, silent, 502, 503.
            let is_told = is_same && (known.problem.found == problem.found || passes);
            standing.insert(key, Standing { problem, passes });
            if is_told {
                return;
            }
        } else {
            standing.insert(key, Standing { problem, passes });
            self.count.store(standing.len(), Ordering::Release);
        }
        drop(standing);
        tell(provider, trouble, passes);
    }

    /// A part is as it should be.
    pub(super) fn fine(&self, provider: &ProviderKey, part: Part) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut standing = self.standing();
        let gone = standing.remove(&(provider.clone(), part));
        self.count.store(standing.len(), Ordering::Release);
        drop(standing);
        if let Some(Standing { problem, .. }) = gone {
            tracing::info!(provider.id = %provider, problem = %problem.what, since = %problem.since, "what kept the provider from being used is over");
        }
    }

    /// The first thing to mend, if there is anything.
    pub(super) fn of(&self, provider: &ProviderKey) -> Option<ProviderProblem> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let standing = self.standing();
        let mut own = standing.iter().filter(|((key, _), _)| key == provider);
        // What only the operator can mend comes before what may pass.
        let first = own
            .clone()
            .find(|(_, known)| !known.passes)
            .or_else(|| own.next());
        first.map(|(_, known)| known.problem.clone())
    }
}

fn tell(provider: &ProviderKey, trouble: &Trouble, passes: bool) {
    let (found, expected) = (
        trouble.found.as_deref().unwrap_or("-"),
        trouble.expected.as_deref().unwrap_or("-"),
    );
    let problem = &trouble.verdict.reason;
    if passes {
        tracing::warn!(provider.id = %provider, problem, found, expected, who_must_act = "operator",
            "the provider cannot be used: what it says of itself cannot be fetched; it is tried again with each use");
    } else {
        tracing::error!(provider.id = %provider, problem, found, expected, who_must_act = "operator",
            "the provider cannot be used as it is configured: compare what was found with what was expected, and mend its \
             table under providers; no account is touched, and it is tried again with each use");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn mismatch(found: &str) -> Trouble {
        Trouble::operators("discovery_issuer_mismatch".to_owned())
            .found(found)
            .expected("https://id.example.com")
    }

    #[test]
    fn a_problem_stands_since_it_began_until_it_is_over() {
        let (problems, acme) = (Problems::default(), "acme".parse::<ProviderKey>().unwrap());
        assert_eq!(problems.of(&acme), None);
        problems.met(
            &acme,
            Part::Discovery,
            &mismatch("https://id.example.com/"),
            at(1),
        );
        problems.met(
            &acme,
            Part::Discovery,
            &mismatch("https://id.example.com/"),
            at(2),
        );
        let problem = problems.of(&acme).unwrap();
        assert_eq!(
            (problem.since, problem.what.as_str()),
            (at(1), "discovery_issuer_mismatch")
        );
        assert_eq!(problem.found.as_deref(), Some("https://id.example.com/"));
        assert_eq!(problems.of(&"other".parse().unwrap()), None);
        problems.fine(&acme, Part::Keys);
        assert!(problems.of(&acme).is_some());
        problems.fine(&acme, Part::Discovery);
        assert_eq!(problems.of(&acme), None);
    }

    #[test]
    fn what_a_provider_says_is_shown_bounded_and_on_one_line() {
        let long = format!("https://a\r\nforged: line{}", "x".repeat(1000));
        let found = mismatch(&long).found.unwrap();
        assert!(found.chars().count() <= SHOWN_CHARS_MAX && !found.contains(['\r', '\n']));
    }
}
