//! A lock on an account, so that only one program at a time restores into it. It lives as long as the connection of its
//! holder, and leaves nothing behind. Knows nothing of restores.
//!
//! A contender is a program that wants the lock.
//!
//! | step | who | what |
//! |---|---|---|
//! | 1 | a contender | listens on `_INBOX.chatto-pipes.load` and on its own subject below that |
//! | 2 | a contender | publishes the last token of its own subject on `_INBOX.chatto-pipes.load` |
//! | 3 | the holder | answers on that subject: the lock is refused |
//! | 3 | another contender | answers if its own token is the lower one, and gives up if it is the higher one |
//! | 4 | the server | answers that nobody listens: the contender has the lock at once |
//!
//! For step 4, the connection does not hear what it publishes itself. If some program listens on all subjects, the server
//! does not answer that nobody listens. Then the lock is taken after [`SILENCE`] without an answer.
//!
//! The subjects begin with `_INBOX.`, because every user who can use JetStream may listen there. A further token names the
//! JetStream domain.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Error, Server};

/// The subject where contenders meet.
const MEETING: &str = "_INBOX.chatto-pipes.load";

/// The lock is taken if nobody answers for this time.
const SILENCE: Duration = Duration::from_secs(2);

/// The time in which the servers of a cluster learn who listens where.
const HEARD_OF: Duration = Duration::from_millis(500);

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct AccountLock(JoinHandle<()>);

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another program holds it.
    #[error("another restore into this account is under way")]
    Taken,
    /// It is not known whether another program holds it.
    #[error(transparent)]
    Unknown(#[from] Error),
}

impl Drop for AccountLock {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Locks the account, for the JetStream of this `domain`.
    ///
    /// # Errors
    /// [`LockError::Taken`] if another program holds the lock.
    pub async fn lock_account(&self, domain: Option<&str>) -> Result<AccountLock, LockError> {
        let meeting = format!("{MEETING}.{}", domain.unwrap_or("-"));
        let id = self.unique();
        let own = format!("{meeting}.{id}");
        let mut denials = self.watch_for_denials();
        let mut contenders = self.listen(&meeting).await?;
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
                contender = contenders.next() => {
                    let Some(contender) = contender else { return Err(Error::Disconnected.into()) };
                    if contender.payload < id.as_bytes() {
                        return Err(LockError::Taken);
                    }
                    answer(self, contender).await;
                }
                answer = timeout_at(deadline, answers.next()) => match answer {
                    Ok(Some(answer)) if answer.status != Some(StatusCode::NO_RESPONDERS) => {
                        return Err(LockError::Taken);
                    }
                    Ok(None) => return Err(Error::Disconnected.into()),
                    Ok(Some(_)) | Err(_) => break,
                },
            }
        }
        let server = self.clone();
        Ok(AccountLock(tokio::spawn(async move {
            while let Some(contender) = contenders.next().await {
                answer(&server, contender).await;
            }
        })))
    }

    async fn listen(&self, subject: &str) -> Result<Subscriber, Error> {
        let failed =
            |e: async_nats::SubscribeError| Error::Answer { request: subject.into(), what: e.to_string() };
        self.client.subscribe(subject.to_owned()).await.map_err(failed)
    }
}

/// Tells a contender that the lock is taken.
async fn answer(server: &Server, contender: async_nats::Message) {
    if let Some(to) = contender.reply.filter(|to| to.starts_with(MEETING)) {
        // A contender that cannot be reached has gone.
        let _ = server.client.publish(to, Bytes::from_static(b"taken")).await;
    }
}
