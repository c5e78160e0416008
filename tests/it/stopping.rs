//! Stopping: the door is signed as closed before it is closed, what is in flight is answered, and nobody who is stuck
//! keeps the process from ending in time.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Provider};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{Service, eventually, serving::Serving};

/// Short enough to wait for, long enough for what is in flight on a busy machine.
const GRACE: &str =
    "[timings]\nshutdown_grace = \"12s\"\nshutdown_delay = \"2s\"\nprovider_deadline = \"10s\"\n";
/// The grace, and what ending a process takes.
const GRACE_MAX: Duration = Duration::from_secs(14);

async fn connect(node: &Serving, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(node.address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Clients that are stuck, each in its own way.
async fn stuck_clients(node: &Serving) -> Vec<TcpStream> {
    let half_a_head = connect(node, b"GET /health HTTP/1.1\r\nhost: x\r\nx-half").await;
    let half_a_body = connect(
        node,
        b"POST /api/v1/oauth/sessions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{\"user\":",
    )
    .await;
    let mut idle = connect(node, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let silent = connect(node, b"").await;
    vec![half_a_head, half_a_body, idle, silent, slow_reader(node).await]
}

/// Asks more than fits into any buffer on the way, and reads none of it.
async fn slow_reader(node: &Serving) -> TcpStream {
    let mut stream = connect(node, b"").await;
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n".repeat(1_000);
    let fill = async { while stream.write_all(&request).await.is_ok() {} };
    // The server reads no more when it cannot write: then nothing more can be sent.
    let _ = tokio::time::timeout(Duration::from_secs(3), fill).await;
    stream
}

async fn is_refused(node: &Serving) -> Option<()> {
    TcpStream::connect(node.address()).await.err().map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_stop_answers_what_is_in_flight_and_waits_for_nobody_who_is_stuck() {
    let service = Service::start().await;
    let node = Serving::with(&service, |toml| toml + GRACE).await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let stuck = stuck_clients(&node).await;
    let gate = service.simulator.gate_answer(Provider::Google, Endpoint::Refresh);
    let user = node.as_caller(&service.user("ada"));
    let path = format!("/integrations/{id}/refresh");
    let asked = user.post(&path, json!({}));
    let meanwhile = async {
        gate.arrived().await;
        node.signal("TERM").await;
        // Told first, while it still answers…
        let (_, said) = eventually("it says that it stops", || async {
            let answer = node.get("/ready").await;
            (answer.0 == 503).then_some(answer)
        })
        .await;
        assert!(said.contains("\"stopping\""), "{said}");
        assert_eq!(node.get("/health").await.0, 200, "not dead, only leaving");
        // …then nobody new is taken, and who was taken before is answered.
        eventually("nobody new is taken", || is_refused(&node)).await;
        gate.release();
    };
    let (answer, ()) = tokio::join!(asked, meanwhile);
    answer.expect_status(200);
    assert_eq!(node.ended(GRACE_MAX).await, Some(0));
    drop(stuck);
    // What was fetched while it stopped is stored.
    let sql = service.sql().await;
    let row = sql
        .query_one("SELECT generation, claim_attempt IS NULL FROM oauth_tokens", &[])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (2, true));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let service = Service::start().await;
    let node = Serving::with(&service, |toml| toml + GRACE).await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let gate = service.simulator.gate_answer(Provider::Google, Endpoint::Refresh);
    let mut asked = TcpStream::connect(node.address()).await.unwrap();
    let token = service.user("ada").token().to_owned();
    let request = format!(
        "POST /api/v1/oauth/integrations/{id}/refresh HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: 2\r\n\r\n{{}}"
    );
    asked.write_all(request.as_bytes()).await.unwrap();
    gate.arrived().await;
    node.signal("TERM").await;
    eventually("it stops", || async {
        (node.get("/ready").await.0 != 200).then_some(())
    })
    .await;
    node.signal("INT").await;
    // Long before the provider would have been given up.
    assert_eq!(node.ended(Duration::from_secs(5)).await, Some(130));
    gate.release();
    // The claim tells whoever comes next that an answer may be lost.
    let sql = service.sql().await;
    let row = sql
        .query_one("SELECT claim_attempt IS NOT NULL FROM oauth_tokens", &[])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    service.stop().await;
}
