//! `chatto-dump | chatto-load`: the streams come out of the pipe as they went in, for both generations of Chatto, on every
//! release.

use std::process::Command;

use crate::support::fixtures::Built;
use crate::support::programs::{Finished, pipeline, program_for};
use crate::support::server::{LATEST, RELEASES, Server};
use crate::support::{archive, equality, fixtures};
use anyhow::Result;

const NOTHING: Vec<String> = Vec::new();

async fn v0_4(release: &str) -> Result<(Server, Built)> {
    let server = Server::start(release);
    let built = fixtures::v0_4(&server.client().await?, server.version(), 1, 400).await?;
    Ok((server, built))
}

async fn v0_0(release: &str) -> Result<(Server, Built)> {
    let server = Server::start(release);
    let built = fixtures::v0_0(&server.client().await?, server.version(), 2, 24).await?;
    Ok((server, built))
}

/// Every program of a pipeline succeeded without a word.
#[track_caller]
fn silent(finished: Vec<Finished>) {
    for finished in finished {
        assert_eq!((finished.stderr.as_str(), finished.code), ("", Some(0)));
    }
}

async fn through_a_pipe((source, built): (Server, Built)) -> Result<()> {
    let release = source.version().to_string();
    let destination = Server::start(&release);

    silent(pipeline([program_for("chatto-dump", &source), program_for("chatto-load", &destination)]));

    let (source, destination) = (source.client().await?, destination.client().await?);
    let found = equality::differences(&source, &destination, |stream| built.is_kept(stream)).await?;
    assert_eq!(found, NOTHING, "{release}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_4_on_2_11() -> Result<()> {
    through_a_pipe(v0_4(RELEASES[0]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_4_on_2_12() -> Result<()> {
    through_a_pipe(v0_4(RELEASES[1]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_4_on_2_14() -> Result<()> {
    through_a_pipe(v0_4(RELEASES[2]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_4_on_2_15() -> Result<()> {
    through_a_pipe(v0_4(RELEASES[3]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_0_on_2_11() -> Result<()> {
    through_a_pipe(v0_0(RELEASES[0]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_0_on_2_12() -> Result<()> {
    through_a_pipe(v0_0(RELEASES[1]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_0_on_2_14() -> Result<()> {
    through_a_pipe(v0_0(RELEASES[2]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn v0_0_on_2_15() -> Result<()> {
    through_a_pipe(v0_0(RELEASES[3]).await?).await
}

/// The way to a newer release, which is also the way to a newer snapshot format.
#[tokio::test(flavor = "multi_thread")]
async fn from_2_14_to_2_15() -> Result<()> {
    let (source, built) = v0_4("2.14.5").await?;
    let destination = Server::start("2.15.1");

    silent(pipeline([program_for("chatto-dump", &source), program_for("chatto-load", &destination)]));

    let (source, destination) = (source.client().await?, destination.client().await?);
    let found = equality::differences(&source, &destination, |stream| built.is_kept(stream)).await?;
    assert_eq!(found, NOTHING);
    Ok(())
}

/// Nobody needs to remember how an archive was wrapped.
#[tokio::test(flavor = "multi_thread")]
async fn gzipped_on_the_way() -> Result<()> {
    let (source, built) = v0_4(LATEST).await?;
    let destination = Server::start(LATEST);

    silent(pipeline([
        program_for("chatto-dump", &source),
        Command::new("gzip"),
        program_for("chatto-load", &destination),
    ]));

    let (source, destination) = (source.client().await?, destination.client().await?);
    let found = equality::differences(&source, &destination, |stream| built.is_kept(stream)).await?;
    assert_eq!(found, NOTHING);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_encryption_keys() -> Result<()> {
    let (source, built) = v0_4(LATEST).await?;
    let destination = Server::start(LATEST);

    let backup = archive::dump(&source, &["--include-keys"]);
    silent(vec![archive::load(&destination, &[], &backup)]);

    let (source, destination) = (source.client().await?, destination.client().await?);
    let kept = |stream: &str| built.is_kept(stream) || stream == "KV_ENCRYPTION_KEYS";
    assert_eq!(equality::differences(&source, &destination, kept).await?, NOTHING);
    Ok(())
}

/// A restore of a restore: nothing wears out.
#[tokio::test(flavor = "multi_thread")]
async fn twice_around() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let (source, built) = v0_4(release).await?;
        let (once, twice) = (Server::start(release), Server::start(release));

        silent(pipeline([program_for("chatto-dump", &source), program_for("chatto-load", &once)]));
        silent(pipeline([program_for("chatto-dump", &once), program_for("chatto-load", &twice)]));

        let (source, twice) = (source.client().await?, twice.client().await?);
        let found = equality::differences(&source, &twice, |stream| built.is_kept(stream)).await?;
        assert_eq!(found, NOTHING, "{release}");
    }
    Ok(())
}
