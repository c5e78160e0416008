//! The same in a real browser: an attacker's profile and a victim's, with development mode's example application between
//! them. The script is `tests/browser/profiles.mjs`.

use std::{path::Path, process::Stdio, time::Duration};

use serde_json::Value;
use tokio::process::Command;

use crate::{dev_mode::Dev, harness::Folder};

/// A browser on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
const BROWSER: &str = "/usr/bin/chromium";

/// Runs one part of the script against this run; it says what went wrong.
async fn drive(part: &str, dev: &Dev) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(
        Path::new(BROWSER).exists(),
        "{BROWSER} is missing: install it (apt-get install chromium)"
    );
    assert!(
        folder.join("node_modules/playwright-core").exists(),
        "playwright-core is missing: install it (apt-get install nodejs npm; cd tests/browser && npm ci)"
    );
    let run = Command::new("node")
        .args(["profiles.mjs", part])
        .current_dir(&folder)
        .env("BROWSER", BROWSER)
        .env("DEV", serde_json::to_string(&dev.credentials).unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let run = tokio::time::timeout(PATIENCE, run)
        .await
        .expect("the browser ends in time")
        .expect("node is missing: install it (apt-get install nodejs)");
    assert!(
        run.status.success(),
        "{}{}",
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr)
    );
}

async fn dev(folder: &Folder) -> Dev {
    let data_dir = folder.path().join("data");
    Dev::start(
        folder.path(),
        &["--data-dir", data_dir.to_str().unwrap()],
        &data_dir,
    )
    .await
}

/// Every code that was exchanged, by the provider's own record.
async fn exchanges(dev: &Dev) -> usize {
    let url = format!(
        "{}/_sim/requests?endpoint=token",
        dev.credentials["simulator_url"]
    );
    let answer = crate::harness::http_client().get(url).send().await.unwrap();
    let record: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    record["items"].as_array().unwrap().len()
}

/// What is kept about a user, of this kind.
async fn kept(dev: &Dev, user: &str, kind: &str) -> Vec<Value> {
    let path = format!("/users/{user}/export?limit=200");
    let export = dev.api("admin_token").get(&path).await.expect_status(200);
    let items = export["items"].as_array().unwrap();
    items
        .iter()
        .filter(|item| item["kind"] == kind)
        .cloned()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attackers_links_in_a_victims_real_browser_connect_nothing() {
    let folder = Folder::new();
    let dev = dev(&folder).await;
    drive("attack", &dev).await;
    assert_eq!(exchanges(&dev).await, 0);
    for user in ["mallory", "victim"] {
        assert!(kept(&dev, user, "integration").await.is_empty(), "{user}");
    }
    // Each is written down: the session link, the connect links confirmed by another and carried into another's session.
    let audit = kept(&dev, "mallory", "audit").await;
    let refused = |action: &str, error: &str| {
        let is_it = |row: &&Value| row["action"] == action && row["error"] == error;
        audit.iter().filter(is_it).count()
    };
    assert_eq!(refused("session", "binding_mismatch"), 1, "{audit:#?}");
    assert_eq!(refused("callback", "binding_mismatch"), 3, "{audit:#?}");
    assert_eq!(refused("callback", "browser_mismatch"), 1, "{audit:#?}");
    assert_eq!(dev.ends("INT").await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_user_passes_in_a_real_browser_without_one_click_more() {
    let folder = Folder::new();
    let dev = dev(&folder).await;
    drive("honest", &dev).await;
    assert_eq!(exchanges(&dev).await, 3);
    assert_eq!(kept(&dev, "ada", "integration").await.len(), 2);
    assert_eq!(kept(&dev, "ben", "integration").await.len(), 1);
    assert_eq!(dev.ends("INT").await, Some(0));
}
