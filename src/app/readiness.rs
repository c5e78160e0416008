//! Looks from time to time whether this node is ready, so that the operator is told when it is not, and why, whether or not
//! anybody asks `/ready`.

use std::time::Duration;

use oauth_manager_actors::handle::OAuthManager;
use tokio_util::sync::CancellationToken;

/// How often. The database's part of it costs one small write.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a start may take before it is told that it does.
const START: Duration = Duration::from_secs(3);

/// Until told to stop.
pub(super) async fn watch(manager: OAuthManager, stop: CancellationToken) {
    let looking = async {
        tokio::time::sleep(START).await;
        loop {
            manager.look_whether_ready().await;
            manager.until_doubt(INTERVAL).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = looking => {}
    }
}
