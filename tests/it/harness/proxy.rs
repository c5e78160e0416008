//! A way to the database that a test can cut, hold up and make deaf, and that can lead to another server.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// How a session says that it wants to hear of changes.
const LISTEN: &[u8] = b"LISTEN ";

/// The way. Cut when dropped.
pub struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<String>>,
    state: watch::Sender<State>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    way: Way,
    /// Whether connections that listen for notifications are closed.
    deaf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections end at once, new ones are refused.
    Cut,
    /// Connections stand, and nothing gets through either way: the peer has gone without a word.
    Held,
    /// What is asked gets through, what is answered does not, until the way is open again.
    AnswersHeld,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    FromServer,
}

impl State {
    fn holds(self, direction: Direction) -> bool {
        match self.way {
            Way::Open | Way::Cut => false,
            Way::Held => true,
            Way::AnswersHeld => direction == Direction::FromServer,
        }
    }
}

impl Proxy {
    /// In front of the database of this URL, cut or not.
    pub async fn before(database_url: &str, is_cut: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = if is_cut { Way::Cut } else { Way::Open };
        let state = watch::Sender::new(State { way, deaf: false });
        let target = Arc::new(Mutex::new(server_of(database_url)));
        #[expect(clippy::disallowed_methods, reason = "ends with its handle")]
        let accepting = tokio::spawn(accept(listener, Arc::clone(&target), state.clone()));
        Self {
            address,
            target,
            state,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// The same database by this way.
    pub fn url(&self, database_url: &str) -> String {
        let mut url = Url::parse(database_url).unwrap();
        assert_eq!(server_of(database_url), *self.target.lock().unwrap());
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }

    /// New connections go to the server of this URL: it has come back at another address.
    pub fn lead_to(&self, database_url: &str) {
        *self.target.lock().unwrap() = server_of(database_url);
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        self.set_way(Way::Cut);
    }

    /// Lets nothing through any more and tells nobody.
    pub fn hold(&self) {
        self.set_way(Way::Held);
    }

    /// Lets questions through and keeps the answers.
    pub fn hold_answers(&self) {
        self.set_way(Way::AnswersHeld);
    }

    /// Opens the way again; what was held goes on.
    pub fn mend(&self) {
        self.set_way(Way::Open);
    }

    /// Whoever listens for notifications is cut off, now and whenever it tries again.
    pub fn deafen(&self) {
        self.state.send_modify(|state| state.deaf = true);
    }

    fn set_way(&self, way: Way) {
        self.state.send_modify(|state| state.way = way);
    }
}

fn server_of(database_url: &str) -> String {
    let url = Url::parse(database_url).unwrap();
    format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())
}

async fn accept(listener: TcpListener, target: Arc<Mutex<String>>, state: watch::Sender<State>) {
    loop {
        let Ok((inside, _)) = listener.accept().await else {
            return;
        };
        if state.borrow().way == Way::Cut {
            continue; // Dropped: whoever connects finds the connection closed.
        }
        let (target, state) = (target.lock().unwrap().clone(), state.subscribe());
        #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(async move {
            if let Ok(outside) = TcpStream::connect(target).await {
                carry(inside, outside, state).await;
            }
        });
    }
}

async fn carry(inside: TcpStream, outside: TcpStream, state: watch::Receiver<State>) {
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    let listens = AtomicBool::new(false);
    let (from_client, to_client) = inside.into_split();
    let (from_server, to_server) = outside.into_split();
    let mut ending = state.clone();
    tokio::select! {
        _ = pump(from_client, to_server, state.clone(), Direction::ToServer, &listens) => {}
        _ = pump(from_server, to_client, state, Direction::FromServer, &listens) => {}
        _ = ending.wait_for(|state| {
            state.way == Way::Cut || state.deaf && listens.load(Ordering::Relaxed)
        }) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    direction: Direction,
    listens: &AtomicBool,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let said = &buffer[..length];
        if direction == Direction::ToServer && said.windows(LISTEN.len()).any(|word| word == LISTEN) {
            listens.store(true, Ordering::Relaxed);
            if state.borrow().deaf {
                return Ok(());
            }
        }
        if state.wait_for(|state| !state.holds(direction)).await.is_err() {
            return Ok(());
        }
        to.write_all(said).await?;
    }
}
