//! The fictional people who have accounts at the simulated providers.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::provider::Provider;

/// One person at one provider. Every identifier is derived from provider and `key`, so it is the same in every run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Short name for tests and for `_sim_user`: `ada`.
    pub key: String,
    /// `sub`; for Microsoft the object id (the `sub` it shows is pairwise), for Notion the user id.
    pub subject: String,
    pub email: String,
    pub name: String,
    pub given_name: String,
    pub family_name: String,
    /// Microsoft: the directory (`tid`). Notion: the workspace.
    pub tenant: String,
    pub tenant_name: String,
    /// Microsoft: a personal account, which lives in the consumers' directory.
    pub personal: bool,
    /// YouTube: the channel, if this person has one.
    pub channel_id: Option<String>,
}

/// The directory of all personal Microsoft accounts.
pub const CONSUMERS_TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

const PEOPLE: [(&str, &str, &str); 3] = [
    ("ada", "Ada", "Lindqvist"),
    ("ben", "Ben", "Okafor"),
    ("chiyo", "Chiyo", "Marin"),
];

/// The people each provider knows from the start; the first is the default.
pub fn residents(provider: Provider) -> Vec<Arc<Account>> {
    PEOPLE
        .iter()
        .map(|(key, given, family)| Arc::new(account(provider, key, given, family)))
        .collect()
}

/// An account for a name nobody has registered, so that load tests can have as many people as they like.
pub fn newcomer(provider: Provider, key: &str) -> Account {
    let key: String = key
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        .take(64)
        .collect();
    account(provider, &key, &key, "Newcomer")
}

fn account(provider: Provider, key: &str, given_name: &str, family_name: &str) -> Account {
    let seed = |what: &str| digest(&SHA256, format!("{}/{key}/{what}", provider.key()).as_bytes());
    let uuid = |what: &str| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&seed(what).as_ref()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    };
    // The third person has a personal Microsoft account and no YouTube channel.
    let third = key == PEOPLE[2].0;
    let subject = match provider {
        // Google's subjects are 21 digits.
        Provider::Google | Provider::YouTube => {
            format!("1{:020}", u64::from_le_bytes(prefix(seed("sub").as_ref())))
        }
        Provider::Microsoft | Provider::Notion => uuid("sub").to_string(),
        Provider::Oidc => uuid("sub").simple().to_string(),
    };
    let personal = provider == Provider::Microsoft && third;
    let tenant = if personal {
        CONSUMERS_TENANT.to_owned()
    } else {
        shared_tenant(provider).to_string()
    };
    Account {
        key: key.to_owned(),
        subject,
        email: format!("{key}@{}.example", provider.key()),
        name: format!("{given_name} {family_name}"),
        given_name: given_name.to_owned(),
        family_name: family_name.to_owned(),
        tenant,
        tenant_name: "Acme".to_owned(),
        personal,
        channel_id: (!third).then(|| format!("UC{}", &uuid("channel").simple().to_string()[..22])),
    }
}

/// The directory or workspace in which everyone but the third person lives.
fn shared_tenant(provider: Provider) -> Uuid {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest(&SHA256, format!("{}/tenant", provider.key()).as_bytes()).as_ref()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn prefix(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    first
}

impl Account {
    /// Does `hint` (a `login_hint`, `_sim_user` or a choice on the consent page) mean this account?
    pub fn answers_to(&self, hint: &str) -> bool {
        self.key == hint || self.subject == hint || self.email.eq_ignore_ascii_case(hint)
    }

    /// Microsoft's `sub`: another one for every application.
    pub fn pairwise_subject(&self, client_id: &str) -> String {
        use base64::Engine as _;
        let hash = digest(&SHA256, format!("{}/{client_id}", self.subject).as_bytes());
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash)
    }

    /// Notion's bot: one per integration, person and workspace.
    pub fn bot_id(&self, client_id: &str) -> Uuid {
        let hash = digest(
            &SHA256,
            format!("bot/{}/{}/{client_id}", self.subject, self.tenant).as_bytes(),
        );
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_ref()[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}
