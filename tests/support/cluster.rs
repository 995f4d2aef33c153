//! Three nats-servers that form a cluster on loopback.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Result, bail};
use chatto_pipes::jetstream::private_server::{Access, Options};
use serde_json::json;

use super::api;
use super::server::Server;

/// How long an election may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The nodes of a running cluster, all with the same token.
pub struct Cluster {
    /// `n1`, `n2` and `n3`.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Starts three nodes of a release and waits until they answer as one.
    pub async fn start(release: &str) -> Result<Cluster> {
        // Held until the ports of all three are known, so that they differ.
        let listeners = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        let routes = ports.map(|port| format!("nats://127.0.0.1:{port}")).join(", ");
        let nodes = ports.iter().enumerate().map(|(n, port)| {
            let extra = format!("cluster {{ name: trio, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}");
            let access = Access::Token("trio".into());
            Server::start_with(
                release,
                Options { name: format!("n{}", n + 1), access, extra, ..Options::default() },
            )
        });
        let cluster = Cluster { nodes: nodes.collect() };
        cluster.settled().await?;
        Ok(cluster)
    }

    /// Waits until all nodes answer as one, after a start or a loss.
    pub async fn settled(&self) -> Result<()> {
        tokio::time::timeout(LIMIT, self.elected()).await?
    }

    /// Waits until a stream with three replicas can be created. Elections announce themselves only
    /// to the system account, so this asks until the answer is yes.
    async fn elected(&self) -> Result<()> {
        let client = self.nodes[0].client().await?;
        let config = json!({ "name": "ELECTED", "subjects": ["elected"], "num_replicas": 3 });
        let mut again = tokio::time::interval(Duration::from_millis(50));
        loop {
            again.tick().await;
            let ask = api::answer(&client, "STREAM.CREATE.ELECTED", config.clone());
            let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(2), ask).await else { continue };
            match answer["error"]["err_code"].as_u64() {
                None => break,
                // No leader yet, or peers that are not known yet.
                Some(10008 | 10005 | 10023 | 10074) => {}
                Some(_) => bail!("the cluster refuses a stream: {answer}"),
            }
        }
        api::call(&client, "STREAM.DELETE.ELECTED", json!(null)).await?;
        Ok(())
    }
}
