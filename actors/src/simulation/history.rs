//! What happened, in order: for whoever has to understand a failure, and for telling whether two runs were the same.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

/// An account: at which provider, whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Account {
    pub(super) provider: &'static str,
    pub(super) user: usize,
}

impl Account {
    /// The user's name, which is the account's name at the provider too.
    pub(super) fn owner(self) -> String {
        format!("u{}", self.user)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/u{}", self.provider, self.user)
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// Of a node: began, killed, paused, …
    Node(usize, &'static str),
    /// Of the world around: the database, a provider.
    World(&'static str, &'static str),
    /// A user or service did this, and this came of it.
    Person(usize, Account, String),
    /// A row changed, by this statement.
    Row(Account, String),
    /// At a provider: a refresh token on its way, presented, answered.
    Provider(usize, Account, String),
}

/// Everything, from the beginning.
#[derive(Debug, Default)]
pub(super) struct History(Vec<(Duration, Event)>);

impl History {
    pub(super) fn push(&mut self, at: Duration, event: Event) {
        self.0.push((at, event));
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Where another history begins to differ; `None`: the same happened.
    pub(super) fn differs_from(&self, other: &Self) -> Option<String> {
        let line = |history: &Self, at: usize| history.0.get(at).map(|(at, event)| format!("{at:?} {event}"));
        let longer = self.0.len().max(other.0.len());
        (0..longer).find_map(|at| {
            let (one, another) = (line(self, at), line(other, at));
            (one != another).then(|| format!("event {at}: {one:?} or {another:?}"))
        })
    }

    /// The last of it, a line each.
    pub(super) fn tail(&self, lines: usize) -> String {
        let from = self.0.len().saturating_sub(lines);
        self.0[from..]
            .iter()
            .fold(String::new(), |mut text, (at, event)| {
                let _ = writeln!(text, "{:>9.3}s  {event}", at.as_secs_f64());
                text
            })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node, what) => write!(f, "node {node}  {what}"),
            Self::World(where_, what) => write!(f, "{where_}  {what}"),
            Self::Person(node, account, what) => write!(f, "node {node}  {account}  person: {what}"),
            Self::Row(account, what) => write!(f, "store   {account}  {what}"),
            Self::Provider(node, account, what) => write!(f, "node {node}  {account}  provider: {what}"),
        }
    }
}
