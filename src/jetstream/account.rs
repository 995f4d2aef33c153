//! The limits of an account, and how much of them it uses: the answer to `INFO` (nats-server, `server/jetstream.go`,
//! `JetStreamAccountStats`). Decides nothing.
//!
//! | field | meaning |
//! |---|---|
//! | `storage`, `memory` | bytes in use, every replica counted |
//! | `streams` | how many there are |
//! | `limits.max_storage`, `.max_memory` | the most bytes; negative for no limit |
//! | `limits.max_streams` | the most streams; 0 or negative for no limit |
//! | `tiers.R1`, `.R3` … | the same for streams of so many replicas, where each has limits of its own; those are for one replica's bytes |

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::api::{ASK_AGAIN, parsed};
use super::{Error, Server};

/// An account's limits and what it uses of them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Account {
    #[serde(flatten)]
    whole: Usage,
    #[serde(default)]
    tiers: BTreeMap<String, Usage>,
    /// The domain of the servers that keep the streams, where it has a name.
    #[serde(default)]
    pub domain: Option<String>,
}

/// What streams use, and may use.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Usage {
    /// Bytes in files, every replica counted.
    #[serde(default)]
    pub storage: u64,
    /// Bytes in memory, every replica counted.
    #[serde(default)]
    pub memory: u64,
    /// The number of streams.
    #[serde(default)]
    pub streams: u64,
    #[serde(default)]
    limits: Limits,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
struct Limits {
    max_storage: i64,
    max_memory: i64,
    max_streams: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_storage: -1, max_memory: -1, max_streams: -1 }
    }
}

impl Account {
    /// Whether streams of each number of replicas have limits of their own.
    pub fn has_tiers(&self) -> bool {
        !self.tiers.is_empty()
    }

    /// What counts for streams with this number of replicas, and by how much its limits of bytes are to be
    /// multiplied; `None` where the account has limits for other numbers only.
    pub fn of(&self, replicas: u32) -> Option<(&Usage, u32)> {
        match self.has_tiers() {
            true => self.tiers.get(&format!("R{replicas}")).map(|tier| (tier, replicas)),
            false => Some((&self.whole, 1)),
        }
    }
}

impl Usage {
    /// The most bytes in files.
    pub fn max_storage(&self) -> Option<u64> {
        u64::try_from(self.limits.max_storage).ok()
    }

    /// The most bytes in memory.
    pub fn max_memory(&self) -> Option<u64> {
        u64::try_from(self.limits.max_memory).ok()
    }

    /// The most streams.
    pub fn max_streams(&self) -> Option<u64> {
        u64::try_from(self.limits.max_streams).ok().filter(|most| *most > 0)
    }
}

impl Server {
    /// What the account may hold and what it holds now.
    ///
    /// # Errors
    /// [`Error::NoJetStream`] where it may hold nothing at all, and what goes for every request.
    pub async fn account(&self) -> Result<Account, Error> {
        // In a cluster the leader answers. While there is none, a server refuses the question, or nobody hears it.
        parsed("INFO", &self.api_repeated("INFO", Bytes::new(), self.timeout, ASK_AGAIN).await?)
    }
}
