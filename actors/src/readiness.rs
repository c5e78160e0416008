//! Whether this node is fit to be asked, looked at from time to time, and told when it changes: one line for each cause.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::domain::unwritable::{Unwritable, UnwritableCause};

/// Whether each part is ready to work, for `/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// The database answers.
    pub database: bool,
    /// Why it takes no writes, as far as this node has noticed; `None`: it does.
    pub unwritable: Option<UnwritableCause>,
    /// Its schema is the one this program knows.
    pub migrations: bool,
    /// Every key that a row needs is configured, and is the one the database was sealed with.
    pub keys: bool,
    /// The actor system runs, all of it, and takes work.
    pub actors: bool,
    /// It is told to stop, and finishes what it has.
    pub stopping: bool,
}

impl Readiness {
    /// Whether all of it is.
    pub fn all(&self) -> bool {
        self.causes().is_empty() && !self.stopping
    }

    /// What is not ready, in words for programs. Of a database that is away nothing more is known.
    pub fn causes(&self) -> Vec<&'static str> {
        let unwritable = self.unwritable.map(|cause| match cause {
            UnwritableCause::ReadOnly => "database_read_only",
            UnwritableCause::DiskFull => "database_disk_full",
            UnwritableCause::DiskFailing => "database_disk_failing",
            UnwritableCause::NotAllowed => "database_write_not_allowed",
        });
        let parts = [
            (!self.database).then_some("database_away"),
            unwritable.filter(|_| self.database),
            (self.database && !self.migrations).then_some("schema_not_migrated"),
            (!self.keys).then_some("encryption_keys_missing"),
            (!self.actors).then_some("actors_restarting"),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// What was told last.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<&'static str>>);

impl Told {
    /// Tells what has changed since the last look.
    pub(crate) fn look(&self, readiness: &Readiness, unwritable: Option<&Unwritable>) {
        if readiness.stopping {
            return; // Whoever told it to stop knows.
        }
        let causes = readiness.causes();
        let before = {
            let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *told, causes.clone())
        };
        for cause in causes.iter().filter(|cause| !before.contains(cause)) {
            let detail = unwritable
                .filter(|_| cause.starts_with("database_") && *cause != "database_away")
                .map_or_else(|| mend(cause), |unwritable| unwritable.detail.as_str());
            tracing::error!(cause, detail, who_must_act = "operator", "not ready");
        }
        for cause in before.iter().filter(|cause| !causes.contains(cause)) {
            tracing::info!(cause, "this is over");
        }
        if causes.is_empty() && !before.is_empty() {
            tracing::info!("ready again");
        }
    }
}

fn mend(cause: &str) -> &'static str {
    match cause {
        "database_away" => {
            "the database does not answer, or not in time, or is not prepared yet: see database.url; valid tokens are served \
             meanwhile and no refresh is begun"
        }
        "schema_not_migrated" => "the database's schema is not this program's: run oauth-manager migrate",
        "encryption_keys_missing" => "rows need a key that is not configured: add it to encryption.keys",
        _ => "a part of the service has failed and is being restarted: a defect, report it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_database_that_is_away_nothing_more_is_said() {
        let away = Readiness {
            database: false,
            unwritable: Some(UnwritableCause::ReadOnly),
            migrations: false,
            keys: true,
            actors: true,
            stopping: false,
        };
        assert_eq!(away.causes(), ["database_away"]);
        let read_only = Readiness {
            database: true,
            migrations: true,
            ..away
        };
        assert_eq!(
            (read_only.causes(), read_only.all()),
            (vec!["database_read_only"], false)
        );
        let well = Readiness {
            unwritable: None,
            ..read_only
        };
        assert!(well.all());
        assert!(
            !Readiness {
                stopping: true,
                ..well
            }
            .all()
        );
    }
}
