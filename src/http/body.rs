//! Request bodies: bounded in size and time before anything is parsed, then understood strictly.

use std::{pin::Pin, sync::Arc};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::{
    bounds::admission::{BodyPermit, RequestPermit},
    problem::Problem,
    query::Parameters,
    request_context::RequestHead,
    settings::Limits,
};

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// A body that nobody has read yet. Dropped unread, it is the connection's to deal with.
pub(crate) struct Body {
    chunks: Chunks,
    head: Option<Arc<RequestHead>>,
}

impl Body {
    /// Takes the stream of a route.
    pub(crate) fn new<B: Buf>(stream: impl Stream<Item = Result<B, warp::Error>> + Send + 'static) -> Self {
        let chunks: Chunks =
            Box::pin(stream.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining()))));
        Self { chunks, head: None }
    }

    /// Of this request, which holds nobody up while it waits for the rest of it.
    pub(crate) fn of(self, head: Arc<RequestHead>) -> Self {
        Self {
            head: Some(head),
            ..self
        }
    }

    /// As JSON of this type; unknown fields are for the type to refuse.
    pub(crate) async fn json<T: DeserializeOwned>(
        self,
        headers: &HeaderMap,
        limits: &Limits,
    ) -> Result<T, Problem> {
        expect_type(headers, "application/json")?;
        from_json(&self.read(limits).await?)
    }

    /// The same of a body that may be left out.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(
        self,
        headers: &HeaderMap,
        limits: &Limits,
    ) -> Result<T, Problem> {
        let bytes = self.read(limits).await?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        expect_type(headers, "application/json")?;
        from_json(&bytes)
    }

    /// As a form of one of our pages.
    pub(crate) async fn form(
        self,
        headers: &HeaderMap,
        limits: &Limits,
    ) -> Result<Parameters<'static>, Problem> {
        expect_type(headers, "application/x-www-form-urlencoded")?;
        Parameters::read(&self.read(limits).await?).map(Parameters::into_owned)
    }

    async fn read(self, limits: &Limits) -> Result<Bytes, Problem> {
        let Self { chunks, head } = self;
        let permit = head.as_ref().and_then(|head| head.permit.get());
        let reading = collect(chunks, permit, limits.body_bytes_max);
        let reading = tokio::time::timeout(limits.body_timeout, reading);
        let read = match permit {
            Some(permit) => permit.without_while_client(reading).await?,
            None => reading.await,
        };
        read.map_err(|_elapsed| Problem::BodyTimeout)?
    }
}

async fn collect(mut chunks: Chunks, permit: Option<&RequestPermit>, max: usize) -> Result<Bytes, Problem> {
    let mut all = BytesMut::new();
    let mut room: Option<BodyPermit> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_broken| Problem::invalid("the body broke off"))?;
        if all.len() + chunk.len() > max {
            return Err(Problem::BodyTooLarge { max });
        }
        if let Some(permit) = permit {
            let more = permit.body(chunk.len())?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde_json's words name fields and positions of the caller's own text, nothing of ours.
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::invalid(format!("the body is not as expected: {error}")))
}

fn expect_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given.and_then(|given| given.split(';').next()).map(str::trim);
    if essence.is_some_and(|essence| essence.eq_ignore_ascii_case(expected)) {
        Ok(())
    } else {
        Err(Problem::invalid(format!("the body must come as {expected}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::stream;
    use http::HeaderValue;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: String,
        count: Option<u8>,
    }

    fn headers(content_type: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))])
    }

    fn body(chunks: Vec<Vec<u8>>) -> Body {
        Body::new(stream::iter(
            chunks.into_iter().map(|chunk| Ok(Bytes::from(chunk))),
        ))
    }

    async fn parse(text: &[u8]) -> Result<Sample, Problem> {
        body(vec![text.to_vec()])
            .json(&headers("application/json; charset=utf-8"), &Limits::default())
            .await
    }

    #[tokio::test]
    async fn a_body_is_json_of_exactly_this_type() {
        assert_eq!(parse(br#"{"name":"x"}"#).await.unwrap().name, "x");
        for text in [
            &b""[..],
            b"{",
            b"null",
            b"[]",
            b"{\"name\":1}",
            b"{\"name\":\"x\",\"nam\":1}",
            b"{\"name\":\"x\",\"name\":\"y\"}",
            b"{\"name\":\"x\"}{}",
            b"{\"name\":\"\\ud800\"}",
            b"{\"name\":\"x\",\"count\":300}",
            b"{\"name\":\"\xff\"}",
            b"\0",
        ] {
            let problem = parse(text).await.unwrap_err();
            assert_eq!(problem.status(), 400, "{text:?}");
        }
        let deep = [b"[".repeat(30_000), b"]".repeat(30_000)].concat();
        assert_eq!(parse(&deep).await.unwrap_err().status(), 400);
    }

    #[tokio::test]
    async fn another_content_type_is_refused() {
        for content_type in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
            "",
        ] {
            let problem = body(vec![b"{}".to_vec()])
                .json::<Sample>(&headers(content_type), &Limits::default())
                .await;
            assert_eq!(problem.unwrap_err().status(), 400);
        }
        let missing = body(vec![b"{}".to_vec()])
            .json::<Sample>(&HeaderMap::new(), &Limits::default())
            .await;
        assert_eq!(missing.unwrap_err().status(), 400);
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_while_it_comes() {
        let endless = Body::new(stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 4096]))));
        let problem = endless
            .json::<Sample>(&headers("application/json"), &Limits::default())
            .await
            .unwrap_err();
        assert_eq!(problem, Problem::BodyTooLarge { max: 64 * 1024 });
    }

    #[tokio::test]
    async fn a_dripped_body_runs_out_of_time() {
        let drip = stream::iter([Ok(Bytes::from_static(b"{"))]).chain(stream::pending());
        let limits = Limits {
            body_timeout: Duration::from_millis(10),
            ..Limits::default()
        };
        let problem = Body::new(drip)
            .json::<Sample>(&headers("application/json"), &limits)
            .await;
        assert_eq!(problem.unwrap_err(), Problem::BodyTimeout);
    }
}
