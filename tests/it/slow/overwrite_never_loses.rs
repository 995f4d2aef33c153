//! `chatto-load --conflict overwrite`: whatever happens, every stream is the old one or the new one, and never missing.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::archive::Archive;
use crate::support::faults::{self, Fed, News, UNDER_WAY};
use crate::support::programs::{Finished, program_for, run, run_with};
use crate::support::proxy::{Fate, Proxy};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality};
use anyhow::Result;
use async_nats::Client;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

/// One release of each snapshot format.
const FORMATS: [&str; 2] = ["2.14.5", LATEST];

/// A destination with streams of its own, its twin to compare with, and an archive of other streams
/// with the same names: `KV_SMALL` is small, `LARGE` large.
struct Scene {
    destination: Server,
    client: Client,
    old: Server,
    source: Server,
    archive: Vec<u8>,
    rescue: TempDir,
}

impl Scene {
    async fn set(release: &str) -> Result<Scene> {
        let (mut destination, source) = (Server::start(release), Server::start(release));
        for (server, seed) in [(&destination, 1), (&source, 2)] {
            let client = server.client().await?;
            faults::small_bucket(&client, server.version(), "SMALL", seed).await?;
            faults::large_stream(&client, server.version(), "LARGE", 14, seed).await?;
        }
        let old = destination.twin(release);
        let client = destination.client().await?;
        let archive = faults::archive_of(&source);
        Ok(Scene { destination, client, old, source, archive, rescue: tempfile::tempdir()? })
    }

    fn load(&self, arguments: &[&str]) -> Command {
        let mut command = program_for("chatto-load", &self.destination);
        command.args(["--conflict", "overwrite"]).args(arguments);
        if !arguments.contains(&"--timeout") {
            command.args(["--timeout", "20"]);
        }
        command.env("TMPDIR", self.rescue.path());
        command
    }

    /// Where in the archive `LARGE` is well under way.
    fn in_the_middle(&self) -> usize {
        Archive::read(&self.archive).entry("streams/LARGE/attempt-1/backup.json").header_at + UNDER_WAY
    }

    /// Feeds a load until the old `LARGE` is about to go, with enough for the new one to be half there.
    async fn load_half(&self, arguments: &[&str]) -> Result<Fed> {
        let mut gone = News::of(&self.client, "DELETED.LARGE").await?;
        let mut load = Fed::spawn(self.load(arguments));
        load.feed(&self.archive[..self.in_the_middle()]);
        gone.happened().await?;
        Ok(load)
    }

    async fn assert_stream(&self, stream: &str, like: &Server) -> Result<()> {
        let like = like.client().await?;
        let found = equality::differences(&like, &self.destination.client().await?, |_| true).await?;
        let of_it: Vec<_> = found.iter().filter(|text| text.starts_with(&format!("{stream}:"))).collect();
        assert!(of_it.is_empty(), "{of_it:#?}");
        Ok(())
    }

    /// The small stream is the new one, as it came first; the large one is the old one again; and
    /// nothing but what is `kept` lies in the rescue directory.
    async fn assert_old_is_back(&self, load: &Finished) -> Result<()> {
        self.assert_stream("KV_SMALL", &self.source).await?;
        self.assert_stream("LARGE", &self.old).await?;
        assert!(load.stderr.contains("stream LARGE: the old one is back"), "{}", load.stderr);
        let kept = kept_in(self.rescue.path());
        assert!(kept.iter().all(|name| name.contains("KV_SMALL")), "{kept:?}\n{}", load.stderr);
        Ok(())
    }
}

fn kept_in(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_and_nothing_stays_behind() -> Result<()> {
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        run_with(scene.load(&[]), &scene.archive).expect_code(0);
        scene.assert_stream("KV_SMALL", &scene.source).await?;
        scene.assert_stream("LARGE", &scene.source).await?;
        assert_eq!(kept_in(scene.rescue.path()), [""; 0]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_leaves_the_old_one() -> Result<()> {
    for release in FORMATS {
        let mut scene = Scene::set(release).await?;
        let at = scene.in_the_middle();
        scene.archive[at] ^= 1;
        let load = run_with(scene.load(&[]), &scene.archive).expect_code(4);
        scene.assert_old_is_back(&load).await?;
        // The small one is new, and what is said of the old one is a command.
        let said = load.stderr.split_once("stream KV_SMALL: the old one is kept; ").unwrap().1;
        let command = said.split_once(" puts it back\n").unwrap().0;
        let mut shell = program_for("chatto-load", &scene.destination);
        let programs = Path::new(shell.get_program()).parent().unwrap().to_owned();
        let environment: Vec<_> =
            shell.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
        shell = Command::new("sh");
        for (name, value) in environment {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let path = std::env::var("PATH")?;
        shell.env("PATH", format!("{}:{path}", programs.display())).env("TMPDIR", scene.rescue.path());
        shell.args(["-euc", command]);
        run(shell).expect_code(0);
        scene.assert_stream("KV_SMALL", &scene.old).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_archive_leaves_the_old_one() -> Result<()> {
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        let load = run_with(scene.load(&[]), &scene.archive[..scene.in_the_middle()]).expect_code(4);
        assert!(load.stderr.contains("cut short"), "{}", load.stderr);
        assert!(load.stderr.contains("restored before that, and kept: KV_SMALL"), "{}", load.stderr);
        scene.assert_old_is_back(&load).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_dump_gave_up_leaves_the_old_one() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    // As a dump leaves it that failed for good: parts, the reason, an error in the manifest.
    let mut archive = Archive::read(&scene.archive);
    let last_part = archive.0.iter().rposition(|entry| entry.path.contains("/part-")).unwrap();
    archive.0[last_part].path = "backup/streams/LARGE/attempt-1/abandoned.json".into();
    *archive.file("streams/LARGE/attempt-1/abandoned.json") = br#"{"reason":"the server fell"}"#.to_vec();
    archive.edit_manifest("LARGE", |entry| {
        *entry = json!({ "name": "LARGE", "type": entry["type"], "error": "the server fell" });
    });
    let load = run_with(scene.load(&[]), archive.with_sums()).expect_code(3);
    assert!(load.stderr.contains("stream LARGE: not in the archive: the server fell"), "{}", load.stderr);
    scene.assert_old_is_back(&load).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_has_the_old_one() -> Result<()> {
    for release in FORMATS {
        let mut scene = Scene::set(release).await?;
        // The old one is told to be deleted before it is, and what a power cut leaves of that is not known.
        let mut begun = News::of(&scene.client, "RESTORE_CREATE.LARGE").await?;
        let load = scene.load_half(&[]).await?;
        begun.happened().await?;
        scene.destination.kill();
        scene.destination.start_again();
        let load = load.finish(&scene.archive[scene.in_the_middle()..]).expect_code(3);
        scene.assert_old_is_back(&load).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_come_back_leaves_the_old_one_on_disk() -> Result<()> {
    let mut scene = Scene::set(LATEST).await?;
    let mut load = scene.load_half(&["--timeout", "5"]).await?;
    scene.destination.kill();
    load.feed(&scene.archive[scene.in_the_middle()..scene.archive.len() - 4096]);
    let load = load.ended().expect_code(7);
    assert!(
        load.stderr.contains("stream LARGE: the old one is kept; chatto-load --conflict overwrite "),
        "{}",
        load.stderr
    );
    assert_eq!(kept_in(scene.rescue.path()).len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_leave_the_old_one() -> Result<()> {
    for (release, signal) in FORMATS.into_iter().zip([Signal::TERM, Signal::INT]) {
        let scene = Scene::set(release).await?;
        let load = scene.load_half(&[]).await?;
        faults::signal(&load.0, signal);
        let load = load.ended();
        assert_eq!(load.signal, Some(signal.as_raw()), "{}", load.stderr);
        scene.assert_old_is_back(&load).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_the_old_one_comes_back_leaves_the_old_one() -> Result<()> {
    for release in FORMATS {
        let mut scene = Scene::set(release).await?;
        let at = scene.in_the_middle();
        scene.archive[at] ^= 1;
        let mut restoring = News::of(&scene.client, "RESTORE_CREATE.LARGE").await?;
        let mut load = scene.load_half(&[]).await?;
        restoring.happened().await?;
        // The wrong byte, and the rest of its frame.
        load.feed(&scene.archive[at..at + (3 << 19)]);
        restoring.happened().await?;
        faults::signal(&load.0, Signal::TERM);
        let load = load.ended();
        assert_eq!(load.signal, Some(Signal::TERM.as_raw()), "{}", load.stderr);
        scene.assert_old_is_back(&load).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_the_old_one_is_kept_leaves_no_half_archive() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    let mut proxy = Proxy::start(&scene.destination, |message| match message.before > 4 << 20 {
        true => Fate::Stall,
        false => Fate::Pass,
    })
    .await?;
    let mut load = scene.load(&[]);
    load.env("CHATTO_NATS_CLIENT_URL", proxy.url());
    let mut load = Fed::spawn(load);
    // Enough to make it a large stream, and no more than the load takes in before it looks back.
    load.feed(&scene.archive[..scene.in_the_middle() - (5 << 19)]);
    proxy.struck().await?;
    let kept = kept_in(scene.rescue.path());
    assert_eq!(kept.len(), 2, "{kept:?}");
    faults::signal(&load.0, Signal::TERM);
    let load = load.ended();
    assert_eq!(load.signal, Some(Signal::TERM.as_raw()), "{}", load.stderr);
    scene.assert_stream("LARGE", &scene.old).await?;
    let kept = kept_in(scene.rescue.path());
    assert!(kept.len() == 1 && kept[0].contains("KV_SMALL"), "{kept:?}\n{}", load.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_rescue_archives_bring_the_old_ones_back() -> Result<()> {
    for release in FORMATS {
        let scene = Scene::set(release).await?;
        let mut load = scene.load_half(&[]).await?;
        load.0.kill()?;
        load.finish(&[]);
        let mut kept = kept_in(scene.rescue.path());
        kept.sort();
        assert_eq!(kept.len(), 2, "{kept:?}");
        for name in kept {
            let path = scene.rescue.path().join(name);
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path)?.permissions());
            assert_eq!(mode & 0o777, 0o600);
            let path = path.to_str().unwrap();
            run(scene.load(&["--no-rescue", path])).expect_code(0);
        }
        scene.assert_stream("KV_SMALL", &scene.old).await?;
        scene.assert_stream("LARGE", &scene.old).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rescue_replaces_without_a_copy_and_says_what_it_lost() -> Result<()> {
    let scene = Scene::set(LATEST).await?;
    // A directory that is not there would fail a rescue.
    let mut load = scene.load(&["--no-rescue"]);
    load.env("TMPDIR", scene.rescue.path().join("missing"));
    run_with(load, &scene.archive).expect_code(0);
    scene.assert_stream("LARGE", &scene.source).await?;

    let load = run_with(scene.load(&["--no-rescue"]), &scene.archive[..scene.in_the_middle()]).expect_code(4);
    assert!(load.stderr.contains("stream LARGE: the old one is gone (--no-rescue)"), "{}", load.stderr);
    assert_eq!(api::stream_names(&scene.client).await?, ["KV_SMALL"]);
    Ok(())
}
