//! Lists that the API gives page by page: `{"offset":N}` is answered with `total` and the items from N on.
//!
//! A page of `STREAM.NAMES` has 1,024 items, one of `STREAM.LIST` and `CONSUMER.LIST` 256, and one of subjects 100,000. A
//! list may grow while it is read, and a server may give any `total`, or the same page again. So the items that have come
//! are counted, and that bounds a list. Knows no items.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::api::parsed;
use super::{Error, Server};

/// The most items of one list. The longest, that of the keys of a bucket, has one an encryption key.
pub(super) const MAX_ITEMS: u64 = 200_000;

/// After so long a page is asked for again, while the first request still waits. What a cluster is asked while it
/// elects a leader, it may never answer (seen on 2.14.5).
const AGAIN: Duration = Duration::from_secs(5);

/// The most bytes of all pages of one list, of which one is held at a time.
const MAX_BYTES: u64 = 256 << 20;

/// One page.
pub(super) trait Page: DeserializeOwned {
    /// How many items the server says that the whole list has.
    fn total(&self) -> u64;
    /// How many items this page has.
    fn items(&self) -> usize;
}

impl Server {
    /// Asks for every page of a list and gives each to `take`. `filter` goes into every request.
    pub(super) async fn pages<P: Page>(
        &self,
        request: &str,
        filter: &Map<String, Value>,
        mut take: impl FnMut(P) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut filter = filter.clone();
        let (mut offset, mut bytes) = (0u64, 0u64);
        loop {
            filter.insert("offset".into(), offset.into());
            let body = Value::Object(filter.clone()).to_string();
            let answer = self.page(request, Bytes::from(body)).await?;
            bytes = bytes.saturating_add(answer.len() as u64);
            let page: P = parsed(request, &answer)?;
            drop(answer);
            let (items, total) = (page.items() as u64, page.total());
            offset = offset.saturating_add(items);
            if offset.max(total) > MAX_ITEMS {
                return Err(Error::TooMany { request: request.into(), limit: MAX_ITEMS });
            }
            if bytes > MAX_BYTES {
                return Err(Error::TooLarge { what: format!("the answer to {request}"), limit: MAX_BYTES });
            }
            take(page)?;
            if items == 0 || offset >= total {
                return Ok(());
            }
        }
    }

    /// One page, within the time limit of a request.
    async fn page(&self, request: &str, body: Bytes) -> Result<Bytes, Error> {
        let Some(rest) = self.timeout.checked_sub(AGAIN) else { return self.api(request, body).await };
        let again = async {
            tokio::time::sleep(AGAIN).await;
            self.api_within(request, body.clone(), rest).await
        };
        tokio::select! {
            biased;
            answer = self.api(request, body.clone()) => answer,
            answer = again => answer,
        }
    }
}
