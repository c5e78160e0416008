//! Everything the product logs in this process, at the finest level it can be asked for.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock},
};

use oauth_manager::{
    config::{LogConfig, LogFormat},
    telemetry,
};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

static CAPTURED: OnceLock<Captured> = OnceLock::new();

/// Begins to listen; once for all tests of the process.
pub fn capture() {
    CAPTURED.get_or_init(|| {
        let captured = Captured::default();
        let config = LogConfig {
            filter: "trace".to_owned(),
            format: LogFormat::Json,
        };
        let writer = captured.clone();
        telemetry::init_to(&config, move || writer.clone()).expect("nobody else sets logging up");
        captured
    });
}

/// How much has been logged so far.
pub fn length() -> usize {
    CAPTURED
        .get()
        .map_or(0, |captured| captured.0.lock().unwrap().len())
}

/// What has been logged from there on, by all tests.
pub fn since(length: usize) -> String {
    let captured = CAPTURED.get().expect("a service was started");
    String::from_utf8_lossy(&captured.0.lock().unwrap()[length..]).into_owned()
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
