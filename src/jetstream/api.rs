//! Requests to the JetStream API, and the few answers that this program parses. Knows no Chatto.

use std::time::Duration;

use async_nats::{Message, RequestErrorKind};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};

use super::error::{ApiError, NOT_ENABLED, STREAM_NOT_FOUND};
use super::guard::MAX_ANSWER;
use super::{Error, Replicas, RestoreMarker, Server};
use crate::names::{Printable, StreamName};

/// How long the elections of a cluster may take that has lost a server.
const ELECTIONS: Duration = Duration::from_secs(60);

/// When a request is sent again that nobody may have heard.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(3);

/// The pause after an answer that is no help.
const BREATH: Duration = Duration::from_millis(250);

/// A stream as the server describes it in the answer to an info, create or restore request. Both
/// parts are the server's own text.
#[derive(Debug, Deserialize)]
pub struct StreamReply {
    /// The stream's configuration.
    pub config: Box<RawValue>,
    /// The stream's state.
    pub state: Box<RawValue>,
    /// When it was made, as the server writes it; a restore from a tar leaves it as it was.
    #[serde(default)]
    pub created: Option<String>,
    /// The server's time when it answered.
    #[serde(default)]
    ts: Option<String>,
    /// The servers that keep it.
    #[serde(rename = "cluster", default)]
    pub replicas: Replicas,
}

impl StreamReply {
    /// Whether a cluster keeps the stream, be it on one of its servers.
    pub fn is_in_cluster(&self) -> bool {
        self.replicas.are_in_cluster()
    }

    /// How long ago the stream was made, by the server's clock. None where it does not say.
    pub fn age(&self) -> Option<Duration> {
        let time = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
        Duration::try_from(time(&self.ts)?.duration_since(time(&self.created)?)).ok()
    }
}

/// What became of a stream that was to be deleted if it was ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is not there any more, or never was.
    Gone,
    /// It is not known to be ours, and was left alone.
    NotOurs,
}

#[derive(Deserialize)]
struct ErrorPart {
    error: Option<ApiError>,
}

/// The answer, or the error that it carries.
pub(super) fn checked(request: &str, answer: &[u8]) -> Result<(), Error> {
    match serde_json::from_slice::<ErrorPart>(answer) {
        Ok(ErrorPart { error: None }) => Ok(()),
        Ok(ErrorPart { error: Some(error) }) => Err(Error::Api(error)),
        Err(e) => Err(Error::Answer { request: request.into(), what: e.to_string() }),
    }
}

pub(super) fn parsed<T: for<'a> Deserialize<'a>>(request: &str, answer: &[u8]) -> Result<T, Error> {
    checked(request, answer)?;
    serde_json::from_slice(answer).map_err(|e| Error::Answer { request: request.into(), what: e.to_string() })
}

impl Server {
    /// Sends `body` to `$JS.API.` + `request` and gives the answer's bytes, which hold no `error`.
    pub async fn api(&self, request: &str, body: Bytes) -> Result<Bytes, Error> {
        self.api_within(request, body, self.timeout).await
    }

    /// Like [`Server::api`], with a time limit of its own.
    pub async fn api_within(&self, request: &str, body: Bytes, limit: Duration) -> Result<Bytes, Error> {
        self.api_repeated(request, body, limit, limit).await
    }

    /// The same. A request that is not answered within `each` is sent again. While a cluster elects its leader, a server that
    /// knows of none refuses nearly every request at once. Such a request is sent again too: the requests for which servers
    /// do that may be carried out twice.
    pub(super) async fn api_repeated(
        &self,
        request: &str,
        body: Bytes,
        limit: Duration,
        each: Duration,
    ) -> Result<Bytes, Error> {
        let deadline = Instant::now() + limit;
        let mut refused = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.api_once(request, body.clone(), left.min(each)).await {
                Err(Error::TimedOut { .. }) if left > each => {}
                Err(Error::TimedOut { request, .. }) => {
                    return Err(refused.unwrap_or(Error::TimedOut { request, limit }));
                }
                Err(error) if error.is_leaderless() && Instant::now() + BREATH < deadline => {
                    refused = Some(error);
                    sleep(BREATH).await;
                }
                answer => return answer,
            }
        }
    }

    async fn api_once(&self, request: &str, body: Bytes, limit: Duration) -> Result<Bytes, Error> {
        let message = async_nats::Request::new().payload(body).timeout(Some(limit));
        let subject = format!("{}.{request}", self.api_prefix);
        let answer = self.send(subject, message, request, limit).await?;
        match checked(request, &answer.payload) {
            Err(Error::Api(e)) if NOT_ENABLED.contains(&e.err_code) => {
                Err(self.no_jetstream(Printable::new(&e.description).to_string()))
            }
            other => other.map(|()| answer.payload),
        }
    }

    /// Sends a message that is answered, and gives the answer. `limit` must be that of `message`.
    pub(super) async fn send(
        &self,
        subject: String,
        message: async_nats::Request,
        request: &str,
        limit: Duration,
    ) -> Result<Message, Error> {
        let mut denials = self.watch_for_denials();
        let answer = tokio::select! {
            answer = self.client.send_request(subject.clone(), message) => answer,
            denied = denials.denied(&subject) => return Err(denied),
            alarm = self.guard.alarm() => return Err(alarm),
        };
        if answer.as_ref().is_ok_and(|answer| answer.payload.len() > MAX_ANSWER) {
            let what = format!("the answer to {request}");
            return Err(Error::TooLarge { what, limit: MAX_ANSWER as u64 });
        }
        answer.map_err(|e| match e.kind() {
            RequestErrorKind::NoResponders => self.nobody_answers(),
            RequestErrorKind::TimedOut => Error::TimedOut { request: request.into(), limit },
            _ => Error::Answer { request: request.into(), what: e.to_string() },
        })
    }

    /// Whether the connection still leads to a server: one says at once that nobody listens, or that we may
    /// not ask.
    pub async fn is_there(&self) -> bool {
        let limit = self.timeout;
        let message = async_nats::Request::new().timeout(Some(limit));
        let answer = self.send(self.client.new_inbox(), message, "a question", limit).await;
        !matches!(answer, Err(Error::TimedOut { .. }))
    }

    pub(super) fn nobody_answers(&self) -> Error {
        self.no_jetstream("nobody answers its API".into())
    }

    fn no_jetstream(&self, cause: String) -> Error {
        let (servers, domain) = (self.servers.to_string(), self.domain().map(String::from));
        Error::NoJetStream { servers, domain, cause }
    }

    /// The stream as it is now; `None` when there is none of that name.
    pub async fn stream(&self, name: &StreamName) -> Result<Option<StreamReply>, Error> {
        self.stream_within(name, self.timeout).await
    }

    /// Like [`Server::stream`], with a time limit of its own.
    async fn stream_within(&self, name: &StreamName, limit: Duration) -> Result<Option<StreamReply>, Error> {
        let request = format!("STREAM.INFO.{}", name.as_str());
        match self.api_within(&request, Bytes::new(), limit).await {
            Ok(answer) => parsed(&request, &answer).map(Some),
            Err(Error::Api(e)) if e.err_code == STREAM_NOT_FOUND => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Like [`Server::stream`], for asking again and again: a leader that does not answer is not waited for
    /// for longer than a moment.
    ///
    /// # Errors
    /// As for every request.
    pub async fn glance(&self, name: &StreamName) -> Result<Option<StreamReply>, Error> {
        self.stream_within(name, self.timeout.min(ASK_AGAIN)).await
    }

    /// How long the server may take for anything, as it was asked for.
    pub fn patience(&self) -> Duration {
        self.timeout
    }

    /// How long a request is sent again that fails in a way that may pass.
    fn patience_of_failures(&self) -> Duration {
        match self.cluster() {
            Some(_) => ELECTIONS.max(self.timeout),
            None => self.timeout,
        }
    }

    /// Deletes the stream if it is one of `ours`, and never without having asked. A cluster that has just lost
    /// a server answers nobody until it has elected new leaders, so this asks again for a while.
    ///
    /// A cluster does not show a stream whose snapshot has not come whole, although the name is taken; it is
    /// deleted by the name. So this is for a stream whose restore was begun here.
    ///
    /// # Errors
    /// Where the server does not answer. What is there stays.
    pub async fn remove_if(
        &self,
        name: &StreamName,
        ours: impl Fn(&StreamReply) -> bool,
    ) -> Result<Removal, Error> {
        let deadline = Instant::now() + self.patience_of_failures();
        let request = format!("STREAM.DELETE.{}", name.as_str());
        loop {
            if !self.reconnected().await {
                return Err(Error::Disconnected);
            }
            let removed = match self.glance(name).await {
                Ok(Some(reply)) if !ours(&reply) => return Ok(Removal::NotOurs),
                Ok(None) if self.cluster().is_none() => return Ok(Removal::Gone),
                Ok(_) => self.api_within(&request, Bytes::new(), self.timeout.min(ASK_AGAIN)).await,
                Err(e) => Err(e),
            };
            match removed {
                Ok(_) => return Ok(Removal::Gone),
                Err(Error::Api(e)) if e.err_code == STREAM_NOT_FOUND => return Ok(Removal::Gone),
                Err(e) if e.is_passing() && Instant::now() < deadline => sleep(BREATH).await,
                Err(e) => return Err(e),
            }
        }
    }

    /// A text without dots that nobody else has.
    pub(super) fn unique(&self) -> String {
        let inbox = self.client.new_inbox();
        inbox.rsplit('.').next().unwrap_or(&inbox).to_owned()
    }

    /// A marker that no other run has.
    pub fn new_marker(&self) -> RestoreMarker {
        RestoreMarker::new(&self.unique())
    }

    /// Takes the marker of a restore from the stream, whose configuration is `config` otherwise.
    ///
    /// # Errors
    /// Where the server does not do it, or does not answer.
    pub async fn remove_marker(&self, name: &StreamName, config: &RawValue) -> Result<(), Error> {
        let request = format!("STREAM.UPDATE.{}", name.as_str());
        let wrong = |e: serde_json::Error| Error::Answer { request: request.clone(), what: e.to_string() };
        let body = RestoreMarker::removed(config).map_err(wrong)?.get().to_owned();
        let deadline = Instant::now() + self.patience_of_failures();
        loop {
            if !self.reconnected().await {
                return Err(Error::Disconnected);
            }
            let limit = self.timeout.min(ASK_AGAIN);
            match self.api_within(&request, Bytes::from(body.clone()), limit).await {
                Err(e) if e.is_passing() && Instant::now() < deadline => sleep(BREATH).await,
                Err(e) => return Err(e),
                Ok(answer) => {
                    let reply: StreamReply = parsed(&request, &answer)?;
                    return match RestoreMarker::of(&reply.config) {
                        None => Ok(()),
                        Some(_) => Err(Error::Answer { request, what: "the mark is still there".into() }),
                    };
                }
            }
        }
    }

    /// Removes the stream's messages before the sequence `first`.
    ///
    /// # Errors
    /// Where the server does not do it, or does not answer.
    pub async fn purge_before(&self, name: &StreamName, first: u64) -> Result<(), Error> {
        let request = format!("STREAM.PURGE.{}", name.as_str());
        let body = format!(r#"{{"seq":{first}}}"#);
        self.api(&request, body.into()).await.map(drop)
    }

    /// Deletes the stream with everything in it. One that is not there is as good as deleted.
    pub async fn delete(&self, name: &StreamName) -> Result<(), Error> {
        match self.api(&format!("STREAM.DELETE.{}", name.as_str()), Bytes::new()).await {
            Err(Error::Api(e)) if e.err_code == STREAM_NOT_FOUND => Ok(()),
            other => other.map(drop),
        }
    }
}
