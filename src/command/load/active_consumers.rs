//! Finds out whether a Chatto runs at the destination. Only a running Chatto has consumers that somebody waits on. Changes
//! nothing.
//!
//! Chatto must be stopped during a restore. A running Chatto keeps in memory what it has read, and writes to some streams
//! while others are missing. This does not depend on the streams in the archive. So all streams of the account are looked
//! at, and not only those that would be replaced.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::command::Failure;
use crate::exit::Exit;
use crate::jetstream::{Listing, Server};
use crate::names::{Printable, counted};

/// How many streams are asked for their consumers at once.
const AT_ONCE: usize = 16;

/// How many consumers a message names.
const NAMED: usize = 5;

/// Refuses a destination that somebody consumes from.
pub(super) async fn refuse(server: &Server, listing: &Listing) -> anyhow::Result<()> {
    let consumed = listing.streams.iter().filter(|stream| stream.consumers > 0);
    let found: Vec<Vec<String>> = stream::iter(consumed)
        .map(|stream| async move {
            let consumers = server.consumers_in_use(&stream.name).await?;
            let worded =
                consumers.iter().map(|name| format!("{} of stream {}", Printable::new(name), stream.name));
            Ok::<_, crate::jetstream::Error>(worded.collect())
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let found = found.concat();
    if found.is_empty() {
        return Ok(());
    }
    let mut named = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = found.len().checked_sub(NAMED) {
        named += &format!(", and {more} more");
    }
    let what = format!(
        "the destination is in use: clients wait on {}: {named}",
        counted(found.len() as u64, "consumer")
    );
    Err(Failure::new(Exit::Failed, what)
        .hint("stop Chatto, or give --force if you know that nobody minds")
        .into())
}
