//! Three nats-servers that form a cluster on loopback.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use async_nats::{Client, ConnectOptions};
use chatto_pipes::jetstream::Version;
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use serde_json::{Value as Json, json};

use super::port::Port;
use super::server::{LATEST, Server};
use super::{api, equality};

/// How long an election may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The nodes of a running cluster, which all let the same clients in.
pub struct Cluster {
    /// `n1`, `n2` and `n3`.
    pub nodes: Vec<Server>,
    /// Where they listen for one another.
    _routes: [Port; 3],
}

impl Cluster {
    /// Starts three nodes of a release and waits until they answer as one.
    pub async fn start(release: &str) -> Result<Cluster> {
        Cluster::start_with(release, Authorization::Token("trio".into()), "").await
    }

    /// The same with a system account to steer it by; everybody is let in without credentials.
    pub async fn start_with_system(release: &str) -> Result<Cluster> {
        let accounts = "accounts { $SYS { users: [ { user: system, password: system } ] }, \
                        HOME { jetstream: enabled, users: [ { user: home, password: home } ] } }\n\
                        no_auth_user: home";
        Cluster::start_with(release, Authorization::Open, accounts).await
    }

    async fn start_with(release: &str, access: Authorization, more: &str) -> Result<Cluster> {
        let ports = [0; 3].map(|_| Port::keep());
        let routes = ports.each_ref().map(|port| format!("nats://127.0.0.1:{}", port.number())).join(", ");
        let nodes = ports.iter().enumerate().map(|(n, port)| {
            let listen = format!("127.0.0.1:{}", port.number());
            let extra = format!("cluster {{ name: trio, listen: \"{listen}\", routes: [{routes}] }}\n{more}");
            let (name, access) = (format!("n{}", n + 1), access.clone());
            Server::start_with(release, Options { name, access, extra, ..Options::default() })
        });
        let cluster = Cluster { nodes: nodes.collect(), _routes: ports };
        cluster.settled().await?;
        Ok(cluster)
    }

    /// A connection to the system account, which may ask servers for what is theirs and not an account's.
    pub async fn system(&self) -> Result<Client> {
        let options = ConnectOptions::with_user_and_password("system".into(), "system".into());
        api::connect_with(options, &self.nodes[0].url()).await
    }

    /// The index of the node of this name.
    pub fn index_of(&self, name: &str) -> Result<usize> {
        let number: usize = name.trim_start_matches('n').parse()?;
        number.checked_sub(1).context("nodes are counted from 1")
    }

    /// The index of the node that leads a stream.
    pub async fn leader_of(&self, client: &Client, stream: &str) -> Result<usize> {
        let info = api::stream_info(client, stream).await?;
        self.index_of(info["cluster"]["leader"].as_str().context("no leader")?)
    }

    /// Waits until the server of this client knows that its cluster has no leader. Until then it goes on with what it leads.
    pub async fn knows_no_leader(client: &Client) {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            let ask = api::answer(client, "STREAM.NAMES", json!(null));
            let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
            if answer
                .is_ok_and(|answer| answer.is_ok_and(|json| json["error"]["err_code"] == api::LEADERLESS))
            {
                return;
            }
        }
    }

    /// The index of the node that leads the cluster itself, once it is another than `old`. All are asked, and
    /// whoever answers first may not have heard yet.
    pub async fn meta_leader_after(&self, system: &Client, old: Option<usize>) -> Result<usize> {
        let mut again = tokio::time::interval(Duration::from_millis(50));
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            again.tick().await;
            let answer = system.request("$SYS.REQ.SERVER.PING.JSZ", "".into()).await?;
            let answer: Json = serde_json::from_slice(&answer.payload)?;
            match answer["data"]["meta_cluster"]["leader"].as_str() {
                Some(name) if !name.is_empty() && Some(self.index_of(name)?) != old => {
                    return self.index_of(name);
                }
                _ => {}
            }
        }
        bail!("no leader but {old:?}")
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
                Some(api::LEADERLESS | 10005 | 10023 | 10074) => {}
                Some(_) => bail!("the cluster refuses a stream: {answer}"),
            }
        }
        // A question that is lost in an election is never answered.
        loop {
            let ask = api::answer(&client, "STREAM.DELETE.ELECTED", json!(null));
            if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(2), ask).await
                && (answer["error"].is_null() || answer["error"]["err_code"] == 10059)
            {
                return Ok(());
            }
            again.tick().await;
        }
    }
}

/// Waits until a node tells the same of everything as the source does: in a cluster, streams and consumers
/// have to find their leaders first, who then count.
pub async fn comes_to_equal(source: &Server, node: &Server) -> Result<()> {
    let (a, b) = (source.client().await?, node.client().await?);
    let deadline = Instant::now() + LIMIT;
    let mut again = tokio::time::interval(Duration::from_millis(100));
    loop {
        again.tick().await;
        // What is asked while there is no leader is never answered; where only a stream has none, the list
        // says so after some seconds.
        let listed = tokio::time::timeout(Duration::from_secs(10), api::list(&b, "STREAM.LIST", "streams"));
        let found = match listed.await {
            Ok(Ok(_)) => differences(&a, &b, source.version()).await,
            Ok(Err(e)) => Err(e),
            Err(e) => Err(e.into()),
        };
        match found {
            Ok(found) if found.is_empty() => return Ok(()),
            found if Instant::now() >= deadline => bail!("{}: {found:?}", source.version()),
            _ => {}
        }
    }
}

async fn differences(a: &Client, b: &Client, version: Version) -> Result<Vec<String>> {
    let mut found = equality::differences(a, b, |_| true).await?;
    // In a cluster, 2.15.1 restores consumers as of their acknowledgement floor.
    found.retain(|text| version.to_string() != LATEST || !text.starts_with("LARGE: consumer reader."));
    Ok(found)
}

/// Empties a cluster for the next restore. A stream whose deletion is refused, or not answered, may be deleted all the same.
pub async fn clear(client: &Client) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let names = api::stream_names(client).await?;
        if names.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "these are not deleted: {names:?}");
        for name in names {
            api::asked_again(client, &format!("STREAM.DELETE.{name}")).await?;
        }
    }
}
