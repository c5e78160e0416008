//! A load generator that costs little: the same request over and over on connections kept open, each waiting for its
//! answer before it asks again.

use std::{net::SocketAddr, thread, time::Duration};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

const THREADS: usize = 2;

/// What to ask of whom.
pub struct Load {
    address: SocketAddr,
    request: Vec<u8>,
    connections: usize,
    /// Between an answer and the next question of a connection.
    pause: Duration,
}

/// What came of it.
pub struct Measured {
    pub answers: usize,
    pub took: Duration,
    latencies: Vec<u32>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.took.as_secs_f64()
    }

    pub fn quantile(&self, share: f64) -> Duration {
        let index = ((self.latencies.len() - 1) as f64 * share) as usize;
        Duration::from_micros(self.latencies[index].into())
    }
}

impl Load {
    pub fn new(address: SocketAddr, request: Vec<u8>, connections: usize) -> Self {
        Self {
            address,
            request,
            connections,
            pause: Duration::ZERO,
        }
    }

    /// The same at leisure: what is measured then is the answer, and not the queue of a machine that has no time.
    pub fn with_pauses(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Asks for this long.
    pub fn run(&self, span: Duration) -> Measured {
        let mut latencies: Vec<u32> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| self.thread(span))).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        latencies.sort_unstable();
        Measured {
            answers: latencies.len(),
            took: span,
            latencies,
        }
    }

    fn thread(&self, span: Duration) -> Vec<u32> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let until = Instant::now() + span;
            let connections = (0..self.connections / THREADS).map(|_| self.connection(until));
            futures_util::future::join_all(connections).await.concat()
        })
    }

    async fn connection(&self, until: Instant) -> Vec<u32> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut latencies = Vec::with_capacity(1 << 14);
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
            let begun = Instant::now();
            if begun >= until {
                return latencies;
            }
            stream.write_all(&self.request).await.unwrap();
            let mut filled = 0;
            loop {
                let read = stream.read(&mut buffer[filled..]).await.unwrap();
                assert!(read > 0, "the server hung up");
                filled += read;
                if is_whole(&buffer[..filled]) {
                    break;
                }
            }
            latencies.push(u32::try_from(begun.elapsed().as_micros()).unwrap());
        }
    }
}

/// Whether an answer has come in full. Anything but 200 ends the run.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = memmem::find(answer, b"\r\n\r\n") else {
        return false;
    };
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer[..head])
    );
    answer.len() >= head + 4 + content_length(&answer[..head])
}

fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length: ";
    let at = memmem::find(head, NAME).expect("a length");
    let digits = head[at + NAME.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

/// How many bytes one answer's body has.
pub fn body_bytes(address: SocketAddr, request: &[u8]) -> usize {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = vec![0; 16 * 1024];
    let mut filled = 0;
    while !is_whole(&answer[..filled]) {
        filled += stream.read(&mut answer[filled..]).unwrap();
    }
    let head = memmem::find(&answer, b"\r\n\r\n").unwrap();
    content_length(&answer[..head])
}
