//! A damaged archive is never believed. Whatever is wrong in it, `chatto-load` does not end with status 0, and leaves only
//! streams that were verified.

use crate::support::archive::{Archive, sha256};
use crate::support::builder::Builder;
use crate::support::captures::{self, Shape};
use crate::support::programs::{Finished, program_for, run, run_with};
use crate::support::s2::{unwrapped, wrapped};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, faults};
use anyhow::Result;
use async_nats::Client;
use serde_json::json;

/// A source with a few small streams, its archive, and a destination.
struct Scene {
    source: Client,
    archive: Vec<u8>,
    destination: Server,
    client: Client,
    _server: Server,
}

impl Scene {
    async fn set(release: &str) -> Result<Scene> {
        let (server, destination) = (Server::start(release), Server::start(release));
        let source = server.client().await?;
        for (bucket, seed) in [("A", 1), ("B", 2)] {
            faults::small_bucket(&source, server.version(), bucket, seed).await?;
        }
        let mut b = Builder::new(&source, server.version(), 3).await?;
        b.stream("EVT", json!(["evt.>"]), json!({})).await?;
        for n in 0..30 {
            let text = b.random.text(30);
            b.publisher.send(&format!("evt.{}", n % 4), &[("Number", &n.to_string())], text).await?;
        }
        b.delete_message("EVT", 7, true).await?;
        b.consumer("EVT", "reader", json!({})).await?;
        b.consume("EVT", "reader", 9, |n| (n % 3 != 1).then_some("+ACK")).await?;
        b.finish().await?;
        let archive = run(program_for("chatto-dump", &server)).expect_code(0).stdout;
        let client = destination.client().await?;
        Ok(Scene { source, archive, destination, client, _server: server })
    }

    /// Loads an archive in which `what` is wrong: status 4, and every stream that is there is equal to
    /// the source's. The destination is empty again afterwards.
    async fn refused(&self, archive: &[u8], what: &str) -> Result<Finished> {
        let load = self.not_believed(archive, what).await?;
        assert_eq!(load.code, Some(4), "{what}: {}", load.stderr);
        Ok(load)
    }

    /// The same, where it may be the server that finds the damage (status 3).
    async fn not_believed(&self, archive: &[u8], what: &str) -> Result<Finished> {
        let load = run_with(program_for("chatto-load", &self.destination), archive);
        assert!(matches!(load.code, Some(3 | 4)), "{what}: {:?}: {}", load.code, load.stderr);
        assert!(load.stderr.starts_with("chatto-load: error: "), "{what}: {}", load.stderr);
        let there = api::stream_names(&self.client).await?;
        // That the manifest disagrees is known when the stream stands; it is named.
        let is_named = |name: &str| {
            let said = ["stream {}: the manifest does not agree", "has another digest for stream {} than"];
            said.iter().any(|said| load.stderr.contains(&said.replace("{}", name)))
        };
        let ought = |name: &str| there.iter().any(|there| there == name);
        for compared in equality::compare(&self.source, &self.client, ought).await? {
            let good = compared.differences.is_empty() || is_named(&compared.stream);
            assert!(good, "{what}: {compared:?}: {}", load.stderr);
        }
        for stream in there {
            api::call(&self.client, &format!("STREAM.DELETE.{stream}"), json!(null)).await?;
        }
        Ok(load)
    }

    /// The same of an archive that was taken apart; its `SHA256SUMS` fits.
    async fn refused_with_sums(&self, what: &str, change: impl FnOnce(&mut Archive)) -> Result<Finished> {
        let mut archive = Archive::read(&self.archive);
        change(&mut archive);
        self.refused(&archive.with_sums(), what).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    run_with(program_for("chatto-load", &Server::start(LATEST)), &scene.archive).expect_code(0);
    for entry in Archive::read(&scene.archive).0 {
        let header = [0, 124 + 10, 148 + 3, 156, 257].map(|at| entry.header_at + at);
        let len = entry.data.len();
        // Frame header, checksum, the content, its end, the padding after it.
        let body =
            [0, 1, 6, len / 3, len / 2, len.saturating_sub(1), len.next_multiple_of(512).saturating_sub(1)];
        let body = body.into_iter().filter(|_| len > 0).map(|at| entry.data_at + at);
        for at in header.into_iter().chain(body) {
            let mut archive = scene.archive.clone();
            archive[at] ^= 1;
            scene.refused(&archive, &format!("byte {at}, in {}", entry.path)).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_inside_a_snapshot_whose_checksums_were_made_to_fit() -> Result<()> {
    for release in ["2.12.8", "2.14.5", LATEST] {
        let scene = Scene::set(release).await?;
        let path = "streams/EVT/stream.tar.s2";
        let content = unwrapped(Archive::read(&scene.archive).file(path));
        for at in (0..content.len()).step_by(content.len() / 40) {
            let mut content = content.clone();
            content[at] ^= 1;
            let what = format!("{release}: byte {at} of the content");
            // The manifest's sum is the last line of defence where the format has none.
            let mut archive = Archive::read(&scene.archive);
            *archive.file(path) = wrapped(&content);
            scene.not_believed(&archive.with_sums(), &what).await?;
        }
    }
    Ok(())
}

/// The sums fit, or do not; the manifest has a digest of the parts' own.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_part_of_a_snapshot() -> Result<()> {
    let destination = Server::start(LATEST);
    let sound = captures::archive("2.14.5", Shape::Parts);
    let load = |archive: &[u8]| {
        let mut load = program_for("chatto-load", &destination);
        load.arg("--dry-run");
        run_with(load, archive)
    };
    load(&sound).expect_code(0);
    let paths: Vec<_> = Archive::read(&sound).0.into_iter().map(|entry| entry.path).collect();
    let parts: Vec<_> = paths.iter().filter(|path| path.contains("/attempt-2/part-")).collect();
    assert_eq!(parts.len(), 5);
    for path in parts {
        let mut archive = Archive::read(&sound);
        let part = archive.file(path.trim_start_matches("backup/"));
        let at = part.len() / 2;
        part[at] ^= 1;
        load(&archive.tar()).expect_code(4);
        load(&archive.with_sums()).expect_code(4);
    }
    let mut archive = Archive::read(&sound);
    archive.edit_manifest("EVT", |entry| entry["parts_sha256"] = json!("00".repeat(32)));
    let refused = load(&archive.with_sums()).expect_code(4);
    let said = "manifest.json: has another digest for stream EVT than its snapshot";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    Ok(())
}

/// Before the first release the manifest had the digest of the joined parts.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_a_build_before_the_first_release() -> Result<()> {
    let destination = Server::start(LATEST);
    let mut archive = Archive::read(&captures::archive("2.14.5", Shape::Parts));
    let joined = sha256(&captures::capture("2.14.5", "EVT").1);
    archive.edit_manifest("EVT", |entry| {
        entry.as_object_mut().unwrap().remove("parts_sha256");
        entry["sha256"] = json!(joined);
    });
    let load = run_with(program_for("chatto-load", &destination), archive.with_sums()).expect_code(0);
    assert_eq!(load.stderr, "");
    assert!(api::stream_names(&destination.client().await?).await?.contains(&"EVT".to_owned()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_match_its_own_sum() -> Result<()> {
    let scene = Scene::set("2.14.5").await?;
    let path = "streams/EVT/stream.tar.s2";
    let mut content = unwrapped(Archive::read(&scene.archive).file(path));
    let at = content.windows(5).position(|window| window == b"evt.1").unwrap();
    content[at + 4] = b'2';
    let load = scene
        .refused_with_sums("a record", |archive| {
            let snapshot = wrapped(&content);
            let (bytes, sum) = (snapshot.len(), sha256(&snapshot));
            archive.edit_manifest("EVT", |entry| {
                entry["bytes"] = json!(bytes);
                entry["sha256"] = json!(sum);
            });
            *archive.file(path) = snapshot;
        })
        .await?;
    assert!(load.stderr.contains("error: stream EVT: "), "{}", load.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_anywhere() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    for entry in Archive::read(&scene.archive).0.iter().skip(1) {
        let len = entry.data.len();
        let mut cuts = vec![entry.header_at, entry.header_at + 100];
        if len > 0 {
            cuts.extend([entry.data_at, entry.data_at + len / 2]);
        }
        for cut in cuts {
            let what = format!("cut at {cut}, at {}", entry.path);
            let load = scene.refused(&scene.archive[..cut], &what).await?;
            assert!(load.stderr.contains("cut short"), "{what}: {}", load.stderr);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_lies() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    for (what, field, value) in [
        ("messages", "messages", json!(12)),
        ("bytes", "bytes", json!(1)),
        ("a stream that it says failed", "error", json!("it failed")),
        ("a stream that it says was left out", "type", json!("skipped")),
    ] {
        let change = |archive: &mut Archive| archive.edit_manifest("EVT", |entry| entry[field] = value);
        let load = scene.refused_with_sums(what, change).await?;
        assert!(load.stderr.contains("stream EVT: the manifest does not agree"), "{what}: {}", load.stderr);
    }
    let change = |archive: &mut Archive| {
        archive.edit_manifest("EVT", |entry| entry["sha256"] = json!("00".repeat(32)));
    };
    let load = scene.refused_with_sums("the sum", change).await?;
    let said = "manifest.json: has another digest for stream EVT than its snapshot";
    assert!(load.stderr.contains(said), "{}", load.stderr);
    for stream in ["EVT", "KV_B"] {
        let load = scene
            .refused_with_sums("a stream missing", |archive| {
                archive.edit("manifest.json", |manifest| {
                    manifest["streams"].as_array_mut().unwrap().retain(|entry| entry["name"] != stream);
                });
            })
            .await?;
        assert!(load.stderr.contains(&format!("stream {stream}: ")), "{}", load.stderr);
    }
    let load = scene
        .refused_with_sums("a stream too many", |archive| {
            archive.edit("manifest.json", |manifest| {
                let streams = manifest["streams"].as_array_mut().unwrap();
                let mut more = streams[0].clone();
                more["name"] = json!("MORE");
                streams.push(more);
            });
        })
        .await?;
    assert!(load.stderr.contains("stream MORE: "), "{}", load.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lies() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    let load = scene
        .refused_with_sums("a stream that does not come", |archive| {
            archive.edit("index.json", |index| {
                let streams = index["streams"].as_array_mut().unwrap();
                let mut more = streams[0].clone();
                more["name"] = json!("MORE");
                streams.push(more);
            });
        })
        .await?;
    assert!(load.stderr.contains("stream MORE: "), "{}", load.stderr);
    // What the index does not announce was never looked for at the destination.
    let load = scene
        .refused_with_sums("a stream that was not announced", |archive| {
            archive.edit("index.json", |index| {
                index["streams"].as_array_mut().unwrap().retain(|entry| entry["name"] != "KV_B");
            });
        })
        .await?;
    assert!(load.stderr.contains("stream KV_B: "), "{}", load.stderr);
    Ok(())
}

/// A tar of one file, as a server that could not read its own blocks sends it.
fn errors_txt() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let text = b"Could not decompress message block";
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    tar.append_data(&mut header, "errors.txt", &text[..]).unwrap();
    tar.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_in_place_of_another() -> Result<()> {
    for release in ["2.14.5", LATEST] {
        let scene = Scene::set(release).await?;
        let other = Archive::read(&scene.archive).file("streams/KV_A/stream.tar.s2").clone();
        for (what, snapshot) in [
            ("nothing", Vec::new()),
            ("an empty S2 stream", wrapped(b"")),
            ("an empty tar", wrapped(&[0; 1024])),
            ("the server's errors", wrapped(&errors_txt())),
            ("another stream's", other),
        ] {
            let what = format!("{release}: {what}");
            let load = scene
                .refused_with_sums(&what, |archive| {
                    let (bytes, sum) = (snapshot.len(), sha256(&snapshot));
                    archive.edit_manifest("EVT", |entry| {
                        entry["bytes"] = json!(bytes);
                        entry["sha256"] = json!(sum);
                    });
                    *archive.file("streams/EVT/stream.tar.s2") = snapshot;
                })
                .await?;
            assert!(load.stderr.contains("error: stream EVT: "), "{what}: {}", load.stderr);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_finds_it_and_changes_nothing() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    let load = |arguments: &[&str]| {
        let mut load = program_for("chatto-load", &scene.destination);
        load.args(arguments);
        load
    };
    let good = run_with(load(&["--dry-run", "-v"]), &scene.archive).expect_code(0);
    assert!(good.stderr.contains("3 streams would be restored"), "{}", good.stderr);
    let at = Archive::read(&scene.archive).entry("streams/EVT/stream.tar.s2").data_at + 200;
    let mut damaged = scene.archive.clone();
    damaged[at] ^= 4;
    let bad = run_with(load(&["--dry-run"]), &damaged).expect_code(4);
    assert!(bad.stderr.contains("error: stream EVT: "), "{}", bad.stderr);
    assert_eq!(api::stream_names(&scene.client).await?, [""; 0]);
    Ok(())
}
