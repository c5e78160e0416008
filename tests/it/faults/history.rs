//! What every token row went through, written down by a trigger in the test's database: the rows themselves keep only
//! how they are now.

use tokio_postgres::Client;
use uuid::Uuid;

const OBSERVE: &str = "
    CREATE TABLE row_history (
        number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        integration_id uuid NOT NULL,
        generation bigint NOT NULL,
        claim_attempt uuid,
        claim_until timestamptz,
        access_token bytea
    );
    CREATE FUNCTION keep_row_history() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO row_history (at, integration_id, generation, claim_attempt, claim_until, access_token)
        VALUES (clock_timestamp(), NEW.integration_id, NEW.generation, NEW.claim_attempt, NEW.claim_until,
            NEW.access_token);
        RETURN NULL;
    END
    $$;
    CREATE TRIGGER keep_row_history AFTER INSERT OR UPDATE ON oauth_tokens
        FOR EACH ROW EXECUTE FUNCTION keep_row_history()";

const READ: &str = "
    SELECT integration_id, (extract(epoch FROM at) * 1000)::float8, generation, claim_attempt,
        (extract(epoch FROM claim_until) * 1000)::float8, access_token
    FROM row_history ORDER BY number";

/// A row, as some statement left it.
#[derive(Debug, Clone)]
pub struct Change {
    pub integration: Uuid,
    /// Milliseconds since the epoch, by the database's clock, which is this machine's.
    pub at_ms: f64,
    pub generation: i64,
    pub attempt: Option<Uuid>,
    pub claim_until_ms: Option<f64>,
    /// Sealed.
    pub access_token: Option<Vec<u8>>,
}

/// From now on every change of a token row is written down.
pub async fn observe(sql: &Client) {
    sql.batch_execute(OBSERVE).await.unwrap();
}

/// In the order of the changes.
pub async fn read(sql: &Client) -> Vec<Change> {
    let rows = sql.query(READ, &[]).await.unwrap();
    rows.iter()
        .map(|row| Change {
            integration: row.get(0),
            at_ms: row.get(1),
            generation: row.get(2),
            attempt: row.get(3),
            claim_until_ms: row.get(4),
            access_token: row.get(5),
        })
        .collect()
}
