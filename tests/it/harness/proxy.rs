//! A way to the database that a test can cut: connections end at once, new ones are refused, until it is mended.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;
use url::Url;

/// The way. Cut when dropped.
pub struct Proxy {
    address: SocketAddr,
    target: Arc<str>,
    cut: watch::Sender<bool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of the database of this URL, cut or not.
    pub async fn before(database_url: &str, is_cut: bool) -> Self {
        let url = Url::parse(database_url).unwrap();
        let target: Arc<str> = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap()).into();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cut = watch::Sender::new(is_cut);
        #[expect(clippy::disallowed_methods, reason = "ends with its handle")]
        let accepting = tokio::spawn(accept(listener, Arc::clone(&target), cut.clone()));
        Self {
            address,
            target,
            cut,
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

    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn accept(listener: TcpListener, target: Arc<str>, cut: watch::Sender<bool>) {
    loop {
        let Ok((mut inside, _)) = listener.accept().await else {
            return;
        };
        let mut is_cut = cut.subscribe();
        if *is_cut.borrow() {
            continue; // Dropped: whoever connects finds the connection closed.
        }
        let target = Arc::clone(&target);
        #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
        tokio::spawn(async move {
            let Ok(mut outside) = TcpStream::connect(&*target).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut inside, &mut outside) => {}
                _ = is_cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}
