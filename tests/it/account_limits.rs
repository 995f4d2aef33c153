//! If the archive shows that a restore would exceed a limit of the account, the load is refused before the first stream.

use crate::support::archive::{entries, pack};
use crate::support::programs::{Finished, program, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, faults};
use anyhow::Result;
use chatto_pipes::jetstream::private_server::{Authorization, Options};

/// A server whose account has these limits.
fn limited(limits: &str) -> Server {
    let extra =
        format!("accounts {{ A {{ jetstream {{ {limits} }}, users: [{{ user: u, password: p }}] }} }}");
    Server::start_with(LATEST, Options { access: Authorization::Open, extra, ..Options::default() })
}

async fn client(server: &Server) -> Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::new().user_and_password("u".into(), "p".into());
    api::connect_with(options, &server.url()).await
}

fn load(server: &Server, arguments: &[&str], archive: &[u8]) -> Finished {
    let mut command = program("chatto-load");
    command.args(["-s", &server.url().replace("//", "//u:p@")]).args(arguments);
    run_with(command, archive)
}

/// Two streams of four MiB and a bucket, and an archive of them.
async fn source() -> Result<(Server, Vec<u8>)> {
    let server = Server::start(LATEST);
    let client = server.client().await?;
    for (seed, name) in [(1, "ONE"), (2, "TWO")] {
        faults::large_stream(&client, server.version(), name, 4, seed).await?;
    }
    faults::small_bucket(&client, server.version(), "SMALL", 1).await?;
    let archive = faults::archive_of(&server);
    Ok((server, archive))
}

async fn equal(source: &Server, destination: &Server, names: &[&str]) -> Result<()> {
    let (a, b) = (source.client().await?, client(destination).await?);
    let differences = equality::differences(&a, &b, |name| names.contains(&name)).await?;
    assert_eq!(differences, [""; 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_size_of_all_streams() -> Result<()> {
    let (source, archive) = source().await?;
    let small = limited("max_file: 6M");
    for arguments in [&[][..], &["-n"], &["--conflict", "overwrite"]] {
        let finished = load(&small, arguments, &archive).expect_code(1);
        for words in [
            "the account may hold 5.7 MiB, and would hold 7.6 MiB after this restore",
            "hint: ",
            "max_file",
            "--stream",
        ] {
            assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
        }
        assert_eq!(api::stream_names(&client(&small).await?).await?, [""; 0]);
    }
    // What is not asked for does not count, and what is replaced makes room.
    load(&small, &["--exclude", "TWO"], &archive).expect_code(0);
    equal(&source, &small, &["ONE", "KV_SMALL"]).await?;
    load(&small, &["--exclude", "TWO", "--conflict", "overwrite"], &archive).expect_code(0);
    equal(&source, &small, &["ONE", "KV_SMALL"]).await?;
    load(&small, &["--conflict", "skip"], &archive).expect_code(1);
    load(&small, &["--conflict", "skip", "--exclude", "TWO"], &archive).expect_code(0);
    // Just enough.
    let enough = limited("max_file: 10M");
    load(&enough, &[], &archive).expect_code(0);
    equal(&source, &enough, &["ONE", "TWO", "KV_SMALL"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_streams() -> Result<()> {
    let (source, archive) = source().await?;
    let two = limited("max_file: 1G, max_streams: 2");
    let finished = load(&two, &[], &archive).expect_code(1);
    for words in ["the account may hold 2 streams, and would hold 3", "hint: ", "max_streams"] {
        assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
    }
    assert_eq!(api::stream_names(&client(&two).await?).await?, [""; 0]);
    load(&two, &["--stream", "ONE"], &archive).expect_code(0);
    load(
        &two,
        &["--conflict", "overwrite", "--stream", "*E*", "--stream", "KV_*", "--exclude", "TWO"],
        &archive,
    )
    .expect_code(0);
    equal(&source, &two, &["ONE", "KV_SMALL"]).await
}

/// An archive without an index shows nothing beforehand: the server refuses what it must, with a hint.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_archive_does_not_show() -> Result<()> {
    let (_source, archive) = source().await?;
    let mut parts = entries(&archive)?;
    parts.retain(|entry| !matches!(entry.path.as_str(), "backup/index.json" | "backup/SHA256SUMS"));
    let two = limited("max_file: 1G, max_streams: 2");
    let finished = load(&two, &[], &pack(&parts)?).expect_code(3);
    for words in ["maximum number of streams reached", "hint: raise the server's or the account's"] {
        assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
    }
    assert_eq!(api::stream_names(&client(&two).await?).await?.len(), 2);
    Ok(())
}
