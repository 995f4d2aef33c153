//! Consumers that a snapshot leaves out.
//!
//! A server puts into a snapshot the consumers that it keeps itself, in files. Of a stream with replicas
//! other servers may keep some, with fewer replicas, and no snapshot has those (nats-server, issue 7829);
//! nor those in memory before 2.15. So the snapshot's consumers are held against the server's list, by name.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::jetstream::{Error, Server};
use crate::names::StreamName;
use crate::snapshot::Contents;

/// More than the clocks of two servers of one cluster differ, and than a server takes to begin a snapshot: a
/// consumer that is only so much older than the snapshot may have come after it.
const YOUNG: Duration = Duration::from_secs(2);

/// Consumers that existed when the snapshot began, exist still, and are not in it; by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Those that only go when somebody deletes them.
    pub lasting: Vec<String>,
    /// Those that would have gone by themselves.
    pub ephemeral: Vec<String>,
}

/// Finds them. `promised` is how many consumers the server spoke of when the snapshot began, at `begun`. No
/// request is made where that settles it.
pub(super) async fn left_out(
    server: &Server,
    stream: &StreamName,
    contents: &Contents,
    promised: u64,
    begun: Instant,
) -> Result<LeftOut, Error> {
    // In a cluster a server counts those that it keeps itself.
    if contents.consumers == promised && !server.may_be_in_cluster() {
        return Ok(LeftOut::default());
    }
    let Some(names) = &contents.names else {
        let what = "the snapshot has too many consumers to be compared".into();
        return Err(Error::Answer { request: "CONSUMER.LIST".into(), what });
    };
    let listed = server.consumers(stream).await?;
    let held: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let young = begun.elapsed() + YOUNG;
    let mut left_out = LeftOut::default();
    for consumer in listed {
        if held.contains(consumer.name.as_str()) || consumer.age.is_some_and(|age| age < young) {
            continue;
        }
        match consumer.is_ephemeral {
            true => left_out.ephemeral.push(consumer.name),
            false => left_out.lasting.push(consumer.name),
        }
    }
    Ok(left_out)
}
