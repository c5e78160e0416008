//! Lists of all accounts are read along their index, page by page.

use oauth_manager_actors::{domain::page::PageRequest, ports::store::IntegrationStore};

use super::{dispatch::many, fresh};
use crate::storage::{Storage, integrations::LIST_ALL};

#[tokio::test]
async fn a_page_of_all_accounts_reads_no_more_than_itself() {
    let storage = fresh().await;
    many(&storage).await;
    let first = PageRequest {
        limit: 50,
        after: None,
    };
    let page = storage.list_all(&first).await.unwrap();
    let last = page.items.last().unwrap();
    let plan = storage
        .explain_list(&last.created_at.to_string(), &last.id.uuid.to_string())
        .await;
    assert!(plan.contains("oauth_integrations_newest"), "{plan}");
    assert!(!plan.contains("Seq Scan") && !plan.contains("\"Sort\""), "{plan}");
    let next = storage
        .list_all(&PageRequest {
            after: page.next.clone(),
            ..first
        })
        .await
        .unwrap();
    let places = page
        .items
        .iter()
        .chain(&next.items)
        .map(|row| (row.created_at, row.id.uuid));
    assert!(places.clone().is_sorted_by(|one, other| one > other));
    assert_eq!(places.count(), 100);
}

impl Storage {
    async fn explain_list(&self, at: &str, id: &str) -> String {
        let transaction = self.system().await.unwrap().begin_listing().await.unwrap();
        let prepare = format!("PREPARE list (timestamptz, uuid, bigint) AS {LIST_ALL}");
        transaction.batch(&prepare).await.unwrap();
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE list ('{at}', '{id}', 51)");
        let rows = transaction.query(&explain, &[]).await.unwrap();
        transaction.batch("DEALLOCATE list").await.unwrap();
        transaction.commit().await.unwrap();
        rows.iter()
            .map(|row| row.get::<_, serde_json::Value>(0).to_string())
            .collect()
    }
}
