//! A way to the database that a test can cut (connections end at once, new ones are refused, until it is mended) or freeze
//! (nothing comes through, and nobody is told).

use std::{net::SocketAddr, sync::Arc};

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

/// The way. Cut when dropped.
pub struct Proxy {
    address: SocketAddr,
    target: Arc<str>,
    cut: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of the database of this URL, cut or not.
    pub async fn before(database_url: &str, is_cut: bool) -> Self {
        let url = Url::parse(database_url).unwrap();
        let target: Arc<str> = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()).into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, frozen) = (watch::Sender::new(is_cut), watch::Sender::new(false));
        #[expect(clippy::disallowed_methods, reason = "ends with its handle")]
        let accepting = tokio::spawn(accept(listener, Arc::clone(&target), cut.clone(), frozen.clone()));
        Self {
            address,
            target,
            cut,
            frozen,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// The same database by this way.
    pub fn url(&self, database_url: &str) -> String {
        let mut url = Url::parse(database_url).unwrap();
        assert_eq!(
            format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()),
            *self.target
        );
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Keeps every connection and lets nothing through, as a cable that was pulled would.
    pub fn hold(&self) {
        self.frozen.send_replace(true);
    }

    pub fn mend(&self) {
        self.cut.send_replace(false);
        self.frozen.send_replace(false);
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<str>,
    cut: watch::Sender<bool>,
    frozen: watch::Sender<bool>,
) {
    loop {
        let Ok((inside, _)) = listener.accept().await else {
            return;
        };
        let mut is_cut = cut.subscribe();
        if *is_cut.borrow() {
            continue; // Dropped: whoever connects finds the connection closed.
        }
        let target = Arc::clone(&target);
        let (to, fro) = (frozen.subscribe(), frozen.subscribe());
        #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(async move {
            let Ok(outside) = TcpStream::connect(&*target).await else {
                return;
            };
            let ((inside, to_inside), (outside, to_outside)) = (inside.into_split(), outside.into_split());
            tokio::select! {
                () = relay(inside, to_outside, to) => {}
                () = relay(outside, to_inside, fro) => {}
                _ = is_cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}

/// One direction, until one side ends it.
async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let _ = frozen.wait_for(|frozen| !frozen).await;
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
