//! Blanks around credentials: they come from copying, and no provider knows the client with them. They are taken off; a
//! blank within stays.

use super::database::DatabaseConfig;
use super::provider::ProviderConfig;
use super::secret::SecretString;

/// What looks empty at either end: white space, and two marks without a width that editors and web pages leave.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}'
}

pub(super) fn has_blanks_around(text: &str) -> bool {
    text.starts_with(is_blank) || text.ends_with(is_blank)
}

fn trim(secret: &mut Option<SecretString>) {
    if let Some(secret) = secret {
        secret.trim_matches(is_blank);
    }
}

pub(super) fn trim_provider(provider: &mut ProviderConfig) {
    if let Some(id) = &mut provider.client_id
        && has_blanks_around(id)
    {
        *id = id.trim_matches(is_blank).to_owned();
    }
    trim(&mut provider.client_secret);
    trim(&mut provider.client_secret_next);
}

pub(super) fn trim_database(database: &mut DatabaseConfig) {
    trim(&mut database.url);
}
