//! One restore at a time: a claim on an account that lives as long as the connection of whoever holds it, and leaves
//! nothing behind.
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | a claimant | listens on `_INBOX.chatto-pipes.load` and on a subject of its own below that |
//! | 2 | a claimant | publishes its own subject's last token on `_INBOX.chatto-pipes.load` |
//! | 3 | the holder | answers on that subject: the claim is refused |
//! | 3 | another claimant | answers if its own token is the lower one, and gives way if it is the higher one |
//! | 4 | the server | says that nobody listens: the claim is held, at once |
//!
//! For step 4, the connection does not hear what it publishes itself. A program that listens on everything keeps the
//! server from saying so; then silence for [`SILENCE`] counts.
//!
//! The subjects begin with `_INBOX.`, where every user may listen who can use JetStream at all. Domains of one account
//! are told apart by a further token.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Error, Server};

/// Where claimants meet.
const MEETING: &str = "_INBOX.chatto-pipes.load";

/// How long nobody may answer.
const SILENCE: Duration = Duration::from_secs(2);

/// How long the servers of a cluster may take to hear who listens where.
const HEARD_OF: Duration = Duration::from_millis(500);

/// A claim that is held until this is dropped.
#[derive(Debug)]
pub struct Claim(JoinHandle<()>);

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum NoClaim {
    /// Another program holds it.
    #[error("another restore into this account is under way")]
    Taken,
    /// It cannot be known.
    #[error(transparent)]
    Unknown(#[from] Error),
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Claims the account, whose JetStream is the one of this `domain`.
    ///
    /// # Errors
    /// [`NoClaim::Taken`] where another claim is held.
    pub async fn claim(&self, domain: Option<&str>) -> Result<Claim, NoClaim> {
        let meeting = format!("{MEETING}.{}", domain.unwrap_or("-"));
        let id = self.unique();
        let own = format!("{meeting}.{id}");
        let mut denials = self.watch_for_denials();
        let mut claimants = self.listen(&meeting).await?;
        let mut answers = self.listen(&own).await?;
        self.client.flush().await.map_err(|_| Error::Disconnected)?;
        if self.cluster().is_some() {
            sleep(HEARD_OF).await;
        }
        let sent = self.client.publish_with_reply(meeting.clone(), own, Bytes::from(id.clone())).await;
        sent.map_err(|_| Error::Disconnected)?;
        let deadline = Instant::now() + SILENCE.min(self.timeout);
        loop {
            tokio::select! {
                biased;
                denied = denials.denied(&meeting) => return Err(denied.into()),
                claimant = claimants.next() => {
                    let Some(claimant) = claimant else { return Err(Error::Disconnected.into()) };
                    if claimant.payload < id.as_bytes() {
                        return Err(NoClaim::Taken);
                    }
                    answer(self, claimant).await;
                }
                answer = timeout_at(deadline, answers.next()) => match answer {
                    Ok(Some(answer)) if answer.status != Some(StatusCode::NO_RESPONDERS) => {
                        return Err(NoClaim::Taken);
                    }
                    Ok(None) => return Err(Error::Disconnected.into()),
                    Ok(Some(_)) | Err(_) => break,
                },
            }
        }
        let server = self.clone();
        Ok(Claim(tokio::spawn(async move {
            while let Some(claimant) = claimants.next().await {
                answer(&server, claimant).await;
            }
        })))
    }

    async fn listen(&self, subject: &str) -> Result<Subscriber, Error> {
        let failed =
            |e: async_nats::SubscribeError| Error::Answer { request: subject.into(), what: e.to_string() };
        self.client.subscribe(subject.to_owned()).await.map_err(failed)
    }
}

/// Tells a claimant that there is another.
async fn answer(server: &Server, claimant: async_nats::Message) {
    if let Some(to) = claimant.reply.filter(|to| to.starts_with(MEETING)) {
        // Who cannot be reached any more has gone.
        let _ = server.client.publish(to, Bytes::from_static(b"taken")).await;
    }
}
