//! Whether the database takes writes: tried, and what is the matter where it does not.

use tokio_postgres::Row;

use oauth_manager_actors::{
    domain::ids::NodeId,
    domain::unwritable::{Unwritable, UnwritableCause},
    ports::store::StoreResult,
};

use super::Storage;

/// Rows of nodes that are gone go with it.
const TRY: &str = "\
WITH gone AS (DELETE FROM oauth_write_probe WHERE at < now() - interval '1 day' AND node <> $1)
INSERT INTO oauth_write_probe (node) VALUES ($1) ON CONFLICT (node) DO UPDATE SET at = now(), filler = ''";

/// A full disk has room for a small row for a long time, in pages that are there already. This needs new ones, and is undone.
const FILL: &str = "\
INSERT INTO oauth_write_probe (node, filler)
SELECT gen_random_uuid(), string_agg(decode(md5(n::text || random()::text), 'hex'), NULL) FROM generate_series(1, 65536) AS n";

const WHERE: &str = "\
SELECT coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'a local socket') AS server,
    current_database()::text AS database, current_user::text AS role, pg_is_in_recovery() AS standby,
    current_setting('default_transaction_read_only') AS read_only";

impl Storage {
    pub(super) async fn try_to_write(&self, node: NodeId, was_full: bool) -> StoreResult<Option<Unwritable>> {
        let written = if was_full {
            self.fill().await
        } else {
            let client = self.system().await?;
            client.execute(TRY, &[&node.0]).await.map(|_| ())
        };
        let Err(error) = written else { return Ok(None) };
        let cause = match error.sqlstate() {
            Some("25006") => UnwritableCause::ReadOnly,
            Some("53100") => UnwritableCause::DiskFull,
            Some("58030") => UnwritableCause::DiskFailing,
            Some("42501") => UnwritableCause::NotAllowed,
            _ => return Err(error),
        };
        let detail = self.mend(cause).await;
        Ok(Some(Unwritable { cause, detail }))
    }

    async fn fill(&self) -> StoreResult<()> {
        let transaction = self.system().await?.begin().await?;
        transaction.execute(FILL, &[]).await?;
        // Dropped, it is rolled back.
        Ok(())
    }

    async fn mend(&self, cause: UnwritableCause) -> String {
        let place = match self.system().await {
            Ok(client) => client.query_opt(WHERE, &[]).await.ok().flatten(),
            Err(_) => None,
        };
        let text = |name: &str| {
            place
                .as_ref()
                .and_then(|row| text_of(row, name))
                .unwrap_or_default()
        };
        let (server, database, role) = (text("server"), text("database"), text("role"));
        let is_standby = place
            .as_ref()
            .and_then(|row| row.try_get("standby").ok())
            .unwrap_or(false);
        match cause {
            UnwritableCause::ReadOnly if is_standby => {
                format!("{server} is a standby and takes no writes: point database.url at the primary")
            }
            UnwritableCause::ReadOnly => format!(
                "{server} takes no writes in database {database} from role {role} (default_transaction_read_only is {}): \
                 set it off for the server, the database and the role, or point database.url at a server that is the primary",
                text("read_only")
            ),
            UnwritableCause::DiskFull => format!(
                "the disk of {server} is full (SQLSTATE 53100, database {database}): make room, or give it more"
            ),
            UnwritableCause::DiskFailing => {
                format!("the disk of {server} fails (SQLSTATE 58030): look at the database server's log")
            }
            UnwritableCause::NotAllowed => format!(
                "role {role} may not write in database {database} of {server}: grant it the tables, as the migrating role"
            ),
        }
    }
}

fn text_of(row: &Row, name: &str) -> Option<String> {
    row.try_get(name).ok()
}
