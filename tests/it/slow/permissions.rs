//! The least permissions, as in the manual: they are enough, each line of them is needed, and a user who lacks one is told at
//! once which one.

// In the helpers, as in the tests, a failed expectation is a failed test.
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::archive::Archive;
use crate::support::programs::{Finished, program, run, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::{api, equality, faults, fixtures};
use anyhow::Result;
use chatto_pipes::jetstream::private_server::{Authorization, Options};
use serde_json::{Value as Json, json};

/// More than a server sends before it waits for an acknowledgement (20 MiB), and more than a load holds
/// before it begins to restore.
const MIB: usize = 24;

/// The `authorization` block of a program's manual.
fn block(program: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("man/{program}.1"));
    let page = fs::read_to_string(page).unwrap();
    let section = page.split_once("\n.Sh PERMISSIONS\n").expect("a section on permissions").1;
    let literal = section.split_once(".Bd -literal -offset indent\n").unwrap().1;
    literal.split_once(".Ed\n").unwrap().0.to_owned()
}

/// The block's subjects.
fn subjects(block: &str) -> Vec<String> {
    let subjects = block.lines().map(str::trim).filter(|line| line.starts_with("\"$"));
    subjects.map(|line| line.trim_matches('"').to_owned()).collect()
}

/// A server with the block and a user who may do everything.
fn server(block: &str) -> Server {
    server_of(LATEST, block)
}

fn server_of(release: &str, block: &str) -> Server {
    // This goes over what the server would be told otherwise, also of how long a client may take.
    let begin = "timeout: 60, users: [ { user: admin, password: admin },";
    let extra = block.replacen("users: [", begin, 1);
    Server::start_with(release, Options { access: Authorization::Open, extra, ..Options::default() })
}

async fn admin(server: &Server) -> Result<async_nats::Client> {
    let options = async_nats::ConnectOptions::new().user_and_password("admin".into(), "admin".into());
    api::connect_with(options, &server.url()).await
}

fn by(user: &str, password: &str, name: &str, server: &Server, arguments: &[&str]) -> Command {
    let mut command = program(name);
    command.args(arguments);
    command.env("CHATTO_NATS_CLIENT_URL", server.url()).env("CHATTO_NATS_CLIENT_AUTH_METHOD", "userpass");
    command.env("CHATTO_NATS_CLIENT_USERNAME", user).env("CHATTO_NATS_CLIENT_PASSWORD", password);
    command
}

/// That this subject is missing was said, and what to do about it.
#[track_caller]
fn assert_named(finished: &[Finished], deed: &str, subject: &str) {
    let said: String = finished.iter().map(|finished| finished.stderr.as_str()).collect();
    let begin = subject.trim_end_matches(['>', '*']);
    for words in [
        format!("the server does not let us {deed} to \"{begin}"),
        format!("hint: allow the user to {deed} to \"{begin}"),
    ] {
        assert!(said.contains(&words), "without {subject}, no \"{words}\" in:\n{said}");
    }
    assert!(!said.contains("no answer"), "it was waited for:\n{said}");
}

/// The block without the right to listen for answers.
fn deaf(block: &str) -> String {
    assert!(block.contains("subscribe: \"_INBOX.>\""));
    block.replace("subscribe: \"_INBOX.>\"", "subscribe: \"elsewhere\"")
}

fn without(block: &str, subject: &str) -> String {
    block
        .lines()
        .filter(|line| line.trim() != format!("\"{subject}\""))
        .map(|line| format!("{line}\n"))
        .collect()
}

async fn fill(server: &Server) -> Result<fixtures::Built> {
    let client = admin(server).await?;
    let built = fixtures::v0_4(&client, server.version(), 3, 100).await?;
    faults::large_stream(&client, server.version(), "LARGE", MIB, 1).await?;
    Ok(built)
}

/// The list of consumers is asked for only where some are left out; without it the rest is done.
async fn not_to_see_consumers(block: &str, subject: &str) -> Result<()> {
    let denied = server_of("2.14.5", block);
    let client = admin(&denied).await?;
    api::call(&client, "STREAM.CREATE.S", json!({ "name": "S", "subjects": ["s"] })).await?;
    let config = json!({ "durable_name": "c", "ack_policy": "explicit", "mem_storage": true });
    let body = json!({ "stream_name": "S", "config": config });
    api::call(&client, "CONSUMER.DURABLE.CREATE.S.c", body).await?;
    let finished = run(by("dump", "change me", "chatto-dump", &denied, &[])).expect_code(0);
    assert_named(&[finished], "publish", subject);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_dump() -> Result<()> {
    let block = block("chatto-dump");
    let dump = |server: &Server| run(by("dump", "change me", "chatto-dump", server, &[]));
    let allowed = server(&block);
    let built = fill(&allowed).await?;
    let archive = dump(&allowed).expect_code(0).stdout;
    let destination = Server::start(LATEST);
    crate::support::archive::load(&destination, &[], &archive).expect_code(0);
    let (a, b) = (admin(&allowed).await?, destination.client().await?);
    let differences = equality::differences(&a, &b, |name| name == "LARGE" || built.is_kept(name)).await?;
    assert_eq!(differences, [""; 0]);

    assert_eq!(subjects(&block).len(), 6);
    for subject in subjects(&block) {
        if subject.contains("CONSUMER.LIST") {
            not_to_see_consumers(&without(&block, &subject), &subject).await?;
            continue;
        }
        let denied = server(&without(&block, &subject));
        faults::large_stream(&admin(&denied).await?, denied.version(), "LARGE", MIB, 1).await?;
        let finished = dump(&denied);
        // What concerns one stream is that stream's failure.
        let code = if subject.contains("SNAPSHOT") { 3 } else { 7 };
        assert_named(&[finished.expect_code(code)], "publish", &subject);
    }
    assert_named(&[dump(&server(&deaf(&block))).expect_code(7)], "subscribe", "_INBOX.>");
    Ok(())
}

/// An archive of a stream whose limit is less than what it holds: the server keeps two of them, so that the
/// restore fails after it has begun.
async fn one_that_fails() -> Result<Vec<u8>> {
    let source = Server::start(LATEST);
    faults::large_stream(&source.client().await?, source.version(), "LIMITED", 2, 1).await?;
    let mut archive = Archive::read(&faults::archive_of(&source));
    archive.edit("streams/LIMITED/backup.json", |backup| backup["config"]["max_msgs"] = json!(2));
    Ok(archive.with_sums())
}

/// An archive of a stream from which a limit had removed messages, and without the index that says so.
async fn one_without_index() -> Result<Vec<u8>> {
    let source = Server::start("2.10.26");
    let client = source.client().await?;
    api::call(&client, "STREAM.CREATE.FEW", json!({ "name": "FEW", "subjects": ["few"], "max_msgs": 3 }))
        .await?;
    for n in 0..9 {
        client.request("few", n.to_string().into()).await?;
    }
    api::call(&client, "STREAM.UPDATE.FEW", json!({ "name": "FEW", "subjects": ["few"] })).await?;
    let mut archive = Archive::read(&faults::archive_of(&source));
    archive.remove_index("FEW")?;
    Ok(archive.with_sums())
}

/// An archive of a stream that can be seen before it is complete.
async fn one_in_memory() -> Result<Vec<u8>> {
    let source = Server::start(LATEST);
    faults::large_stream(&source.client().await?, source.version(), "FLEETING", 2, 1).await?;
    let mut archive = Archive::read(&faults::archive_of(&source));
    archive.put_into_memory("FLEETING");
    Ok(archive.with_sums())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_load() -> Result<()> {
    let block = block("chatto-load");
    let source = server("authorization { users: [] }");
    let built = fill(&source).await?;
    let archive = run(by("admin", "admin", "chatto-dump", &source, &[])).expect_code(0).stdout;
    let failing = one_that_fails().await?;
    let fleeting = one_in_memory().await?;
    let unindexed = one_without_index().await?;
    let directory = tempfile::tempdir()?;
    let rescue = directory.path().to_str().unwrap();
    let loads = |server: &Server| {
        let load = |arguments: &[&str], archive: &[u8]| {
            run_with(by("load", "change me", "chatto-load", server, arguments), archive)
        };
        let overwrite = ["--conflict", "overwrite", "--rescue-dir", rescue, "--stream", "LARGE"];
        // What is to be overwritten is there, whatever became of the first load.
        let first = load(&[], &archive);
        let third = load(&[], &failing);
        let fourth = load(&[], &fleeting);
        let fifth = load(&[], &unindexed);
        run_with(by("admin", "admin", "chatto-load", server, &["--conflict", "skip"]), &archive)
            .expect_code(0);
        [first, load(&overwrite, &archive), third, fourth, fifth]
    };

    let allowed = server(&block);
    let [first, overwritten, failed, in_memory, purged] = loads(&allowed);
    first.expect_code(0);
    in_memory.expect_code(0);
    purged.expect_code(0);
    overwritten.expect_code(0);
    let failed = failed.expect_code(1);
    assert!(failed.stderr.contains("LIMITED: the server holds 2 messages"), "{}", failed.stderr);
    let (a, b) = (admin(&source).await?, admin(&allowed).await?);
    for extra in ["FLEETING", "FEW"] {
        api::call(&b, &format!("STREAM.DELETE.{extra}"), Json::Null).await?;
    }
    let differences = equality::differences(&a, &b, |name| name == "LARGE" || built.is_kept(name)).await?;
    assert_eq!(differences, [""; 0]);

    assert_eq!(subjects(&block).len(), 12);
    for subject in subjects(&block) {
        assert_named(&loads(&server(&without(&block, &subject))), "publish", &subject);
    }
    let deaf = run_with(by("load", "change me", "chatto-load", &server(&deaf(&block)), &[]), &archive);
    assert_named(&[deaf.expect_code(7)], "subscribe", "_INBOX.>");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_keys() -> Result<()> {
    let block = block("chatto-keys");
    let source = server("authorization { users: [] }");
    fill(&source).await?;
    let keys = |user: &str, password: &str, server: &Server, arguments: &[&str]| {
        by(user, password, "chatto-keys", server, arguments)
    };
    let export = run(keys("admin", "admin", &source, &["export"])).expect_code(0).stdout;
    let all = |server: &Server| {
        let import = || run_with(keys("keys", "change me", server, &["import"]), &export);
        let first = import();
        run_with(keys("admin", "admin", server, &["import"]), &export).expect_code(0);
        // The second import finds every key there, and looks at it.
        [
            first,
            import(),
            run(keys("keys", "change me", server, &["list"])),
            run(keys("keys", "change me", server, &["export"])),
        ]
    };

    let [first, second, list, again] = all(&server(&block)).map(|finished| finished.expect_code(0));
    assert_eq!([&first.stderr, &second.stderr, &list.stderr], ["", "", ""]);
    let of = |export: &[u8]| anyhow::Ok(serde_json::from_slice::<Json>(export)?["keys"].take());
    assert_eq!(of(&again.stdout)?, of(&export)?);

    assert_eq!(subjects(&block).len(), 5);
    for subject in subjects(&block) {
        assert_named(&all(&server(&without(&block, &subject))), "publish", &subject);
    }
    let deaf = run(keys("keys", "change me", &server(&deaf(&block)), &["list"]));
    assert_named(&[deaf.expect_code(7)], "subscribe", "_INBOX.>");
    Ok(())
}
