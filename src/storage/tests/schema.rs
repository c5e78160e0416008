//! What must hold of the schema, now and after every migration to come; and of rows that must not be.

use oauth_manager_actors::ports::store::{IntegrationStore, StoreError};

use super::{fresh, scenario::*};
use crate::storage::{
    Storage,
    export::{KINDS, WITHHELD},
};

async fn names(storage: &Storage, sql: &str) -> Vec<String> {
    let client = storage.system().await.unwrap();
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn no_timestamp_without_tz_in_schema() {
    let storage = fresh().await;
    let naive = names(
        &storage,
        "SELECT table_name || '.' || column_name FROM information_schema.columns
         WHERE table_schema = 'public'
            AND (data_type IN ('timestamp without time zone', 'time without time zone', 'date')
                OR column_name LIKE '%\\_at' AND data_type <> 'timestamp with time zone')",
    )
    .await;
    assert_eq!(naive, [""; 0]);
}

#[tokio::test]
async fn every_tenant_table_has_forced_rls() {
    let storage = fresh().await;
    let tenant = "SELECT DISTINCT c.table_name::text FROM information_schema.columns c
        WHERE c.table_schema = 'public' AND c.column_name = 'subject' ORDER BY 1";
    let forced = "SELECT c.relname::text FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relrowsecurity AND c.relforcerowsecurity
            AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polqual IS NOT NULL)
            AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polwithcheck IS NOT NULL)
        ORDER BY 1";
    let tables = names(&storage, tenant).await;
    assert!(tables.len() >= 8, "{tables:?}");
    assert_eq!(names(&storage, forced).await, tables);
}

#[tokio::test]
async fn the_tests_role_is_bound_by_row_level_security() {
    let storage = fresh().await;
    assert!(storage.row_security_binds().await.unwrap());
}

#[tokio::test]
async fn audit_append_only_for_app_role() {
    let storage = fresh().await;
    connected(&storage, &user("alice"), "1").await;
    let client = storage.system().await.unwrap();
    for sql in [
        "UPDATE oauth_audit_log SET actor = 'nobody'",
        "DELETE FROM oauth_audit_log",
        "DELETE FROM oauth_audit_log WHERE false",
        "TRUNCATE oauth_audit_log",
    ] {
        assert!(client.batch(sql).await.is_err(), "{sql}");
    }
    drop(client);
    assert_eq!(audited(&storage, &user("alice")).await, ["authorize", "connect"]);
}

#[tokio::test]
async fn audit_survives_delete_of_everything() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let client = storage.system().await.unwrap();
    client.batch("DELETE FROM users").await.unwrap();
    drop(client);
    assert_eq!(storage.load(&id).await.unwrap(), None);
    assert_eq!(audited(&storage, &alice).await, ["authorize", "connect"]);
    assert_eq!(
        names(&storage, "SELECT subject FROM oauth_consents").await,
        ["alice"]
    );
}

#[tokio::test]
async fn no_change_without_audit_row() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let claim = claimed(&storage, &id, 1).await;
    let client = storage.system().await.unwrap();
    client
        .batch("ALTER TABLE oauth_audit_log ADD CONSTRAINT none CHECK (false) NOT VALID")
        .await
        .unwrap();
    drop(client);
    let error = storage
        .commit_refresh(&refreshed(&claim, &alice))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Refused {
                table: "oauth_audit_log",
                ..
            }
        ),
        "{error}"
    );
    let row = storage.load(&id).await.unwrap().unwrap();
    assert_eq!(row.grant.unwrap().generation, 1);
}

#[tokio::test]
async fn impossible_rows_are_named_errors() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    let damage = |sql: &'static str| {
        let storage = storage.clone();
        async move { storage.system().await.unwrap().batch(sql).await.unwrap() }
    };
    let detail = |error: StoreError| match error {
        StoreError::Inconsistent {
            table,
            id: row,
            detail,
        } => {
            assert_eq!(row, id.uuid.to_string());
            (table, detail)
        }
        other => panic!("{other}"),
    };
    damage("UPDATE oauth_integrations SET features = '{nonsense}'").await;
    let (table, what) = detail(storage.load(&id).await.unwrap_err());
    assert_eq!(
        (table, what.as_str()),
        ("oauth_integrations", "features is not understood")
    );

    damage("UPDATE oauth_integrations SET features = '{}'").await;
    damage("UPDATE oauth_tokens SET data_key = NULL, access_token = NULL, refresh_token = NULL").await;
    let (table, what) = detail(storage.load(&id).await.unwrap_err());
    assert_eq!(
        (table, what.as_str()),
        ("oauth_integrations", "active without tokens")
    );
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_the_schema() {
    let storage = fresh().await;
    connected(&storage, &user("alice"), "1").await;
    let client = storage.system().await.unwrap();
    let refused = client
        .batch("UPDATE oauth_integrations SET metadata = jsonb_build_object('k', repeat('x', 20000))")
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            StoreError::Refused {
                table: "oauth_integrations",
                ..
            }
        ),
        "{refused}"
    );
}

/// What an export shows of a user is decided column by column: a new one is either shown or withheld on purpose.
#[tokio::test]
async fn every_column_about_a_user_is_exported_or_withheld_by_name() {
    let storage = fresh().await;
    let columns = names(
        &storage,
        "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
         WHERE c.table_schema = 'public' AND c.table_name <> 'oauth_tokens' AND EXISTS (
            SELECT 1 FROM information_schema.columns s
            WHERE s.table_schema = 'public' AND s.table_name = c.table_name AND s.column_name = 'subject')
         ORDER BY 1",
    )
    .await;
    let decided = |name: &str| {
        let (table, column) = name.split_once('.').unwrap();
        let shown = KINDS.iter().any(|kind| kind.table == table && kind.shows(column));
        shown != WITHHELD.contains(&name)
    };
    let undecided: Vec<_> = columns.iter().filter(|name| !decided(name)).collect();
    assert!(columns.len() > 60, "{columns:?}");
    assert_eq!(undecided, [""; 0]);
}

#[tokio::test]
async fn an_erasure_takes_a_name_out_of_the_audit_and_can_do_nothing_else() {
    let storage = fresh().await;
    let (alice, bob) = (user("alice"), user("bob"));
    connected(&storage, &alice, "1").await;
    connected(&storage, &bob, "2").await;
    let client = storage.system().await.unwrap();
    let erasing = "BEGIN; SET LOCAL oauth_manager.erasing = 'alice'; ";
    for sql in [
        "UPDATE oauth_audit_log SET subject = 'erased:x', action = 'nothing', ip = NULL, user_agent = NULL WHERE subject = 'alice'",
        "UPDATE oauth_audit_log SET subject = 'erased:x', at = now() - interval '1 day', ip = NULL, user_agent = NULL WHERE subject = 'alice'",
        "UPDATE oauth_audit_log SET subject = 'bob', ip = NULL, user_agent = NULL WHERE subject = 'alice'",
        "UPDATE oauth_audit_log SET subject = NULL, ip = NULL, user_agent = NULL WHERE subject = 'alice'",
        "DELETE FROM oauth_audit_log WHERE subject = 'alice'",
        "TRUNCATE oauth_audit_log",
    ] {
        assert!(client.batch(&format!("{erasing}{sql}")).await.is_err(), "{sql}");
        client.batch("ROLLBACK").await.unwrap();
    }
    // Another's rows are out of sight of it.
    let others =
        "UPDATE oauth_audit_log SET subject = 'erased:x', ip = NULL, user_agent = NULL WHERE subject = 'bob'";
    client.batch(&format!("{erasing}{others}; COMMIT")).await.unwrap();
    assert_eq!(audited(&storage, &bob).await, ["authorize", "connect"]);
    // The control: the name goes, and what was done stays.
    client
        .batch("SELECT oauth_audit_log_erase('alice', 'erased:x')")
        .await
        .unwrap();
    drop(client);
    assert_eq!(audited(&storage, &alice).await, [""; 0]);
    assert_eq!(
        audited(&storage, &user("erased:x")).await,
        ["authorize", "connect"]
    );
}
