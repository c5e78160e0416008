//! Logging: what the configuration asks for, to standard error (standard output belongs to the commands' answers).
//!
//! Whatever the filter says, libraries are heard from `INFO` on only. Below that they log what passes through them:
//! tokio-postgres every statement with its parameters, HTTP clients the addresses they call.

pub mod prometheus;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogConfig, LogFormat};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error("log.filter: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// It was set up before.
    #[error("logging is already set up: {0}")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
    /// What is measured cannot be kept.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Sets logging up for the whole process; once.
pub fn init(config: &LogConfig) -> Result<(), TelemetryError> {
    init_to(config, std::io::stderr)
}

/// The same to another place than standard error.
pub fn init_to<W>(config: &LogConfig, writer: W) -> Result<(), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)?;
    // Colours for people at a terminal, not for files.
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer);
    match config.format {
        LogFormat::Text => discreet(builder.finish()).try_init()?,
        LogFormat::Json => discreet(
            builder
                .json()
                .flatten_event(true)
                .with_current_span(true)
                .finish(),
        )
        .try_init()?,
    }
    Ok(())
}

fn discreet<S>(subscriber: S) -> impl Subscriber
where
    S: Subscriber + Send + Sync + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    subscriber.with(filter_fn(may_be_heard))
}

/// Ours at every level, libraries from `INFO` on.
fn may_be_heard(metadata: &Metadata<'_>) -> bool {
    let ours = |prefix| metadata.target().starts_with(prefix);
    *metadata.level() <= Level::INFO || ours("oauth_manager")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_set_up_is_an_error_and_not_a_crash() {
        let config = LogConfig {
            filter: "off".to_owned(),
            format: LogFormat::Json,
        };
        // Another test of this process may have been first.
        let _ = init(&config);
        assert!(matches!(init(&config), Err(TelemetryError::AlreadySet(_))));
    }

    #[test]
    fn a_filter_that_is_none_is_named() {
        let config = LogConfig {
            filter: "a=b=c".to_owned(),
            format: LogFormat::Text,
        };
        assert!(init(&config).unwrap_err().to_string().starts_with("log.filter: "));
    }
}
