//! The fixtures can be built on every release, and hold what their comments say.

use crate::support::server::{RELEASES, Server};
use crate::support::{api, fixtures};
use anyhow::Result;
use chatto_pipes::jetstream::Version;
use serde_json::Value as Json;

/// The error code of a sequence that holds no message.
const NO_MESSAGE: u64 = 10037;

#[tokio::test(flavor = "multi_thread")]
async fn both_generations_are_built_on_every_release() -> Result<()> {
    for release in ["2.10.26"].iter().chain(&RELEASES) {
        let server = Server::start(release);
        let client = server.client().await?;
        let built = fixtures::v0_4(&client, server.version(), 4, 200).await?;
        let mut names = api::stream_names(&client).await?;
        let mut ours = [built.kept, built.excluded].concat();
        names.sort();
        ours.sort();
        assert_eq!(names, ours, "{release}");

        let evt = api::stream_info(&client, "EVT").await?;
        assert!(evt["state"]["first_seq"].as_u64() > Some(1), "{release}: {evt}");
        assert!(evt["state"]["num_deleted"].as_u64() > Some(5), "{release}: {evt}");
        assert_eq!(
            evt["config"]["allow_atomic"] == true,
            server.version() >= Version(2, 12, 0),
            "{release}: {evt}"
        );
        let projector = api::call(&client, "CONSUMER.INFO.EVT.projector", Json::Null).await?;
        assert_eq!(projector["num_ack_pending"], 19, "{release}: {projector}");
        assert_eq!(projector["num_redelivered"], 5, "{release}: {projector}");

        let server = Server::start(release);
        let client = server.client().await?;
        let built = fixtures::v0_0(&client, server.version(), 5, 4).await?;
        assert_eq!(built.kept.len(), 6 + 4 * 8, "{release}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_seed_gives_the_same_messages() -> Result<()> {
    let mut payloads = Vec::new();
    for seed in [4, 4, 5] {
        let server = Server::start(RELEASES[0]);
        let client = server.client().await?;
        fixtures::v0_4(&client, server.version(), seed, 100).await?;
        let mut messages = Vec::new();
        for sequence in 1..100 {
            let asked = serde_json::json!({ "seq": sequence });
            let answer = api::answer(&client, "STREAM.MSG.GET.EVT", asked).await?;
            if answer["error"]["err_code"] != NO_MESSAGE {
                messages.push((answer["message"]["subject"].clone(), answer["message"]["data"].clone()));
            }
        }
        assert!(messages.len() > 50);
        payloads.push(messages);
    }
    assert_eq!(payloads[0], payloads[1]);
    assert_ne!(payloads[0], payloads[2]);
    Ok(())
}
