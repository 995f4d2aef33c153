//! Tests the comparison of two servers: it finds every kind of difference, and none between equal servers.

use crate::support::publish::Publisher;
use crate::support::server::{LATEST, RELEASES, Server};
use crate::support::{api, builder, equality, fixtures};
use anyhow::Result;
use async_nats::Client;
use serde_json::{Value as Json, json};

/// A stopped server with a fixture in it, a running twin of it as the source, and as many more
/// twins as a test asks for.
struct Twins {
    original: Server,
    source: Server,
}

impl Twins {
    async fn new() -> Result<Twins> {
        let mut original = Server::start(LATEST);
        let client = original.client().await?;
        fixtures::v0_4(&client, original.version(), 7, 100).await?;
        original.stop();
        let source = Server::start_twin(LATEST, &original);
        Ok(Twins { original, source })
    }

    /// What is found after `change` was made on a fresh twin.
    async fn after(&self, change: impl AsyncFnOnce(&Client) -> Result<()>) -> Result<Vec<String>> {
        let twin = Server::start_twin(LATEST, &self.original);
        let client = twin.client().await?;
        change(&client).await?;
        equality::differences(&self.source.client().await?, &client, |_| true).await
    }

    /// Asserts that after `change` a difference with each of these beginnings is found.
    async fn expect(
        &self,
        change: impl AsyncFnOnce(&Client) -> Result<()>,
        beginnings: &[&str],
    ) -> Result<()> {
        let found = self.after(change).await?;
        for beginning in beginnings {
            assert!(found.iter().any(|text| text.starts_with(beginning)), "no \"{beginning}\" in {found:#?}");
        }
        Ok(())
    }
}

async fn call(client: &Client, api: &str, body: Json) -> Result<()> {
    api::call(client, api, body).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_nothing_between_twins() -> Result<()> {
    let twins = Twins::new().await?;
    assert_eq!(twins.after(async |_| Ok(())).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_one_change_at_a_time() -> Result<()> {
    let twins = Twins::new().await?;

    let delete = async |c: &Client| call(c, "STREAM.DELETE.NOTIFICATIONS", json!(null)).await;
    twins.expect(delete, &["NOTIFICATIONS: missing at the destination"]).await?;

    let add =
        async |c: &Client| call(c, "STREAM.CREATE.NEW", json!({ "name": "NEW", "subjects": ["new"] })).await;
    twins.expect(add, &["NEW: ought not to be at the destination"]).await?;

    let update = async |c: &Client| {
        let mut config = api::stream_info(c, "EVT").await?["config"].take();
        config["max_msgs"] = json!(1_000_000);
        config["metadata"]["chatto.schema"] = json!("5");
        call(c, "STREAM.UPDATE.EVT", config).await
    };
    let texts =
        ["EVT: config.max_msgs: -1 became 1000000", "EVT: config.metadata.chatto.schema: \"4\" became \"5\""];
    twins.expect(update, &texts).await?;

    let publish = async |c: &Client| {
        let mut publisher = Publisher::new(c).await?;
        publisher.send("evt.one.more", &[], "").await?;
        publisher.settle().await
    };
    let texts = [
        "EVT: state.messages: ",
        "EVT: state.last_seq: ",
        "EVT: state.last_ts: ",
        "EVT: state.bytes: ",
        "EVT: consumer search.num_pending: ",
        "EVT: message 105: ought not to be at the destination",
    ];
    twins.expect(publish, &texts).await?;

    let gap = async |c: &Client| call(c, "STREAM.MSG.DELETE.EVT", json!({ "seq": 60 })).await;
    twins.expect(gap, &["EVT: state.deleted: ", "EVT: message 60: missing at the destination"]).await?;

    let purge = async |c: &Client| call(c, "STREAM.PURGE.EVT", json!({ "seq": 20 })).await;
    twins
        .expect(purge, &["EVT: state.first_seq: ", "EVT: state.first_ts: ", "EVT: message 4: missing"])
        .await?;

    let forget = async |c: &Client| call(c, "CONSUMER.DELETE.EVT.search", json!(null)).await;
    twins.expect(forget, &["EVT: consumer search: missing", "EVT: state.consumer_count: "]).await?;

    let resume = async |c: &Client| call(c, "CONSUMER.PAUSE.EVT.audit", json!({})).await;
    twins.expect(resume, &["EVT: consumer audit.paused: true became false"]).await?;

    let configure = async |c: &Client| {
        let mut config = api::call(c, "CONSUMER.INFO.EVT.search", json!(null)).await?["config"].take();
        config["description"] = json!("finds");
        call(c, "CONSUMER.CREATE.EVT.search", json!({ "stream_name": "EVT", "config": config })).await
    };
    twins.expect(configure, &["EVT: consumer search.config.description: nothing became \"finds\""]).await?;

    let take = async |c: &Client, answer| builder::consume(c, "EVT", "search", 1, |_| answer).await;
    let deliver = async |c: &Client| take(c, None).await;
    let texts = ["EVT: consumer search.delivered.stream_seq: ", "EVT: consumer search.num_ack_pending: "];
    twins.expect(deliver, &texts).await?;

    let acknowledge = async |c: &Client| take(c, Some("+ACK")).await;
    twins.expect(acknowledge, &["EVT: consumer search.ack_floor.stream_seq: "]).await?;

    let refuse = async |c: &Client| {
        take(c, Some("-NAK")).await?;
        take(c, None).await
    };
    twins.expect(refuse, &["EVT: consumer search.num_redelivered: 0 became 1"]).await
}

/// One message each on two servers, at the same sequence: every part of it counts.
#[tokio::test]
async fn it_finds_every_part_of_a_message_that_differs() -> Result<()> {
    let (a, b) = (Server::start(LATEST), Server::start(LATEST));
    let (a, b) = (a.client().await?, b.client().await?);
    for client in [&a, &b] {
        call(client, "STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s.*"] })).await?;
    }
    let put = async |client: &Client, subject: &str, header: &str, payload: &str| -> Result<()> {
        let mut publisher = Publisher::new(client).await?;
        publisher.send(subject, &[("H", header)], payload).await?;
        publisher.settle().await
    };
    for (n, (subject, header, payload)) in
        [("s.a", "1", "x"), ("s.b", "1", "x"), ("s.a", "2", "x"), ("s.a", "1", "y")].into_iter().enumerate()
    {
        put(&a, "s.a", "1", "x").await?;
        put(&b, subject, header, payload).await?;
        let found = equality::differences(&a, &b, |_| true).await?;
        let part = ["time", "subject, time", "headers, time", "payload, time"][n];
        let expected = format!("S: message {}: {part} differ", n + 1);
        assert!(found.contains(&expected), "no \"{expected}\" in {found:#?}");
    }
    Ok(())
}

/// As large as a test makes them; of many differing messages the judge tells some and counts the rest.
#[tokio::test(flavor = "multi_thread")]
async fn it_judges_two_hundred_streams_and_twenty_thousand_messages() -> Result<()> {
    let mut original = Server::start(RELEASES[2]);
    let client = original.client().await?;
    let built = fixtures::v0_0(&client, original.version(), 9, 24).await?;
    let mut publisher = Publisher::new(&client).await?;
    for n in 0..20_000 {
        publisher.send("instance.events.many", &[("N", "1")], format!("{n}")).await?;
    }
    publisher.settle().await?;
    original.stop();
    let (source, twin) =
        (Server::start_twin(RELEASES[2], &original), Server::start_twin(RELEASES[2], &original));
    let (source, twin) = (source.client().await?, twin.client().await?);
    let compared = equality::compare(&source, &twin, |name| built.is_kept(name)).await?;
    let different: Vec<_> = compared.iter().filter(|c| !c.differences.is_empty()).collect();
    // The excluded ones are on both; here they ought not to be.
    assert_eq!(different.len() + built.kept.len(), compared.len(), "{different:#?}");
    assert!(
        compared.len() > 200 && different.iter().all(|c| built.excluded.contains(&c.stream)),
        "{different:#?}"
    );

    call(&twin, "STREAM.PURGE.INSTANCE_EVENTS", json!({ "seq": 15_000 })).await?;
    let found = equality::differences(&source, &twin, |name| built.is_kept(name)).await?;
    assert!(found.iter().any(|text| text.ends_with("more messages differ")), "{found:#?}");
    Ok(())
}
