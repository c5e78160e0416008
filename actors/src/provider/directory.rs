//! Which accounts a user has at this provider: read from the database, kept for a moment, so that a hand-out by user is
//! a look-up in memory.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::{error::ServiceError, ids::Subject},
    integration::message::TokenAsk,
    ports::store::DirectoryEntry,
};

/// How long a user's accounts are taken as read. A change made on this node is known at once; this bounds how long one
/// made elsewhere is not.
const FRESH_FOR: Duration = crate::shelf::FIRST_FRESH_FOR;
/// How long entries nobody asked for are kept.
const KEEP_FOR: Duration = Duration::from_secs(600);
/// Users whose accounts are known at most: an entry is a few hundred bytes.
const USERS_MAX: usize = 100_000;
/// Questions that may wait for one user's accounts to be read.
const WAITING_MAX: usize = 1_024;

/// A question for a user's token, waiting for the user's accounts.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) account: Option<String>,
    pub(super) ask: Box<TokenAsk>,
}

#[derive(Debug)]
struct Accounts {
    entries: Vec<DirectoryEntry>,
    read_at: Option<Instant>,
    used_at: Instant,
    reading: bool,
    /// Something changed after the reading under way had begun: what it brings may be from before.
    outdated: bool,
    waiting: Vec<Question>,
}

/// What to do with a question.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Ask these accounts, in this order.
    Found {
        entries: Vec<DirectoryEntry>,
        question: Question,
        read: bool,
    },
    /// It waits; `read`: the accounts must be read now.
    Waits { read: bool },
}

/// The directory.
#[derive(Debug, Default)]
pub(super) struct Directory(HashMap<Subject, Accounts>);

impl Directory {
    /// Looks the user's accounts up. A user without any is looked up afresh each time: "not connected" must not outlive
    /// the moment somebody connects.
    pub(super) fn look_up(&mut self, subject: &Subject, question: Question, now: Instant) -> Lookup {
        if self.0.len() >= USERS_MAX && !self.0.contains_key(subject) {
            self.make_room(now);
        }
        let accounts = self.0.entry(subject.clone()).or_insert_with(|| Accounts {
            entries: Vec::new(),
            read_at: None,
            used_at: now,
            reading: false,
            outdated: false,
            waiting: Vec::new(),
        });
        accounts.used_at = now;
        let fresh = accounts
            .read_at
            .is_some_and(|read_at| now.duration_since(read_at) < FRESH_FOR);
        let read = !fresh && !accounts.reading;
        if accounts.read_at.is_some() && !accounts.entries.is_empty() {
            // What was true a moment ago is good enough to ask the account itself, which knows best.
            accounts.reading |= read;
            return Lookup::Found {
                entries: accounts.entries.clone(),
                question,
                read,
            };
        }
        if accounts.waiting.len() >= WAITING_MAX {
            crate::integration::message::IntegrationMsg::Ask(question.ask).refuse(ServiceError::Overloaded {
                detail: "too many requests wait for this user's accounts",
                retry_after: crate::integration::schedule::RETRY_AFTER_MIN,
            });
            return Lookup::Waits { read: false };
        }
        accounts.waiting.push(question);
        let read = !accounts.reading;
        accounts.reading = true;
        Lookup::Waits { read }
    }

    /// The accounts were read: who waited for them. `None`: they have changed since, and must be read again.
    pub(super) fn filled(
        &mut self,
        subject: &Subject,
        entries: Vec<DirectoryEntry>,
        now: Instant,
    ) -> Option<Vec<Question>> {
        let Some(accounts) = self.0.get_mut(subject) else {
            return Some(Vec::new());
        };
        if std::mem::take(&mut accounts.outdated) {
            return None;
        }
        let waiting = std::mem::take(&mut accounts.waiting);
        if entries.is_empty() {
            // Looked up afresh each time anyway: a flood of names that are nobody's leaves nothing behind.
            self.0.remove(subject);
            return Some(waiting);
        }
        accounts.entries = entries;
        accounts.read_at = Some(now);
        accounts.reading = false;
        Some(waiting)
    }

    /// They could not be read: who waited for them. What was known stays known.
    pub(super) fn failed(&mut self, subject: &Subject) -> Vec<Question> {
        let Some(accounts) = self.0.get_mut(subject) else {
            return Vec::new();
        };
        (accounts.reading, accounts.outdated) = (false, false);
        std::mem::take(&mut accounts.waiting)
    }

    /// What is known of this user is not true any more.
    pub(super) fn forget(&mut self, subject: &Subject) {
        if let Some(accounts) = self.0.get_mut(subject) {
            accounts.read_at = None;
            accounts.entries.clear();
            accounts.outdated = accounts.reading;
        }
    }

    /// Drops what would have to be read again anyway, or all that may be dropped if everybody was read just now.
    fn make_room(&mut self, now: Instant) {
        self.0
            .retain(|_, accounts| accounts.reading || now.duration_since(accounts.used_at) < FRESH_FOR);
        if self.0.len() >= USERS_MAX {
            self.0.retain(|_, accounts| accounts.reading);
        }
    }

    /// How many users' accounts are known.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Drops what nobody asked for in a while.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.0
            .retain(|_, accounts| accounts.reading || now.duration_since(accounts.used_at) < KEEP_FOR);
    }
}

/// The accounts to ask: all of them, or the one named by integration id, account id or e-mail. An address is no identity:
/// one that several accounts have names none of them.
pub(super) fn select<'a>(
    entries: &'a [DirectoryEntry],
    account: Option<&str>,
) -> Result<Vec<&'a DirectoryEntry>, ServiceError> {
    let Some(name) = account else {
        return Ok(entries.iter().collect());
    };
    let by_id = |entry: &&DirectoryEntry| entry.id.to_string() == name || entry.account.id == name;
    let named: Vec<_> = entries.iter().filter(by_id).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let has_address = |entry: &&DirectoryEntry| {
        let email = entry.account.email.as_deref();
        email.is_some_and(|email| email.eq_ignore_ascii_case(name))
    };
    let named: Vec<_> = entries.iter().filter(has_address).collect();
    if named.len() > 1 {
        return Err(ServiceError::InvalidRequest {
            detail: format!(
                "{} of the user's accounts have this address: name one by its integration id",
                named.len()
            ),
            known: named.iter().map(|entry| entry.id.to_string()).collect(),
        });
    }
    Ok(named)
}
