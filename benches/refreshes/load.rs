//! Wishes for refreshes that cost little: connections kept open, each wishing for one account's refresh after the other
//! and waiting for the answer. No account is wished for twice.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::Context as _;
use oauth_manager_actors::domain::ids::IntegrationId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use crate::wire;

const THREADS: usize = 2;

/// Whom to ask, and how.
pub struct Load<'a> {
    pub address: SocketAddr,
    pub credential: &'a str,
    pub connections: usize,
}

/// What came of it.
pub struct Measured {
    pub refreshed: usize,
    pub took: Duration,
    micros: Vec<u32>,
}

impl Measured {
    pub fn per_second(&self) -> f64 {
        self.refreshed as f64 / self.took.as_secs_f64()
    }

    pub fn quantile(&self, share: f64) -> Duration {
        let index = ((self.micros.len() - 1) as f64 * share) as usize;
        Duration::from_micros(self.micros[index].into())
    }
}

impl Load<'_> {
    /// Wishes for this long, or until all accounts were refreshed. `ids` are those of seeded users, the n-th of `seed-n`,
    /// from `first` on.
    pub fn run(&self, ids: &[IntegrationId], first: usize, span: Duration) -> anyhow::Result<Measured> {
        let began = Instant::now();
        let until = began + span;
        let mut micros = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| scope.spawn(move || self.thread(ids, first, thread, until)))
                .collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| anyhow::anyhow!("a thread failed"))??);
            }
            anyhow::Ok(all)
        })?;
        let took = began.elapsed();
        micros.sort_unstable();
        anyhow::ensure!(!micros.is_empty(), "nothing was refreshed");
        Ok(Measured {
            refreshed: micros.len(),
            took,
            micros,
        })
    }

    fn thread(
        &self,
        ids: &[IntegrationId],
        first: usize,
        thread: usize,
        until: Instant,
    ) -> anyhow::Result<Vec<u32>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let lanes = (thread..self.connections)
                .step_by(THREADS)
                .map(|lane| self.lane(ids, first, lane, until));
            Ok(futures_util::future::try_join_all(lanes).await?.concat())
        })
    }

    async fn lane(
        &self,
        ids: &[IntegrationId],
        first: usize,
        lane: usize,
        until: Instant,
    ) -> anyhow::Result<Vec<u32>> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut micros = Vec::with_capacity(1 << 12);
        let mut buffer = vec![0; 16 * 1024];
        for (n, id) in ids.iter().enumerate().skip(lane).step_by(self.connections) {
            let begun = Instant::now();
            if begun >= until {
                break;
            }
            let request = format!(
                "POST /api/v1/oauth/integrations/{id}/refresh?user=seed-{} HTTP/1.1\r\nhost: {}\r\n\
                 authorization: Bearer {}\r\ncontent-length: 0\r\n\r\n",
                first + n,
                self.address,
                self.credential
            );
            stream.write_all(request.as_bytes()).await?;
            let mut filled = 0;
            while wire::whole(&buffer[..filled]).is_none() {
                let read = stream.read(&mut buffer[filled..]).await?;
                anyhow::ensure!(read > 0, "the service hung up");
                filled += read;
            }
            let answer = std::str::from_utf8(&buffer[..filled]).context("text")?;
            anyhow::ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            micros.push(u32::try_from(begun.elapsed().as_micros())?);
        }
        Ok(micros)
    }
}
