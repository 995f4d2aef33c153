//! NATS's own command line tool restores our archives, and we read its backups. The tests run the real tool, which
//! `scripts/get-nats` gets.

// A failed expectation in a helper is a failed test.
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::archive::{dump, load};
use crate::support::captures::{self, Shape};
use crate::support::nats::nats;
use crate::support::programs::{Finished, program, refused, run, run_with};
use crate::support::publish::Publisher;
use crate::support::server::Server;
use crate::support::{api, equality, fixtures};
use anyhow::{Result, ensure};
use serde_json::json;

/// What `tar` leaves in `dir` of an archive: the directory of its streams.
fn extracted(archive: &[u8], dir: &Path) -> PathBuf {
    let mut tar = Command::new("tar");
    tar.args(["-x", "-C"]).arg(dir);
    run_with(tar, archive).expect_code(0);
    dir.join("backup/streams")
}

fn restore(server: &Server, streams: &Path) -> Finished {
    let mut nats = nats(server);
    nats.args(["backup", "restore", "account"]).arg(streams);
    run(nats)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_restores_the_streams_of_an_archive_and_backs_up_what_an_archive_is_made_of() -> Result<()> {
    for release in ["2.14.5", "2.15.1"] {
        let source = Server::start(release);
        let built = fixtures::v0_4(&source.client().await?, source.version(), 8, 100).await?;
        let dir = tempfile::tempdir()?;
        let archive = dump(&source, &[]);
        let destination = Server::start(release);
        restore(&destination, &extracted(&archive, dir.path())).expect_code(0);
        let clients = (source.client().await?, destination.client().await?);
        let found = equality::differences(&clients.0, &clients.1, |stream| built.is_kept(stream)).await?;
        ensure!(found.is_empty(), "{release}: {found:#?}");

        // And the other way: what the tool backs up there is, stream by stream, what the archive has.
        let mut backup = nats(&destination);
        backup.args(["backup", "account", "--force"]).arg(dir.path().join("account"));
        run(backup).expect_code(0);
        let mut tar = Command::new("tar");
        tar.args(["-cf", "account.tar", "account"]).current_dir(dir.path());
        run(tar).expect_code(0);
        let file = |name: &str| dir.path().join(name);
        std::fs::write(file("backup.tar"), &archive)?;
        let mut import = program("chatto-manifest");
        import.arg("import").arg(file("account.tar"));
        std::fs::write(file("imported.tar"), run(import).expect_code(0).stdout)?;
        for other in ["account.tar", "imported.tar"] {
            let mut diff = program("chatto-manifest");
            diff.arg("diff").args([file("backup.tar"), file(other)]);
            let differences = String::from_utf8(run(diff).stdout)?;
            let differences: Vec<_> =
                differences.lines().filter(|line| !line.contains(": consumers: ")).collect();
            ensure!(differences.is_empty(), "{release}, {other}: {differences:#?}");
        }
    }
    Ok(())
}

/// A stream in parts is not what the tool reads: it says so, and the page says what to do.
#[tokio::test(flavor = "multi_thread")]
async fn it_reads_a_stream_in_parts_once_it_was_joined() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let archive = captures::archive("2.14.5", Shape::Parts);
    let destination = Server::start("2.14.5");
    refused(restore(&destination, &extracted(&archive, dir.path())), 1, &["expected backup.json"]);
    let client = destination.client().await?;
    ensure!(!api::stream_names(&client).await?.contains(&"EVT".to_owned()));
    let file = dir.path().join("backup.tar");
    std::fs::write(&file, &archive)?;
    let mut join = program("chatto-manifest");
    join.arg("join").arg(&file);
    let joined = run(join).expect_code(0).stdout;
    let again = tempfile::tempdir()?;
    let destination = Server::start("2.14.5");
    restore(&destination, &extracted(&joined, again.path())).expect_code(0);
    let evt = api::stream_info(&destination.client().await?, "EVT").await?;
    ensure!(evt["state"]["messages"] == 47 && evt["state"]["consumer_count"] == 2, "{evt}");
    Ok(())
}

/// An edited archive is one like any other.
#[tokio::test(flavor = "multi_thread")]
async fn it_restores_what_was_edited() -> Result<()> {
    for release in ["2.14.5", "2.15.1"] {
        let source = Server::start(release);
        fixtures::v0_4(&source.client().await?, source.version(), 9, 100).await?;
        let mut edit = program("chatto-manifest");
        edit.args(["edit", "--rename", "EVT=OLD", "--subject", "evt=old", "--last-seq", "50"]);
        let edited = run_with(edit, dump(&source, &[])).expect_code(0).stdout;
        let dir = tempfile::tempdir()?;
        let destination = Server::start(release);
        let streams = extracted(&edited, dir.path());
        restore(&destination, &streams).expect_code(0);
        // Again through our own program: the same.
        let other = Server::start(release);
        load(&other, &[], &edited).expect_code(0);
        let clients = (other.client().await?, destination.client().await?);
        let found = equality::differences(&clients.0, &clients.1, |_| true).await?;
        ensure!(found.is_empty(), "{release}: {found:#?}");
        let old = api::stream_info(&clients.1, "OLD").await?;
        ensure!(
            old["state"]["last_seq"].as_u64() > Some(50) && old["config"]["subjects"][0] == "old.>",
            "{old}"
        );
    }
    Ok(())
}

/// What has no state in its description is whole all the same.
#[tokio::test(flavor = "multi_thread")]
async fn it_restores_an_rsyncable_archive() -> Result<()> {
    let source = Server::start("2.15.1");
    let client = source.client().await?;
    let config = json!({ "name": "EVT", "subjects": ["evt.>"] });
    api::call(&client, "STREAM.CREATE.EVT", config).await?;
    let mut publisher = Publisher::new(&client).await?;
    for n in 0..30 {
        publisher.send(&format!("evt.{n}"), &[], vec![n; 100_000]).await?;
    }
    publisher.settle().await?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("backup.tar");
    std::fs::write(&file, dump(&source, &["--rsyncable", "--buffer", "8M"]))?;
    let mut join = program("chatto-manifest");
    join.arg("join").arg(&file);
    let joined = run(join).expect_code(0).stdout;
    for release in ["2.14.5", "2.15.1"] {
        let again = tempfile::tempdir()?;
        let destination = Server::start(release);
        restore(&destination, &extracted(&joined, again.path())).expect_code(0);
        let found = equality::differences(&client, &destination.client().await?, |_| true).await?;
        ensure!(found.is_empty(), "{release}: {found:#?}");
    }
    Ok(())
}
