//! Reads the keys of a server, for `export` and `list`. Writes nothing.

use anyhow::Context;
use tokio::signal::unix::SignalKind;

use super::bucket;
use crate::chatto::keys::{BUCKET, KeyRecord};
use crate::cli;
use crate::command::Failure;
use crate::command::offline::{Endpoint, Intent, Signals};
use crate::exit::Exit;
use crate::terminal::Messages;

/// Every key of the server that is not deleted, sorted by ref; or the signal that came meanwhile.
pub(super) fn fetch(
    connect: &cli::ConnectionOptions,
    stopped: &cli::OfflineOptions,
    messages: Messages,
) -> anyhow::Result<Result<Vec<KeyRecord>, SignalKind>> {
    let access = Endpoint::find(stopped, connect, Intent::Read)?;
    access.run(connect, messages, Signals::EndIt, async |reached| {
        let bucket = reached.server.bucket(BUCKET)?;
        reached.require_readable(bucket.stream()).await?;
        let found = bucket::fetch(&bucket).await.context("cannot read the keys")?;
        found.ok_or_else(|| {
            Failure::new(Exit::Failed, format!("there is no bucket {BUCKET}"))
                .hint("is this the right server and account? Chatto makes the bucket when it starts")
                .into()
        })
    })
}
