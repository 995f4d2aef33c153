//! `chatto-dump --rsyncable`: unchanged data is the same bytes in every archive, so a program that stores the same data only
//! once stores little. The archive is as good as any other.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::archive::{dump, entries, load};
use crate::support::fixtures::Built;
use crate::support::measure::{Used, measured};
use crate::support::programs::{finish, program, program_for, run, run_with, spawn};
use crate::support::publish::Publisher;
use crate::support::random::Random;
use crate::support::server::Server;
use crate::support::{api, equality, fixtures};

/// Releases whose snapshots are a tar, and NATSARC1.
const FORMATS: [&str; 2] = ["2.14.5", "2.15.1"];

/// As small as may be, so that streams come in parts that would come in one piece.
const RSYNCABLE: [&str; 3] = ["--rsyncable", "--buffer", "8M"];

/// Appends `count` events like Chatto's, whose text is encrypted.
async fn events(server: &Server, seed: u64, count: usize) -> Result<()> {
    let client = server.client().await?;
    let mut publisher = Publisher::new(&client).await?;
    let mut random = Random::new(seed);
    for _ in 0..count {
        let (room, id, len) = (random.below(500), random.id(22), 1_500 + random.below(1_000));
        publisher
            .send(&format!("evt.room{room}.message"), &[("Nats-Msg-Id", &id)], random.bytes(len))
            .await?;
    }
    publisher.settle().await
}

async fn server_with_events(release: &str, count: usize) -> Result<Server> {
    let server = Server::start(release);
    let config = json!({ "name": "EVT", "subjects": ["evt.>"], "compression": "s2" });
    api::call(&server.client().await?, "STREAM.CREATE.EVT", config).await?;
    events(&server, 1, count).await?;
    Ok(server)
}

/// A repository of restic's.
struct Restic(TempDir);

impl Restic {
    fn new() -> Restic {
        let restic = Restic(tempfile::tempdir().unwrap());
        run(restic.command(&["init"])).expect_code(0);
        restic
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut restic = Command::new("restic");
        restic.args(["--no-cache", "--json", "--repo"]).arg(self.0.path()).args(arguments);
        restic.env("RESTIC_PASSWORD", "sesame");
        restic
    }

    /// Backs an archive up; gives the bytes that were not there before.
    fn add(&self, archive: &[u8]) -> u64 {
        let said = run_with(self.command(&["backup", "--stdin"]), archive).expect_code(0).stdout;
        let said = String::from_utf8(said).unwrap();
        let summary: Json = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        summary["data_added"].as_u64().unwrap()
    }
}

/// Seen without the option: 23 to 29 MiB from 2.14, 6 to 9 from 2.15, as restic happens to cut.
#[tokio::test(flavor = "multi_thread")]
async fn restic_stores_what_is_new_and_little_else() -> Result<()> {
    for release in FORMATS {
        let server = server_with_events(release, 12_000).await?;
        let restic = Restic::new();
        let before = dump(&server, &["--rsyncable"]);
        assert!(restic.add(&before) > 20 << 20);

        let added = restic.add(&dump(&server, &["--rsyncable"]));
        assert!(added < before.len() as u64 / 100, "{release}: {added} bytes for nothing new");

        events(&server, 2, 1_000).await?;
        let after = dump(&server, &["--rsyncable"]);
        let (added, new) = (restic.add(&after), (after.len() - before.len()) as u64);
        assert!(new > 1_500_000 && added <= 2 * new, "{release}: {added} bytes for {new} that are new");
    }
    Ok(())
}

/// Loads `backup` into `release`, and compares before and after a restart.
async fn comes_back(source: &Server, built: &Built, backup: &[u8], release: &str) -> Result<()> {
    let mut destination = Server::start(release);
    let loaded = load(&destination, &[], backup);
    assert_eq!((loaded.stderr.as_str(), loaded.code), ("", Some(0)), "{release}");
    for when in ["after the restore", "after a restart"] {
        let client = destination.client().await?;
        let source = source.client().await?;
        let mut found = equality::differences(&source, &client, |stream| built.is_kept(stream)).await?;
        // A server that starts puts a consumer that is to begin beyond the stream's end back to it.
        found.retain(|difference| {
            when == "after the restore" || !difference.starts_with("EVT: consumer late.")
        });
        assert_eq!(found, [""; 0], "from {} into {release}, {when}", source.server_info().version);
        destination.restart();
    }
    Ok(())
}

/// Both generations of Chatto, with everything in them that a snapshot written again could lose.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_server_gives_the_same_archive_and_every_release_restores_it() -> Result<()> {
    for release in FORMATS {
        let server = Server::start(release);
        let client = server.client().await?;
        let built = match release {
            "2.14.5" => fixtures::v0_4(&client, "2.10.26".parse().unwrap(), 1, 300).await?,
            _ => fixtures::v0_0(&client, "2.10.26".parse().unwrap(), 2, 2).await?,
        };
        let archive = dump(&server, &RSYNCABLE);
        assert!(dump(&server, &RSYNCABLE) == archive, "{release}: two archives differ");
        let verified = run_with(verify(), &archive);
        assert_eq!((verified.stderr.as_str(), verified.code), ("", Some(0)), "{release}");
        for destination in ["2.10.26", "2.12.8", "2.15.1"] {
            comes_back(&server, &built, &archive, destination).await?;
        }
    }
    Ok(())
}

fn verify() -> Command {
    let mut verify = program("chatto-manifest");
    verify.arg("verify");
    verify
}

/// In pieces, with gaps, deletions that are known late, consumers in all states.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_in_parts_with_deletions_is_the_same_stream() -> Result<()> {
    for release in FORMATS {
        let server = server_with_events(release, 3_000).await?;
        let client = server.client().await?;
        for sequence in [1, 2, 700, 701, 1_400, 2_999, 3_000] {
            let request = json!({ "seq": sequence, "no_erase": sequence % 2 == 0 });
            api::call(&client, "STREAM.MSG.DELETE.EVT", request).await?;
        }
        api::call(&client, "STREAM.PURGE.EVT", json!({ "filter": "evt.room7.>" })).await?;
        let archive = dump(&server, &RSYNCABLE);
        let all = entries(&archive)?;
        let parts = all.iter().filter(|entry| entry.path.contains("/part-")).count();
        assert!(parts > 5, "{release}: {parts} parts");
        assert!(all.iter().all(|entry| entry.mtime == 0));
        let manifest = all.iter().find(|entry| entry.path == "backup/manifest.json").unwrap();
        let manifest: Json = serde_json::from_slice(&manifest.data)?;
        assert_eq!(
            (&manifest["rsyncable"], &manifest["streams"][0]["format"]),
            (&json!(true), &json!("tar"))
        );
        for of_one_dump in ["captured_at", "duration_ms", "attempts"] {
            assert!(manifest["streams"][0][of_one_dump].is_null(), "{of_one_dump}");
        }
        let verified = run_with(verify(), &archive);
        assert_eq!((verified.stderr.as_str(), verified.code), ("", Some(0)), "{release}");
        for destination in ["2.10.26", "2.11.11", "2.14.5", "2.15.1"] {
            let mut to = Server::start(destination);
            let loaded = load(&to, &[], &archive);
            assert_eq!((loaded.stderr.as_str(), loaded.code), ("", Some(0)), "{destination}");
            for _ in 0..2 {
                let found = equality::differences(&client, &to.client().await?, |_| true).await?;
                assert_eq!(found, [""; 0], "from {release} into {destination}");
                to.restart();
            }
        }
    }
    Ok(())
}

/// What came takes a tenth of what is written, and nobody reads that for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_compresses_well_is_written_again_within_the_memory() -> Result<()> {
    let server = Server::start("2.14.5");
    let client = server.client().await?;
    api::call(&client, "STREAM.CREATE.EVT", json!({ "name": "EVT", "subjects": ["evt.>"] })).await?;
    let mut publisher = Publisher::new(&client).await?;
    let payload = "the stream was quiet until somebody asked ".repeat(2_400);
    for n in 0..2_000 {
        publisher.send(&format!("evt.{n}"), &[], payload.as_bytes()).await?;
    }
    publisher.settle().await?;
    let mut dump = program_for("chatto-dump", &server);
    dump.arg("--rsyncable");
    let mut child = spawn(measured(&dump).stdin(Stdio::null()).stdout(Stdio::piped()));
    let mut archive = child.stdout.take().unwrap();
    // So slowly that whatever is not bounded grows meanwhile.
    for _ in 0..1 << 20 {
        archive.read_exact(&mut [0]).unwrap();
    }
    let written = io::copy(&mut archive, &mut io::sink()).unwrap();
    let finished = finish(child).expect_code(0);
    let (used, _) = Used::of(&finished.stderr)?;
    assert!(written > 190 << 20, "{written}");
    assert!(used.memory < 96 << 10, "{} KiB", used.memory);
    Ok(())
}
