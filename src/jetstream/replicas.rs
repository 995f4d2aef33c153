//! The state of a stream's replicas in a cluster: the `cluster` part of the answer to `STREAM.INFO` (nats-server,
//! `server/stream.go`, `ClusterInfo` and `PeerInfo`), which the stream's leader gives. Waits for nothing.
//!
//! | field | meaning |
//! |---|---|
//! | `name` | the cluster's; absent on a single server |
//! | `leader` | the server that leads; empty or absent while there is none |
//! | `replicas[]` | the other servers that keep the stream |
//! | `.current` | whether it has all that the leader has |
//! | `.lag` | how many operations it is behind |
//! | `.offline` | whether the cluster has lost it |

use serde::Deserialize;

/// A stream's copies as its leader knows them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Replicas {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    leader: String,
    #[serde(default)]
    replicas: Vec<Peer>,
}

#[derive(Clone, Debug, Deserialize)]
struct Peer {
    #[serde(default)]
    current: bool,
    #[serde(default)]
    lag: u64,
    #[serde(default)]
    offline: bool,
}

impl Replicas {
    /// Whether they are those of a cluster.
    pub fn are_in_cluster(&self) -> bool {
        self.name.is_some()
    }

    /// Whether there is a leader.
    pub fn have_leader(&self) -> bool {
        !self.leader.is_empty()
    }

    /// How many servers keep the stream, the leader among them.
    pub fn all(&self) -> u64 {
        (self.replicas.len() as u64).saturating_add(1)
    }

    /// How many of them have all of it.
    pub fn current(&self) -> u64 {
        let others = self.replicas.iter().filter(|peer| peer.current && !peer.offline).count();
        (others as u64).saturating_add(self.have_leader().into())
    }

    /// Whether more than half of them have all of it, so that it outlives the loss of the leader.
    pub fn suffice(&self) -> bool {
        self.current() > self.all() / 2
    }

    /// Whether those that lack something cannot be reached, so that waiting is no use.
    pub fn rest_is_offline(&self) -> bool {
        self.have_leader() && self.replicas.iter().all(|peer| peer.current || peer.offline)
    }

    /// How many operations they are behind in all.
    pub fn lag(&self) -> u64 {
        self.replicas.iter().map(|peer| peer.lag).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(json: &str) -> Replicas {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_majority_with_everything_suffices() {
        let caught_up = r#"{"leader":"n1","replicas":[{"name":"n2","current":true},{"current":true}]}"#;
        let one_behind =
            r#"{"leader":"n1","replicas":[{"current":true,"active":7},{"current":false,"lag":9}]}"#;
        let alone =
            r#"{"leader":"n1","replicas":[{"current":false,"lag":3},{"current":true,"offline":true}]}"#;
        let lost = r#"{"replicas":[{"current":true},{"current":true},{"current":true}]}"#;
        let told = [caught_up, one_behind, alone, lost].map(|json| {
            let replicas = replicas(json);
            (
                replicas.current(),
                replicas.all(),
                replicas.suffice(),
                replicas.rest_is_offline(),
                replicas.lag(),
            )
        });
        assert_eq!(told[0], (3, 3, true, true, 0));
        assert_eq!(told[1], (2, 3, true, false, 9));
        assert_eq!(told[2], (1, 3, false, false, 3));
        assert!(!replicas(lost).have_leader() && !told[3].3);
    }
}
