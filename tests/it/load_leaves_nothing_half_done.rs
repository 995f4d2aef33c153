//! `chatto-load` is stopped in the middle, in every way. It removes the streams that it could not finish, does not touch the
//! streams that existed before, and names the streams that stay.

use std::io::Write as _;

use crate::support::archive::Archive;
use crate::support::faults::{self, Fed, News, UNDER_WAY};
use crate::support::programs::{program_for, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality};
use anyhow::{Context, Result};
use async_nats::Client;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// One release of each snapshot format.
const FORMATS: [&str; 2] = ["2.14.5", LATEST];

/// An archive of a small stream `KV_SMALL` and a large one `LARGE`, where in it the large one is well
/// under way, and an empty destination.
struct Scene {
    source: Server,
    archive: Vec<u8>,
    middle: usize,
    destination: Server,
    client: Client,
}

impl Scene {
    async fn set(release: &str) -> Result<Scene> {
        let (source, destination) = (Server::start(release), Server::start(release));
        let client = source.client().await?;
        faults::small_bucket(&client, source.version(), "SMALL", 2).await?;
        faults::large_stream(&client, source.version(), "LARGE", 14, 2).await?;
        let archive = faults::archive_of(&source);
        let middle =
            Archive::read(&archive).entry("streams/LARGE/attempt-1/backup.json").header_at + UNDER_WAY;
        let client = destination.client().await?;
        Ok(Scene { source, archive, middle, destination, client })
    }

    /// Feeds a load until `LARGE` is being restored.
    async fn load_half(&self) -> Result<Fed> {
        let mut begun = News::of(&self.client, "RESTORE_CREATE.LARGE").await?;
        let mut load = program_for("chatto-load", &self.destination);
        load.args(["--timeout", "20"]);
        let mut load = Fed::spawn(load);
        load.feed(&self.archive[..self.middle]);
        begun.happened().await?;
        Ok(load)
    }

    /// The small stream came first and stands; of the large one nothing is there.
    async fn assert_only_the_small_one_stands(&self) -> Result<()> {
        let client = self.destination.client().await?;
        let source = self.source.client().await?;
        let differences = equality::differences(&source, &client, |name| name == "KV_SMALL").await?;
        assert_eq!(differences, [""; 0]);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_and_comes_back() -> Result<()> {
    for release in FORMATS {
        let mut scene = Scene::set(release).await?;
        let load = scene.load_half().await?;
        scene.destination.kill();
        scene.destination.start_again();
        let load = load.finish(&scene.archive[scene.middle..]).expect_code(3);
        // Whether the connection was missed or the new server knew of no restore is a matter of time.
        assert!(load.stderr.contains("error: stream LARGE: the "), "{}", load.stderr);
        scene.assert_only_the_small_one_stands().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_for_good() -> Result<()> {
    let mut scene = Scene::set(LATEST).await?;
    let mut begun = News::of(&scene.client, "RESTORE_CREATE.LARGE").await?;
    let mut load = program_for("chatto-load", &scene.destination);
    load.args(["--timeout", "5"]);
    let mut load = Fed::spawn(load);
    load.feed(&scene.archive[..scene.middle]);
    begun.happened().await?;
    scene.destination.kill();
    // The archive's end is not waited for.
    load.feed(&scene.archive[scene.middle..scene.archive.len() - 4096]);
    let load = load.ended().expect_code(7);
    assert!(
        load.stderr.contains("the server is gone and does not come back: nothing more is tried"),
        "{}",
        load.stderr
    );
    assert!(load.stderr.contains("restored before that, and kept: KV_SMALL"), "{}", load.stderr);
    assert!(load.stderr.contains("stream LARGE: the connection to the server was lost"), "{}", load.stderr);
    assert!(load.stderr.contains("stream LARGE: cannot remove what is there of it"), "{}", load.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_and_sigterm() -> Result<()> {
    for (release, signal) in [(LATEST, Signal::INT), (LATEST, Signal::TERM), ("2.14.5", Signal::TERM)] {
        let scene = Scene::set(release).await?;
        let load = scene.load_half().await?;
        faults::signal(&load.0, signal);
        let load = load.ended();
        assert_eq!(load.signal, Some(signal.as_raw()), "{}", load.stderr);
        assert!(load.stderr.contains("restored before that, and kept: KV_SMALL"), "{}", load.stderr);
        scene.assert_only_the_small_one_stands().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_dies() -> Result<()> {
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        let load = scene.load_half().await?;
        let load = load.finish(&[]).expect_code(4);
        assert!(load.stderr.contains("the archive is cut short inside"), "{}", load.stderr);
        assert!(load.stderr.contains("restored before that, and kept: KV_SMALL"), "{}", load.stderr);
        scene.assert_only_the_small_one_stands().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_dies_before_the_end_record() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    let sums = Archive::read(&scene.archive).entry("SHA256SUMS").header_at;
    let load = program_for("chatto-load", &scene.destination);
    let load = run_with(load, &scene.archive[..sums]).expect_code(4);
    assert!(load.stderr.contains("cut short"), "{}", load.stderr);
    assert!(load.stderr.contains("restored before that, and kept: KV_SMALL, LARGE"), "{}", load.stderr);
    let differences = equality::differences(&scene.source.client().await?, &scene.client, |_| true).await?;
    assert_eq!(differences, [""; 0]);
    Ok(())
}

/// Somebody makes a stream of the same name while it is being restored: it is theirs.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_made_meanwhile_is_not_removed() -> Result<()> {
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        let mut load = program_for("chatto-load", &scene.destination);
        load.args(["--timeout", "20"]);
        let mut listed = News::of(&scene.client, "RESTORE_CREATE.KV_SMALL").await?;
        let mut load = Fed::spawn(load);
        let large = Archive::read(&scene.archive).entry("streams/LARGE/attempt-1/backup.json").header_at;
        load.feed(&scene.archive[..large]);
        listed.happened().await?;
        let theirs = json!({ "name": "LARGE", "subjects": ["theirs"] });
        api::call(&scene.client, "STREAM.CREATE.LARGE", theirs).await?;
        let load = load.finish(&scene.archive[large..]).expect_code(3);
        assert!(load.stderr.contains("stream LARGE: the server answers: "), "{}", load.stderr);
        let info = api::stream_info(&scene.client, "LARGE").await?;
        assert_eq!(info["config"]["subjects"], json!(["theirs"]), "{release}: {}", load.stderr);
    }
    Ok(())
}

/// The same, later: when the restore has begun. A server that restores a tar holds the name free until
/// the commit; one that restores NATSARC1 takes it with the first chunk that it reads.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_makes_during_the_restore_is_not_removed() -> Result<()> {
    let theirs = json!({ "name": "LARGE", "subjects": ["theirs"] });
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        let load = scene.load_half().await?;
        let answer = api::answer(&scene.client, "STREAM.CREATE.LARGE", theirs.clone()).await?;
        let load = load.finish(&scene.archive[scene.middle..]);
        let info = api::stream_info(&scene.client, "LARGE").await;
        let info = info.with_context(|| format!("{release}: {answer}, then {:?}", load))?;
        if answer["error"].is_null() {
            assert_eq!(load.code, Some(3), "{release}: {}", load.stderr);
            assert_eq!(info["config"]["subjects"], json!(["theirs"]), "{release}: {}", load.stderr);
        } else {
            assert_eq!(answer["error"]["err_code"], 10058, "{release}: {answer}");
            assert_eq!(load.code, Some(0), "{release}: {}", load.stderr);
        }
    }
    Ok(())
}

/// And when the restore is given up then, for another reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_makes_during_a_restore_that_is_given_up_is_not_removed() -> Result<()> {
    let theirs = json!({ "name": "LARGE", "subjects": ["theirs"] });
    for release in FORMATS {
        for interrupted in [false, true] {
            let scene = Scene::set(release).await?;
            let load = scene.load_half().await?;
            let answer = api::answer(&scene.client, "STREAM.CREATE.LARGE", theirs.clone()).await?;
            let load = if interrupted {
                faults::signal(&load.0, Signal::TERM);
                load.ended()
            } else {
                load.finish(&[])
            };
            if answer["error"].is_null() {
                let info = api::stream_info(&scene.client, "LARGE").await;
                let info = info.with_context(|| format!("{release}: {load:?}"))?;
                assert_eq!(info["config"]["subjects"], json!(["theirs"]), "{release}: {}", load.stderr);
            } else {
                assert_eq!(release, LATEST, "{answer}");
                scene.assert_only_the_small_one_stands().await?;
            }
        }
    }
    Ok(())
}

/// And when the server does not say at once whose it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_makes_while_the_server_is_silent_is_not_removed() -> Result<()> {
    let theirs = json!({ "name": "LARGE", "subjects": ["theirs"] });
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        let mut begun = News::of(&scene.client, "RESTORE_CREATE.LARGE").await?;
        let mut load = program_for("chatto-load", &scene.destination);
        load.args(["--timeout", "5"]);
        let mut load = Fed::spawn(load);
        load.feed(&scene.archive[..scene.middle]);
        begun.happened().await?;
        let server = Pid::from_raw(i32::try_from(scene.destination.process_id())?).unwrap();
        kill_process(server, Signal::STOP)?;
        let mut stdin = load.0.stdin.take().unwrap();
        let rest = scene.archive[scene.middle..].to_vec();
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&rest)));
        faults::hear(&mut load.0, "error: stream LARGE: no answer");
        let made = api::answer(&scene.client, "STREAM.CREATE.LARGE", theirs.clone());
        let (made, ()) = tokio::join!(made, async {
            // It is on its way before the server goes on.
            scene.client.flush().await.unwrap();
            kill_process(server, Signal::CONT).unwrap();
        });
        let made = made?;
        assert!(made["error"].is_null(), "{made}");
        let load = load.ended();
        feeding.join().unwrap();
        let info = api::stream_info(&scene.client, "LARGE").await;
        let info = info.with_context(|| format!("{release}: {load:?}"))?;
        assert_eq!(info["config"]["subjects"], json!(["theirs"]), "{release}: {}", load.stderr);
    }
    Ok(())
}

/// And in the place of what we were restoring: the load stands still meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_somebody_else_puts_in_the_place_of_ours_is_not_removed() -> Result<()> {
    let mut scene = Scene::set(LATEST).await?;
    let mut archive = Archive::read(&scene.archive);
    archive.put_into_memory("LARGE/attempt-1");
    scene.archive = archive.with_sums();
    let load = scene.load_half().await?;
    while faults::state_of(&scene.client, "LARGE").await?.is_none() {
        tokio::task::yield_now().await;
    }
    faults::signal(&load.0, Signal::STOP);
    api::call(&scene.client, "STREAM.DELETE.LARGE", json!({})).await?;
    let theirs = json!({ "name": "LARGE", "subjects": ["theirs"] });
    api::call(&scene.client, "STREAM.CREATE.LARGE", theirs).await?;
    faults::signal(&load.0, Signal::CONT);
    let load = load.finish(&scene.archive[scene.middle..]).expect_code(3);
    assert!(load.stderr.contains("was not made by this restore, and is left alone"), "{}", load.stderr);
    let info = api::stream_info(&scene.client, "LARGE").await?;
    assert_eq!(info["config"]["subjects"], json!(["theirs"]), "{}", load.stderr);
    Ok(())
}
