//! What must hold whatever happened: the provider's record, the rows' history and the callers' answers against each other.

use std::collections::{BTreeMap, HashMap};

use oauth_manager::dev::simulator::{Endpoint, Outcome, Provider, RecordedRequest};
use uuid::Uuid;

use super::{
    cluster::{CLASSES, Class, Cluster},
    history::{self, Change},
    load::{Answer, Given},
};

/// The provider writes whole milliseconds down, the database microseconds.
const ROUNDING_MS: f64 = 2.0;

/// A node that ended without having been asked to finish.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub node: usize,
    pub at_ms: i64,
}

/// A node that could not reach the database for a while.
#[derive(Debug, Clone, Copy)]
pub struct CutOff {
    pub node: usize,
    pub from_ms: i64,
    pub until_ms: i64,
}

/// A refresh that reached the provider.
#[derive(Debug, Clone)]
pub struct Call {
    pub node: usize,
    pub class: Class,
    /// Whose, by the provider's subject.
    pub subject: String,
    pub token: String,
    pub at_ms: i64,
    pub ended_ms: Option<i64>,
    pub outcome: Option<Outcome>,
}

/// An account as it is in the end.
#[derive(Debug, Clone)]
pub struct Account {
    pub id: Uuid,
    pub class: Class,
    pub subject: String,
    pub status: String,
    pub reason: Option<String>,
    /// Audit rows of refreshes that went well.
    pub audited: i64,
    /// Events of refreshes, and how many generations they name.
    pub events: i64,
    pub generations_in_events: i64,
}

/// Everything there is to judge by.
pub struct Evidence {
    pub calls: Vec<Call>,
    pub history: Vec<Change>,
    pub accounts: Vec<Account>,
    pub answers: Vec<Answer>,
    pub ended: Vec<Ended>,
    pub cut_off: Vec<CutOff>,
}

const ACCOUNTS: &str = "
    SELECT i.id, i.provider, i.provider_user_id, i.status, i.status_reason,
        (SELECT count(*) FROM oauth_audit_log a
            WHERE a.integration_id = i.id AND a.action = 'refresh' AND a.outcome = 'success'),
        (SELECT count(*) FROM oauth_events e WHERE e.integration_id = i.id AND e.kind = 'refreshed'),
        (SELECT count(DISTINCT e.generation) FROM oauth_events e
            WHERE e.integration_id = i.id AND e.kind = 'refreshed')
    FROM oauth_integrations i";

impl Evidence {
    /// When all is over, and every node has written what it had to write.
    pub async fn gather(cluster: &Cluster, answers: Vec<Answer>) -> Self {
        let sql = cluster.sql().await;
        let calls = cluster.simulator.requests_to(Provider::Oidc, Endpoint::Refresh);
        let rows = sql.query(ACCOUNTS, &[]).await.unwrap();
        Self {
            calls: calls.iter().map(|request| call(cluster, request)).collect(),
            history: history::read(&sql).await,
            accounts: rows.iter().map(account).collect(),
            answers,
            ended: cluster.ended.clone(),
            cut_off: cluster.cut_off.clone(),
        }
    }

    /// What holds after every test of this folder.
    #[track_caller]
    pub fn assert_sound(&self) {
        let broken: Vec<String> = [
            self.generations_gone_back(),
            self.calls_without_claim(),
            self.claims_used_twice(),
            self.unexplained_repeats(),
            self.records_that_do_not_add_up(),
            self.wrong_hand_outs(),
            self.unlabelled_losses(),
        ]
        .concat();
        assert!(
            broken.is_empty(),
            "{} of {} calls and {} hand-outs:\n{}",
            broken.len(),
            self.calls.len(),
            self.answers.len(),
            broken.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
        );
    }

    /// Accounts that only their user can bring back.
    pub fn lost(&self, class: Class) -> Vec<&Account> {
        let lost = |account: &&Account| account.class == class && account.status == "reauth_required";
        self.accounts.iter().filter(lost).collect()
    }

    /// Calls that presented what had been presented before.
    pub fn repeats(&self, class: Class) -> usize {
        let families = self.presentations(class);
        families.values().map(|calls| calls.len() - 1).sum()
    }

    /// Of the lost single-use ones, those whose answer the provider had sent, with how long before its node was killed.
    pub fn sent_before_the_kill_ms(&self) -> Vec<i64> {
        let gap = |account: &&Account| {
            let calls = self.last_family(account);
            let spent = calls.iter().find(|call| call.was_answered())?;
            let ends = self.ended.iter().filter(|end| end.node == spent.node);
            let kill = ends.map(|end| end.at_ms).find(|at_ms| *at_ms >= spent.at_ms)?;
            Some(kill - spent.ended_ms?)
        };
        self.lost(Class::Strict).iter().filter_map(gap).collect()
    }

    /// Every presentation of the refresh token that the provider refused in the end.
    fn last_family(&self, account: &Account) -> Vec<&Call> {
        let of_account = |call: &&Call| call.class == account.class && call.subject == account.subject;
        let refused = self
            .calls
            .iter()
            .filter(of_account)
            .rfind(|call| call.outcome == Some(Outcome::Status(400)));
        let Some(refused) = refused else { return Vec::new() };
        self.calls
            .iter()
            .filter(|call| call.token == refused.token)
            .collect()
    }
}

// === the rules ===

impl Evidence {
    fn generations_gone_back(&self) -> Vec<String> {
        let mut last: HashMap<Uuid, i64> = HashMap::new();
        let mut broken = Vec::new();
        for change in &self.history {
            let before = last.insert(change.integration, change.generation).unwrap_or(0);
            if change.generation < before || change.generation > before + 1 && before != 0 {
                broken.push(format!(
                    "{}: generation {before} became {}",
                    change.integration, change.generation
                ));
            }
        }
        broken
    }

    /// Each call of the provider, with the claim that stood when it began.
    fn claims(&self) -> Vec<(&Call, Option<&Change>)> {
        let mut changes: HashMap<Uuid, Vec<&Change>> = HashMap::new();
        for change in &self.history {
            changes.entry(change.integration).or_default().push(change);
        }
        let of_subject: HashMap<(&str, Class), Uuid> = self
            .accounts
            .iter()
            .map(|account| ((account.subject.as_str(), account.class), account.id))
            .collect();
        let claim_of = |call: &Call| {
            let id = of_subject.get(&(call.subject.as_str(), call.class))?;
            let changes = changes.get(id)?;
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit 2^53")]
            let at_ms = call.at_ms as f64;
            // As the row was at that moment, or a moment later: a quick answer is stored within a rounding.
            let first = changes.partition_point(|change| change.at_ms <= at_ms);
            let last = changes.partition_point(|change| change.at_ms <= at_ms + ROUNDING_MS);
            let lives = |change: &&Change| {
                let until = change.claim_until_ms.filter(|_| change.attempt.is_some());
                until.is_some_and(|until| until + ROUNDING_MS >= at_ms)
            };
            // The last of them: the claim before it may have run out within the same rounding.
            let states = &changes[first.saturating_sub(1)..last];
            states.iter().copied().rfind(lives)
        };
        self.calls.iter().map(|call| (call, claim_of(call))).collect()
    }

    fn calls_without_claim(&self) -> Vec<String> {
        let claims = self.claims();
        let naked = claims.iter().filter(|(_, claim)| claim.is_none());
        naked
            .map(|(call, _)| format!("no stored claim stood when this call began: {call:?}"))
            .collect()
    }

    fn claims_used_twice(&self) -> Vec<String> {
        let mut used: BTreeMap<Uuid, Vec<&Call>> = BTreeMap::new();
        for (call, claim) in self.claims() {
            if let Some(attempt) = claim.and_then(|claim| claim.attempt) {
                used.entry(attempt).or_default().push(call);
            }
        }
        let too_often = used.values().filter(|calls| match calls[0].class {
            Class::Strict | Class::Safe => calls.len() > 1,
            // Once more within the window, when the first answer was lost.
            Class::Grace => calls.len() > 2 || calls.len() == 2 && calls[0].was_answered(),
        });
        too_often
            .map(|calls| format!("one claim, {} calls: {calls:?}", calls.len()))
            .collect()
    }

    fn presentations(&self, class: Class) -> BTreeMap<&str, Vec<&Call>> {
        let mut families: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.class == class) {
            families.entry(&call.token).or_default().push(call);
        }
        families
    }

    /// A refresh token that works once is presented again only if whoever presented it before cannot know the answer:
    /// it was killed, or gave up before one was sent. Within a window it may also be that it cannot tell anybody.
    fn unexplained_repeats(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for class in [Class::Strict, Class::Grace] {
            for calls in self.presentations(class).into_values() {
                for pair in calls.windows(2) {
                    let (before, again) = (pair[0], pair[1]);
                    let killed = self.ended.iter().any(|end| {
                        end.node == before.node && (before.at_ms..=again.at_ms).contains(&end.at_ms)
                    });
                    let unsent = before.outcome == Some(Outcome::Dropped);
                    let untold = class == Class::Grace
                        && self.cut_off.iter().any(|cut| {
                            cut.node == before.node
                                && cut.from_ms <= again.at_ms
                                && cut.until_ms >= before.at_ms
                        });
                    if !killed && !unsent && !untold {
                        broken.push(format!(
                            "presented again without need: {before:?}, then {again:?}"
                        ));
                    }
                }
            }
        }
        broken
    }

    fn records_that_do_not_add_up(&self) -> Vec<String> {
        let mut commits: HashMap<Uuid, i64> = HashMap::new();
        let mut last: HashMap<Uuid, i64> = HashMap::new();
        for change in &self.history {
            let before = last.insert(change.integration, change.generation);
            if before.is_some_and(|before| change.generation > before) && change.access_token.is_some() {
                *commits.entry(change.integration).or_default() += 1;
            }
        }
        let broken = self.accounts.iter().filter(|account| {
            let commits = commits.get(&account.id).copied().unwrap_or(0);
            // What is stored late is told as a change of another kind.
            let events = account.events == account.generations_in_events && account.events <= commits;
            account.audited != commits || !events
        });
        broken
            .map(|account| {
                format!(
                    "{} commits, and other records: {account:?}",
                    commits.get(&account.id).copied().unwrap_or(0)
                )
            })
            .collect()
    }

    fn wrong_hand_outs(&self) -> Vec<String> {
        let accounts: HashMap<String, &Account> = self
            .accounts
            .iter()
            .map(|account| {
                (
                    format!("{}_{}", account.class.key(), account.id.simple()),
                    account,
                )
            })
            .collect();
        let mut broken = Vec::new();
        for answer in &self.answers {
            let (Given::Token(known), Some(account)) = (&answer.given, accounts.get(&answer.integration))
            else {
                continue;
            };
            match known {
                Some((subject, _)) if *subject != account.subject => {
                    broken.push(format!("somebody else's token: {answer:?}"));
                }
                Some((_, Some(end))) if *end < answer.asked_ms => {
                    broken.push(format!("a token that had ended: {answer:?}"));
                }
                Some(_) => {}
                // Its grant is dead, or was never: so is the account, or will be when that shows.
                None if account.status == "reauth_required" => {}
                None => broken.push(format!("a token the provider does not know: {answer:?}")),
            }
        }
        broken
    }

    fn unlabelled_losses(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for account in &self.accounts {
            let is_lost = account.status == "reauth_required";
            let is_labelled = account.reason.as_deref() == Some("outcome_unknown");
            let may_be_lost = account.class == Class::Strict && is_labelled;
            if is_lost && !may_be_lost {
                let calls = self.last_family(account);
                let first_ms = calls.first().map_or(0, |call| call.at_ms);
                let told = calls
                    .iter()
                    .map(|call| (call.at_ms - first_ms, call.node, call.outcome));
                let told: Vec<_> = told.collect();
                broken.push(format!(
                    "lost: {account:?}; its token was presented (ms, node, outcome) {told:?}"
                ));
            }
        }
        broken
    }
}

// === impl Call ===

impl Call {
    fn was_answered(&self) -> bool {
        self.outcome == Some(Outcome::Status(200))
    }
}

fn call(cluster: &Cluster, request: &RecordedRequest) -> Call {
    let client_id = request.field("client_id").unwrap();
    let class = CLASSES.into_iter().find(|class| class.client_id() == client_id);
    let token = request.refresh_token().unwrap().to_owned();
    Call {
        node: request.query("node").unwrap().parse().unwrap(),
        class: class.unwrap(),
        subject: cluster
            .simulator
            .subject_of_refresh_token(&token)
            .expect("it was issued"),
        token,
        at_ms: request.at_ms,
        ended_ms: request.ended_ms,
        outcome: request.outcome,
    }
}

fn account(row: &tokio_postgres::Row) -> Account {
    let provider: String = row.get(1);
    let class = CLASSES.into_iter().find(|class| class.key() == provider);
    Account {
        id: row.get(0),
        class: class.unwrap(),
        subject: row.get(2),
        status: row.get(3),
        reason: row.get(4),
        audited: row.get(5),
        events: row.get(6),
        generations_in_events: row.get(7),
    }
}
