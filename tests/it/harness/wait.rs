//! Waiting for what gives no signal: asked again and again, with an end.

use std::{future::Future, time::Duration};

/// Longer than anything a test waits for, shorter than a developer's patience.
const DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(15);

/// Asks until the answer is `Some`; the test fails if it never is.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(tokio::time::error::Elapsed { .. }) => panic!("never came true: {what}"),
    }
}
