//! A server that answers every request with what a test says, and counts them: a provider's documents gone wrong.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// `name: value`.
    pub header: Option<String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(body: &serde_json::Value) -> Self {
        Self {
            status: 200,
            header: None,
            body: body.to_string().into_bytes(),
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            header: None,
            body: b"nothing here".to_vec(),
        }
    }
}

/// The server; it ends with the test.
pub struct Pretender {
    pub base_url: String,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<AtomicUsize>,
}

impl Pretender {
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let (reply, asked) = (Arc::new(Mutex::new(reply)), Arc::new(AtomicUsize::new(0)));
        let (said, count) = (Arc::clone(&reply), Arc::clone(&asked));
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let reply = said.lock().unwrap().clone();
                tokio::spawn(answer(stream, reply));
            }
        });
        Self {
            base_url,
            reply,
            asked,
        }
    }

    /// From now on this is answered.
    pub fn says(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn answer(mut stream: TcpStream, reply: Reply) {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&chunk[..read]),
        }
    }
    let header = reply
        .header
        .map(|header| format!("{header}\r\n"))
        .unwrap_or_default();
    let head = format!(
        "HTTP/1.1 {} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{header}connection: close\r\n\r\n",
        reply.status,
        reply.body.len()
    );
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&reply.body).await;
    let _ = stream.shutdown().await;
}
