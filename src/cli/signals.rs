//! The signals that ask the process to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Ends at the first SIGINT or SIGTERM. A second one ends the process at once.
pub(super) async fn stop() {
    wait().await;
    tracing::info!("asked to stop; ask again to stop at once");
    std::thread::spawn(|| {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(wait());
            std::process::exit(130);
        }
    });
}

async fn wait() {
    let (interrupt, terminate) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    match (interrupt, terminate) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(error = %error, "signals cannot be received; stop the process by killing it");
            std::future::pending::<()>().await;
        }
    }
}
