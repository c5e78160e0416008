//! The program serving, as a process of its own: another node beside the service under test, with a memory, signals and
//! metrics of its own.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use super::{Api, Program, Service, eventually, http_client, program};

/// A process that serves.
pub struct Serving {
    pub child: Child,
    pub base_url: String,
    /// Where its metrics are, if it was told to show them.
    pub metrics_url: Option<String>,
    program: Program,
}

impl Serving {
    /// Another node on the service's database and in front of its simulator, with metrics, ready.
    pub async fn beside(service: &Service) -> Self {
        Self::with(service, |toml| toml).await
    }

    /// The same with its configuration changed.
    pub async fn with(service: &Service, change: impl FnOnce(String) -> String) -> Self {
        let toml = service.toml.replacen(
            "listen = \"127.0.0.1:0\"\n",
            "listen = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n",
            1,
        );
        let serving = Self::start(change(toml)).await;
        eventually("it is ready", || async {
            (serving.get("/ready").await.0 == 200).then_some(())
        })
        .await;
        serving
    }

    /// Starts one; it may not be ready yet.
    pub async fn start(toml: String) -> Self {
        let program = Program::new(&toml);
        let mut child = program::command(&["--config", program.config(), "serve"], program.folder.path())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("its log")).lines();
        let wants_metrics = toml.contains("\nmetrics_listen");
        let (mut address, mut metrics, mut said) = (None, None, Vec::new());
        let starting = async {
            while address.is_none() || (wants_metrics && metrics.is_none()) {
                let Some(line) = lines.next_line().await.unwrap() else {
                    panic!("it ended without listening: {said:#?}");
                };
                said.push(line.clone());
                if line.contains("metrics for operators") {
                    metrics = address_in(&line);
                } else if line.contains("listening") {
                    address = address_in(&line);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), starting)
            .await
            .expect("it listens");
        // Whoever does not read what it says would stop it.
        #[expect(clippy::disallowed_methods, reason = "ends with the process")]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            child,
            base_url: format!("http://{}", address.unwrap()),
            metrics_url: metrics.map(|address| format!("http://{address}/metrics")),
            program,
        }
    }

    /// The host and port it listens on.
    pub fn address(&self) -> &str {
        self.base_url.strip_prefix("http://").unwrap()
    }

    /// The same caller, at this node.
    pub fn as_caller(&self, api: &Api) -> Api {
        Api::new(http_client(), &self.base_url, Some(api.token().to_owned()))
    }

    /// Status and body of a path; status 0: no answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.base_url)).await
    }

    /// What it measures.
    pub async fn scrape(&self) -> Scraped {
        let (status, text) = get(self.metrics_url.as_ref().expect("it was told to")).await;
        assert_eq!(status, 200, "{text}");
        Scraped(text)
    }

    /// Sends a signal.
    pub async fn signal(&self, name: &str) {
        program::signal(&self.child, name).await;
    }

    /// How it ends, within this time.
    pub async fn ended(mut self, within: Duration) -> Option<i32> {
        let status = tokio::time::timeout(within, self.child.wait())
            .await
            .expect("it ends in time")
            .unwrap();
        drop(self.program);
        status.code()
    }
}

fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}

/// Status and body; status 0: no answer.
pub async fn get(url: &str) -> (u16, String) {
    match http_client().get(url).send().await {
        Err(_) => (0, String::new()),
        Ok(response) => (
            response.status().as_u16(),
            response.text().await.unwrap_or_default(),
        ),
    }
}

/// What a process measures, as it says it.
#[derive(Debug)]
pub struct Scraped(pub String);

impl Scraped {
    /// The value of the series with these labels, in any order; `None`: there is no such series.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.0.lines().find_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, of) = series.split_once('{').unwrap_or((series, ""));
            let has = |(label, wanted): &(&str, &str)| of.contains(&format!("{label}=\"{wanted}\""));
            (found == name && labels.iter().all(has)).then(|| value.parse().unwrap())
        })
    }

    /// The names of metrics, without what a histogram adds to them.
    pub fn names(&self) -> std::collections::BTreeSet<String> {
        self.0
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .map(str::to_owned)
            .collect()
    }
}
