//! Slow and rude clients on real sockets: each is dropped within its bound, and good ones are not disturbed.

use std::net::SocketAddr;

use http::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    task::JoinHandle,
};
use warp::Filter;

use super::*;
use crate::http::{
    Now,
    body::Body,
    endpoint::{Endpoint, GET, POST, Route},
    reply::{self, Response},
    request_context::RequestHead,
    settings::HttpSettings,
    testing,
};
use tokio_util::task::TaskTracker;

static HELLO: Endpoint = Endpoint {
    template: "/hello",
    methods: GET,
};
static SLOW: Endpoint = Endpoint {
    template: "/slow",
    methods: GET,
};
static LARGE: Endpoint = Endpoint {
    template: "/large",
    methods: GET,
};
static AT_HAND: Endpoint = Endpoint {
    template: "/at-hand",
    methods: GET,
};
static ROUTED: Endpoint = Endpoint {
    template: "/routed",
    methods: GET,
};
static ENDLESS: Endpoint = Endpoint {
    template: "/endless",
    methods: GET,
};
static ECHO: Endpoint = Endpoint {
    template: "/echo",
    methods: POST,
};

/// Long enough for an answer on a busy machine, short enough to wait for.
const SHORT: Duration = Duration::from_millis(150);
/// Something hangs.
const FOREVER: Duration = Duration::from_secs(20);

fn head_of(
    endpoint: &'static Endpoint,
) -> impl Filter<Extract = (Arc<RequestHead>,), Error = warp::Rejection> + Clone {
    warp::ext::get::<Arc<RequestHead>>().and_then(move |head: Arc<RequestHead>| {
        let taken = endpoint.methods.contains(&head.method) && endpoint.captures(head.uri.path()).is_some();
        std::future::ready(if taken {
            Ok(head)
        } else {
            Err(warp::reject::not_found())
        })
    })
}

/// On which thread this is said.
fn this_thread() -> Response {
    reply::ok(&json!(std::thread::current().name())).unwrap()
}

/// Says when somebody waits, and when nobody does any longer.
struct Waiting(watch::Sender<bool>);

impl Waiting {
    fn begun(told: watch::Sender<bool>) -> Self {
        told.send_replace(true);
        Self(told)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

fn routes(limits: &Limits, waiting: watch::Sender<bool>) -> Vec<Route> {
    let hello = head_of(&HELLO)
        .map(|_| reply::ok(&json!("hello")).unwrap())
        .boxed();
    let told = waiting.clone();
    let slow = head_of(&SLOW)
        .then(move |_| {
            let waiting = Waiting::begun(told.clone());
            async move {
                tokio::time::sleep(SHORT).await;
                drop(waiting);
                reply::ok(&json!("slow")).unwrap()
            }
        })
        .boxed();
    let large = head_of(&LARGE)
        .map(|_| reply::bytes(StatusCode::OK, "text/plain", vec![b'x'; 64 << 20]))
        .boxed();
    let routed = head_of(&ROUTED).map(|_| this_thread()).boxed();
    let endless = head_of(&ENDLESS)
        .then(move |_| {
            let waiting = Waiting::begun(waiting.clone());
            async move {
                std::future::pending::<()>().await;
                drop(waiting);
                Response::default()
            }
        })
        .boxed();
    let limits = limits.clone();
    let echo = head_of(&ECHO)
        .and(warp::body::stream())
        .then(move |head: Arc<RequestHead>, stream| {
            let limits = limits.clone();
            let body = Body::new(stream).of(Arc::clone(&head));
            async move {
                match body.json::<serde_json::Value>(&head.headers, &limits).await {
                    Ok(value) => reply::ok(&value).unwrap(),
                    Err(problem) => problem.into_response(&head.request_id),
                }
            }
        })
        .boxed();
    vec![
        Route {
            endpoint: &HELLO,
            filter: hello,
            at_hand: None,
        },
        Route {
            endpoint: &SLOW,
            filter: slow,
            at_hand: None,
        },
        Route {
            endpoint: &LARGE,
            filter: large,
            at_hand: None,
        },
        Route {
            endpoint: &AT_HAND,
            filter: routed.clone(),
            at_hand: Some(Box::new(|head| {
                (head.uri.path() == AT_HAND.template).then(this_thread)
            })),
        },
        Route {
            endpoint: &ROUTED,
            filter: routed,
            at_hand: None,
        },
        Route {
            endpoint: &ENDLESS,
            filter: endless,
            at_hand: None,
        },
        Route {
            endpoint: &ECHO,
            filter: echo,
            at_hand: None,
        },
    ]
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// Whether somebody waits for the endless answer.
    waiting: watch::Receiver<bool>,
}

async fn start(change: impl FnOnce(&mut Limits)) -> Running {
    let mut limits = Limits {
        header_timeout: SHORT,
        body_timeout: SHORT,
        idle_timeout: FOREVER * 3,
        stop_grace: SHORT,
        ..Limits::default()
    };
    change(&mut limits);
    let settings = HttpSettings {
        limits: limits.clone(),
        ..testing::settings()
    };
    let now: Now = Arc::new(|| "2030-01-01T00:00:00Z".parse().unwrap());
    let (told, waiting) = watch::channel(false);
    let service = HttpService::of_routes(routes(&limits, told), Arc::new(settings), now);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let tracker = TaskTracker::new();
    let task = tracker.spawn(serve(listener, service, stop.clone()));
    Running {
        address,
        stop,
        task,
        waiting,
    }
}

impl Running {
    async fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// What the server says until it closes.
    async fn until_closed(&self, bytes: &[u8]) -> String {
        until_closed(self.connect(bytes).await).await
    }
}

async fn until_closed(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    // A reset is a close too.
    let _ = tokio::time::timeout(FOREVER, stream.read_to_end(&mut said))
        .await
        .expect("stayed open");
    String::from_utf8_lossy(&said).into_owned()
}

/// One answer with a short JSON body.
async fn answer(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).ends_with('"') {
        let read = tokio::time::timeout(FOREVER, stream.read_buf(&mut said))
            .await
            .expect("no answer")
            .unwrap();
        assert_ne!(read, 0, "closed: {}", String::from_utf8_lossy(&said));
    }
    String::from_utf8(said).unwrap()
}

const HELLO_REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn slow_clients_closed() {
    let server = start(|_| ()).await;
    assert!(
        answer(&mut server.connect(HELLO_REQUEST).await)
            .await
            .starts_with("HTTP/1.1 200"),
        "control"
    );
    for (mode, bytes) in [
        ("no byte", &b""[..]),
        ("half a request line", b"GET /hel"),
        ("half the headers", b"GET /hello HTTP/1.1\r\nhost: x\r\nx-drip: "),
        ("an http2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let said = server.until_closed(bytes).await;
        assert!(!said.starts_with("HTTP/1.1 2"), "{mode}: {said}");
    }
    let said = server
        .until_closed(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        .await;
    assert!(
        said.starts_with("HTTP/1.1 408") && said.contains("request_timeout"),
        "{said}"
    );
}

#[tokio::test]
async fn dripped_headers_do_not_buy_time() {
    let server = start(|_| ()).await;
    let (reader, mut writer) = server.connect(b"GET /hello HTTP/1.1\r\n").await.into_split();
    let drip = async {
        // A byte every tenth of the bound, until the server has enough.
        while writer.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    tokio::time::timeout(FOREVER, drip)
        .await
        .expect("the dripping client was served for ever");
    drop(reader);
}

#[tokio::test]
async fn a_second_request_on_the_same_connection_has_its_own_time() {
    let server = start(|_| ()).await;
    // Whether somebody has to be waited for or not.
    for endpoint in [&HELLO, &AT_HAND] {
        let request = get(endpoint);
        let mut stream = server.connect(&request).await;
        answer(&mut stream).await;
        for _ in 0..2 {
            // Idle for longer than headers may take: the connection is kept.
            tokio::time::sleep(SHORT * 2).await;
            stream.write_all(&request).await.unwrap();
            assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        }
        // But once a request has begun, it must come to an end.
        stream.write_all(b"GET /hel").await.unwrap();
        assert_eq!(until_closed(stream).await, "");
    }
}

#[tokio::test]
async fn an_answer_may_take_longer_than_headers() {
    let server = start(|limits| limits.header_timeout = SHORT / 5).await;
    let mut stream = server.connect(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(|limits| limits.idle_timeout = SHORT).await;
    let mut stream = server.connect(HELLO_REQUEST).await;
    answer(&mut stream).await;
    until_closed(stream).await;
}

#[tokio::test]
async fn a_connection_that_is_idle_after_its_first_answer_is_closed_in_its_own_time() {
    let server = start(|limits| {
        limits.header_timeout = FOREVER * 3;
        limits.idle_timeout = SHORT;
    })
    .await;
    for request in [HELLO_REQUEST, b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"] {
        let said = server.until_closed(request).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    let server = start(|limits| {
        limits.idle_timeout = SHORT;
        limits.connections_max = 1;
    })
    .await;
    let unread = server.connect(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // Its place is free again for the next one.
    assert!(
        answer(&mut server.connect(HELLO_REQUEST).await)
            .await
            .starts_with("HTTP/1.1 200")
    );
    drop(unread);
}

#[tokio::test]
async fn limits_431_414_413_411() {
    let server = start(|_| ()).await;
    let many = format!(
        "GET /hello HTTP/1.1\r\nhost: x\r\n{}\r\n",
        "a: b\r\n".repeat(HEADERS_MAX + 1)
    );
    assert!(
        server
            .until_closed(many.as_bytes())
            .await
            .starts_with("HTTP/1.1 431")
    );
    let long = format!(
        "GET /hello HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n",
        "b".repeat(2 * HEAD_BYTES_MAX)
    );
    let said = server.until_closed(long.as_bytes()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    let body = "x".repeat(65 * 1024);
    let post = format!(
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let said = server.until_closed(post.as_bytes()).await;
    assert!(
        said.starts_with("HTTP/1.1 413") && said.contains("payload_too_large"),
        "{said}"
    );
}

#[tokio::test]
async fn a_body_declared_too_large_is_413_before_it_comes() {
    let server = start(|limits| limits.body_timeout = FOREVER * 3).await;
    for length in [64 * 1024 + 1, 8 << 20, usize::MAX / 4] {
        let head = format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        let said = server.until_closed(head.as_bytes()).await;
        assert!(
            said.starts_with("HTTP/1.1 413") && said.contains("payload_too_large"),
            "{length}: {said}"
        );
    }
}

#[tokio::test]
async fn a_client_that_sends_all_of_a_body_too_large_sees_why_it_is_refused() {
    let server = start(|limits| limits.body_timeout = FOREVER * 3).await;
    let head =
        "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 8388608\r\n\r\n";
    let said = server
        .until_closed(&[head.as_bytes(), &vec![b' '; 8 << 20]].concat())
        .await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
}

#[tokio::test]
async fn a_body_in_chunks_is_413_as_soon_as_it_is_too_large() {
    let server = start(|limits| limits.body_timeout = FOREVER * 3).await;
    let head = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x1_0000], b"\r\n".to_vec()].concat();
    // Its end never comes.
    let said = server
        .until_closed(&[head.as_bytes(), &chunk, b"1\r\n \r\n"].concat())
        .await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
}

#[tokio::test]
async fn requests_that_wait_for_their_bodies_keep_no_other_waiting() {
    let server = start(|limits| {
        limits.body_timeout = FOREVER * 3;
        limits.requests_max = 1;
    })
    .await;
    let head =
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n\"he";
    let mut unfinished = Vec::new();
    for _ in 0..8 {
        unfinished.push(server.connect(head).await);
    }
    let said = answer(&mut server.connect(HELLO_REQUEST).await).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    // And each is answered once it is whole.
    for mut stream in unfinished {
        stream.write_all(b"llo\"").await.unwrap();
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
}

#[tokio::test]
async fn whoever_asks_for_nothing_gives_way_to_whoever_asks() {
    let server = start(|limits| {
        limits.header_timeout = FOREVER * 3;
        limits.connections_max = 8;
        limits.connections_per_address_max = 8;
    })
    .await;
    let mut held = Vec::new();
    for bytes in [&b""[..], b"GET /hello HTTP/1.1\r\nx: "] {
        for _ in 0..20 {
            held.push(server.connect(bytes).await);
        }
        let said = answer(&mut server.connect(HELLO_REQUEST).await).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }
    for _ in 0..20 {
        let mut kept = server.connect(HELLO_REQUEST).await;
        answer(&mut kept).await;
        held.push(kept);
    }
    let said = answer(&mut server.connect(HELLO_REQUEST).await).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test]
async fn smuggling_corpus() {
    let server = start(|_| ()).await;
    for headers in [
        "content-length: 4\r\ncontent-length: 5",
        "content-length: +4",
        "content-length: 4, 5",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "content-length : 4",
        "x: a\r\n content-length: 4",
        "x\u{0}: y",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n\r\n\"xx\"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n"
        );
        let said = server.until_closed(request.as_bytes()).await;
        assert!(!said.contains("hello"), "{headers:?}: {said}");
        assert!(!said.contains("HTTP/1.1 200"), "{headers:?}: {said}");
    }
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way_and_drops_who_lingers() {
    let server = start(|limits| {
        limits.header_timeout = FOREVER * 2;
        limits.stop_grace = SHORT * 4;
    })
    .await;
    let mut idle = server.connect(HELLO_REQUEST).await;
    answer(&mut idle).await;
    let stuck = server.connect(b"GET /hello HTTP/1.1\r\nx: ").await;
    // Its answer tells that both are accepted by now.
    let mut last = server.connect(HELLO_REQUEST).await;
    answer(&mut last).await;
    let mut under_way = server.connect(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::timeout(FOREVER, server.waiting.clone().wait_for(|waiting| *waiting))
        .await
        .expect("it never came")
        .unwrap();
    server.stop.cancel();
    assert!(answer(&mut under_way).await.starts_with("HTTP/1.1 200"));
    assert_eq!(until_closed(idle).await, "");
    until_closed(stuck).await;
    tokio::time::timeout(FOREVER, server.task)
        .await
        .expect("did not stop")
        .unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

fn get(endpoint: &Endpoint) -> Vec<u8> {
    format!("GET {} HTTP/1.1\r\nhost: x\r\n\r\n", endpoint.template).into_bytes()
}

#[tokio::test]
async fn what_is_at_hand_is_answered_by_the_connections_thread_and_the_rest_elsewhere() {
    let server = start(|_| ()).await;
    let at_hand = answer(&mut server.connect(&get(&AT_HAND)).await).await;
    assert!(at_hand.contains("\"http-"), "{at_hand}");
    let routed = answer(&mut server.connect(&get(&ROUTED)).await).await;
    assert!(!routed.contains("\"http-"), "{routed}");
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_question_with_it() {
    let server = start(|_| ()).await;
    let client = server.connect(&get(&ENDLESS)).await;
    let mut told = server.waiting.clone();
    let mut becomes = async |wanted: bool| {
        tokio::time::timeout(FOREVER, told.wait_for(|waiting| *waiting == wanted))
            .await
            .expect("it stays as it is")
            .unwrap();
    };
    becomes(true).await;
    drop(client);
    becomes(false).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_drops_its_connections() {
    let server = start(|_| ()).await;
    let mut idle = server.connect(HELLO_REQUEST).await;
    answer(&mut idle).await;
    server.task.abort();
    assert_eq!(until_closed(idle).await, "");
}
