//! The bare server: the web framework this service uses, a constant JSON body, and nothing else.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use warp::Filter;

/// A bare server in a process of its own.
pub struct Bare {
    pub address: SocketAddr,
    pub pid: u32,
    pub request: Vec<u8>,
    process: Child,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts this program again as the bare server, to be asked with the very headers the service is asked with.
pub fn start(body_bytes: usize, asked_of_service: &[u8]) -> Bare {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["bare", &body_bytes.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address: SocketAddr = line.trim().parse().unwrap();
    let headers = memchr::memmem::find(asked_of_service, b"\r\n").unwrap();
    let request = [b"GET /token HTTP/1.1".as_slice(), &asked_of_service[headers..]].concat();
    Bare {
        address,
        pid: process.id(),
        request,
        process,
    }
}

/// Serves until it is killed; prints where.
pub fn serve(body_bytes: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{}", listener.local_addr().unwrap());
        let body: &'static str = constant(body_bytes).leak();
        let token = warp::path("token").and(warp::get()).map(move || {
            warp::http::Response::builder()
                .header("content-type", "application/json")
                .body(body)
        });
        warp::serve(token).incoming(listener).run().await;
    });
}

fn constant(bytes: usize) -> String {
    let frame = "{\"access_token\":\"\"}".len();
    format!(
        "{{\"access_token\":\"{}\"}}",
        "x".repeat(bytes.saturating_sub(frame))
    )
}
