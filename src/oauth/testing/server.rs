//! A tiny HTTP server that answers by script and remembers what it was asked. One request per connection, one thread per
//! connection: faults are written byte by byte.

use std::{
    collections::{HashMap, VecDeque},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};
use serde_json::Value;

/// What to answer.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Status, header lines, body.
    Whole(u16, Vec<(String, String)>, Vec<u8>),
    /// These bytes as the answer's body, announced as longer, then the connection ends.
    CutAfter(Vec<u8>),
    /// Head and one byte every few milliseconds, for as long as anybody listens.
    Drip,
    /// Body without end.
    Flood,
    /// The connection ends without an answer.
    HangUp,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Whole(status, headers, body.to_string().into_bytes())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Whole(status, Vec::new(), body.as_bytes().to_vec())
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn form(&self) -> HashMap<String, String> {
        url::form_urlencoded::parse(self.body.as_bytes())
            .into_owned()
            .collect()
    }
}

#[derive(Default)]
struct Script {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
}

/// The server; it ends when dropped.
pub(crate) struct Server {
    scheme: &'static str,
    address: SocketAddr,
    script: Arc<Script>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with("http", Ok)
    }

    /// A server with a certificate that nobody signed.
    pub(crate) fn start_tls() -> Self {
        let certificate = include_bytes!("tls_cert.der").as_slice();
        let key = PrivatePkcs8KeyDer::from(include_bytes!("tls_key.der").as_slice());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], key.into())
            .unwrap();
        let config = Arc::new(config);
        Self::start_with("https", move |stream| {
            let connection = ServerConnection::new(config.clone()).map_err(std::io::Error::other)?;
            Ok(StreamOwned::new(connection, stream))
        })
    }

    fn start_with<S: Read + Write>(
        scheme: &'static str,
        accept: impl Fn(TcpStream) -> std::io::Result<S> + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script::default());
        let (ready, started) = mpsc::channel();
        let shared = script.clone();
        thread::spawn(move || {
            ready.send(()).unwrap();
            for stream in listener.incoming() {
                if shared.over.load(Ordering::SeqCst) {
                    return;
                }
                let script = shared.clone();
                let stream = stream.unwrap();
                let accept = accept.clone();
                // A client that leaves is part of many scripts.
                thread::spawn(move || drop(accept(stream).and_then(|stream| serve(stream, &script))));
            }
        });
        started.recv().unwrap();
        Self {
            scheme,
            address,
            script,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Adds an answer for a path; the last one is repeated.
    pub(crate) fn on(&self, path: &str, reply: Reply) -> &Self {
        let mut replies = self.script.replies.lock().unwrap();
        replies.entry(path.to_owned()).or_default().push_back(reply);
        self
    }

    pub(crate) fn was_asked(&self) -> bool {
        !self.script.asked.lock().unwrap().is_empty()
    }

    pub(crate) fn asked(&self, path: &str) -> Vec<Asked> {
        let asked = self.script.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.script.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(mut stream: impl Read + Write, script: &Script) -> std::io::Result<()> {
    let asked = read_request(&mut stream)?;
    let path = asked.path.clone();
    script.asked.lock().unwrap().push(asked);
    let reply = {
        let mut replies = script.replies.lock().unwrap();
        match replies.get_mut(&path) {
            Some(queue) if queue.len() > 1 => queue.pop_front(),
            Some(queue) => queue.front().cloned(),
            None => None,
        }
    };
    match reply.unwrap_or_else(|| Reply::text(404, "")) {
        Reply::Whole(status, headers, body) => {
            let mut head = format!(
                "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n",
                body.len()
            );
            for (name, value) in headers {
                head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
            }
            stream.write_all(format!("{head}\r\n").as_bytes())?;
            stream.write_all(&body)?;
            stream.flush()
        }
        Reply::CutAfter(body) => {
            let head = format!("HTTP/1.1 200 x\r\ncontent-length: {}\r\n\r\n", body.len() + 100);
            stream.write_all(head.as_bytes())?;
            stream.write_all(&body)
        }
        Reply::Drip => {
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 60000\r\n\r\n")?;
            loop {
                stream.write_all(b" ")?;
                thread::sleep(Duration::from_millis(5));
            }
        }
        Reply::Flood => {
            stream.write_all(b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n")?;
            let chunk = [b"1000\r\n", vec![b'x'; 0x1000].as_slice(), b"\r\n"].concat();
            loop {
                stream.write_all(&chunk)?;
            }
        }
        Reply::HangUp => Ok(()),
    }
}

fn read_request(stream: &mut impl Read) -> std::io::Result<Asked> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let method = first.next().unwrap_or_default().to_owned();
    let target = first.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: HashMap<_, _> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Asked {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}
