//! The provider: a token endpoint over a real socket and nothing else, one thread, in a process of its own. It reads what
//! it is sent, never answers before it has all of it, and counts refresh tokens that are presented a second time.

use std::{
    cell::RefCell,
    collections::HashSet,
    fmt::Write as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    rc::Rc,
    time::Duration,
};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::wire;

/// Where refresh tokens stay the same, where each answer brings another one, and where calls are told.
pub const SAFE: &str = "/safe/token";
pub const ROTATING: &str = "/rotating/token";
const TALLY: &str = "/tally";
/// About as long as Google's tokens.
const FILLING: usize = 150;

/// A provider in a process of its own; killed when dropped.
pub struct Provider {
    pub address: SocketAddr,
    pub pid: u32,
    process: Child,
}

/// What it has seen so far.
#[derive(Clone, Copy)]
pub struct Tally {
    /// Refresh tokens presented.
    pub calls: u64,
    /// Of these, ones that had been rotated away.
    pub repeats: u64,
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Provider {
    /// Starts this program again as the provider; its access tokens live this long.
    pub fn start(token_life: Duration) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["provider", &token_life.as_secs().to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().context("its output")?).read_line(&mut line)?;
        Ok(Self {
            address: line.trim().parse()?,
            pid: process.id(),
            process,
        })
    }

    pub fn tally(&self) -> anyhow::Result<Tally> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(
            stream,
            "GET {TALLY} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
        let (calls, repeats) = body.split_once(' ').context("two numbers")?;
        Ok(Tally {
            calls: calls.parse()?,
            repeats: repeats.parse()?,
        })
    }
}

#[derive(Default)]
struct Books {
    calls: u64,
    repeats: u64,
    spent: HashSet<u64>,
}

/// Serves until it is killed; prints where.
pub fn serve(token_life_seconds: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let books = Rc::new(RefCell::new(Books::default()));
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let books = Rc::clone(&books);
            tokio::task::spawn_local(async move {
                // A connection that breaks is its peer's matter.
                let _ = converse(stream, &books, token_life_seconds).await;
            });
        }
    })
}

async fn converse(
    mut stream: tokio::net::TcpStream,
    books: &RefCell<Books>,
    token_life_seconds: u64,
) -> anyhow::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    let mut answer = String::new();
    loop {
        let mut filled = 0;
        let (head, whole) = loop {
            if let Some(found) = wire::whole(&buffer[..filled]) {
                break found;
            }
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
        };
        let request = std::str::from_utf8(&buffer[..whole])?;
        let path = request.split(' ').nth(1).context("a path")?;
        let body = match path {
            TALLY => {
                let books = books.borrow();
                format!("{} {}", books.calls, books.repeats)
            }
            _ => tokens(
                &mut books.borrow_mut(),
                path == ROTATING,
                &request[head..],
                token_life_seconds,
            )?,
        };
        answer.clear();
        write!(
            answer,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        stream.write_all(answer.as_bytes()).await?;
        if path == TALLY {
            return Ok(());
        }
    }
}

fn tokens(books: &mut Books, rotates: bool, form: &str, life_seconds: u64) -> anyhow::Result<String> {
    let presented = form
        .split('&')
        .find_map(|field| field.strip_prefix("refresh_token="))
        .context("a refresh token")?;
    books.calls += 1;
    let number = books.calls;
    let filling = "y".repeat(FILLING);
    let rotated = if rotates {
        let mut hasher = DefaultHasher::new();
        presented.hash(&mut hasher);
        if !books.spent.insert(hasher.finish()) {
            books.repeats += 1;
        }
        format!(",\"refresh_token\":\"refresh-{number:012}-{filling}\"")
    } else {
        String::new()
    };
    Ok(format!(
        "{{\"access_token\":\"access-{number:012}-{filling}\",\"expires_in\":{life_seconds},\
         \"token_type\":\"Bearer\",\"scope\":\"openid\"{rotated}}}"
    ))
}
