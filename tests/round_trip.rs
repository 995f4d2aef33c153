//! The promise of the whole: what `chatto-dump | chatto-load` brings over is equal, for both
//! generations of Chatto, on every release.

mod support;

use anyhow::Result;
use async_nats::Client;
use support::fixtures::Built;
use support::programs::{pipeline, program_for};
use support::server::{RELEASES, Server};
use support::{equality, fixtures};

/// Fills a server with `build`, pipes it into an empty one, and compares.
async fn round_trip(release: &str, build: impl AsyncFnOnce(&Client, &Server) -> Result<Built>) -> Result<()> {
    let (source, destination) = (Server::start(release), Server::start(release));
    let client = source.client().await?;
    let built = build(&client, &source).await?;
    for finished in pipeline([program_for("chatto-dump", &source), program_for("chatto-load", &destination)])
    {
        let finished = finished.expect_code(0);
        assert_eq!(finished.stderr, "", "success is silent");
    }
    let differences =
        equality::differences(&client, &destination.client().await?, |name| built.is_kept(name)).await?;
    assert_eq!(differences, Vec::<String>::new(), "{release}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chatto_of_today_comes_back_equal() -> Result<()> {
    for release in RELEASES {
        round_trip(release, async |client, server| fixtures::v0_4(client, server.version(), 1, 800).await)
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chatto_of_v0_0_with_dozens_of_spaces_comes_back_equal() -> Result<()> {
    for release in RELEASES {
        round_trip(release, async |client, server| fixtures::v0_0(client, server.version(), 2, 24).await)
            .await?;
    }
    Ok(())
}
