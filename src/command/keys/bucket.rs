//! The key bucket on a server: reads all keys, and adds keys that are missing. Does not look into a key.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::chatto::keys::{KeyRecord, KeyRef};
use crate::jetstream::{Bucket, Error};

/// Requests under way at once: a server far away answers them all in the time of one.
const AT_ONCE: usize = 32;

/// How often a key is tried if others create and delete it at the same time.
const TRIES: u32 = 5;

/// Every key that is not deleted, sorted by ref; `None` when there is no bucket.
pub(super) async fn fetch(bucket: &Bucket<'_>) -> Result<Option<Vec<KeyRecord>>, Error> {
    let Some(keys) = bucket.keys().await? else { return Ok(None) };
    let entries = stream::iter(keys).map(|key| async {
        let value = bucket.get(&key).await?.and_then(|entry| entry.value);
        Ok(value.map(|value| KeyRecord { key_ref: KeyRef::new(key), value }))
    });
    let found: Vec<Option<KeyRecord>> = entries.buffered(AT_ONCE).try_collect().await?;
    Ok(Some(found.into_iter().flatten().collect()))
}

/// The result for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyOutcome {
    /// It was not there and is now.
    Imported,
    /// It was there, with this value.
    There,
    /// It was there with another value, which it kept.
    Different,
}

/// Adds the keys that are missing, and reports the result of every key to `done`.
///
/// # Errors
/// The first request that failed; some records are in by then, and another run finds them there.
pub(super) async fn add(
    bucket: &Bucket<'_>,
    records: &[KeyRecord],
    mut done: impl FnMut(&KeyRecord, KeyOutcome),
) -> Result<(), Error> {
    let mut outcomes = stream::iter(records)
        .map(|record| async move { Ok((record, create(bucket, record).await?)) })
        .buffered(AT_ONCE);
    while let Some((record, outcome)) = outcomes.try_next().await? {
        done(record, outcome);
    }
    Ok(())
}

/// Reports to `done` what [`add`] would do with every key, and changes nothing.
///
/// # Errors
/// The first request that failed.
pub(super) async fn compare(
    bucket: &Bucket<'_>,
    records: &[KeyRecord],
    mut done: impl FnMut(&KeyRecord, KeyOutcome),
) -> Result<(), Error> {
    let mut outcomes = stream::iter(records)
        .map(|record| async move {
            let found = bucket.get(record.key_ref.as_str()).await?.and_then(|entry| entry.value);
            let outcome = match found {
                None => KeyOutcome::Imported,
                Some(value) if *value == *record.value => KeyOutcome::There,
                Some(_) => KeyOutcome::Different,
            };
            Ok::<_, Error>((record, outcome))
        })
        .buffered(AT_ONCE);
    while let Some((record, outcome)) = outcomes.try_next().await? {
        done(record, outcome);
    }
    Ok(())
}

async fn create(bucket: &Bucket<'_>, record: &KeyRecord) -> Result<KeyOutcome, Error> {
    let key = record.key_ref.as_str();
    let mut after = 0;
    for _ in 0..TRIES {
        if bucket.create(key, &record.value, after).await? {
            return Ok(KeyOutcome::Imported);
        }
        after = match bucket.get(key).await? {
            Some(entry) => match entry.value {
                Some(value) if *value == *record.value => return Ok(KeyOutcome::There),
                Some(_) => return Ok(KeyOutcome::Different),
                None => entry.sequence,
            },
            None => 0,
        };
    }
    // It never stood still: whoever writes it has the word.
    Ok(KeyOutcome::Different)
}
