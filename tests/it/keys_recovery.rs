//! The disaster recovery of the operator's guide: two files, data and keys, give an equal server.

use std::fs::{self, File};
use std::process::Command;

use crate::support::programs::{finish, path, pipeline, program, program_for, run, spawn};
use crate::support::server::{LATEST, Server};
use crate::support::{archive, equality, fixtures};
use anyhow::Result;

#[tokio::test(flavor = "multi_thread")]
async fn two_files_bring_the_whole_server_back() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = |name: &str| dir.path().join(name);
    fs::write(file("pass"), "correct horse battery staple\n")?;
    let mut keygen = Command::new("age-keygen");
    run_in(keygen.arg("-o").arg(file("identity")));
    let mut keygen = Command::new("age-keygen");
    fs::write(file("recipients"), run_in(keygen.arg("-y").arg(file("identity"))))?;

    let source = Server::start(LATEST);
    let client = source.client().await?;
    let built = fixtures::v0_4(&client, source.version(), 11, 500).await?;

    // chatto-dump | gzip | chatto-keys seal --passphrase-file pass > data
    let mut seal = program("chatto-keys");
    seal.args(["seal", "--passphrase-file"]).arg(file("pass"));
    let stages = pipeline([program_for("chatto-dump", &source), Command::new("gzip"), seal]);
    let data = stages.into_iter().map(|stage| stage.expect_code(0).stdout).next_back().unwrap();
    fs::write(file("data"), &data)?;

    // chatto-keys export -R recipients > keys
    let mut export = program_for("chatto-keys", &source);
    export.args(["export", "-R"]).arg(file("recipients")).stdout(File::create(file("keys"))?);
    finish(spawn(&mut export)).expect_code(0);

    let destination = Server::start(LATEST);
    let mut load = program_for("chatto-load", &destination);
    load.arg("--passphrase-file").arg(file("pass")).stdin(File::open(file("data"))?);
    let load = run(load).expect_code(0);
    let mut import = program_for("chatto-keys", &destination);
    import.arg("import").arg("-i").arg(file("identity")).arg(file("keys"));
    run(import).expect_code(0);

    let ought = |stream: &str| built.is_kept(stream) || stream == "KV_ENCRYPTION_KEYS";
    let mut differences = equality::differences(&client, &destination.client().await?, ought).await?;
    // Keys are put anew: their values are the same, their times are not.
    differences.retain(|text| !text.starts_with("KV_ENCRYPTION_KEYS: "));
    assert_eq!(differences, Vec::<String>::new(), "{}", load.stderr);
    let exported = |server: &Server| {
        let mut export = program_for("chatto-keys", server);
        export.args(["export"]);
        let json = run(export).expect_code(0).stdout;
        serde_json::from_slice::<serde_json::Value>(&json).map(|mut json| json["keys"].take())
    };
    let keys = exported(&source)?;
    assert_eq!(keys.as_array().map(Vec::len), Some(10));
    assert_eq!(keys, exported(&destination)?);
    Ok(())
}

fn run_in(command: &mut Command) -> Vec<u8> {
    finish(spawn(command.stdout(std::process::Stdio::piped()))).expect_code(0).stdout
}

/// What is damaged or locked is found out before the first stream is restored, or ends with its status.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_passphrase_and_a_cut_file_restore_nothing_that_is_not_proven() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let script = format!(
        "set -e; cd {}; echo right > pass; echo wrong > wrong; chmod 600 pass wrong
         {dump} | gzip | {keys} seal --passphrase-file pass > data; head -c $(($(wc -c < data) / 2)) data > cut",
        dir.path().display(),
        dump = path("chatto-dump").display(),
        keys = path("chatto-keys").display(),
    );
    let source = Server::start(LATEST);
    fixtures::v0_4(&source.client().await?, source.version(), 12, 200).await?;
    let configured = program_for("chatto-dump", &source);
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    shell.envs(configured.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run(shell).expect_code(0);

    let destination = Server::start(LATEST);
    let load = |passphrase: &str, data: &str| {
        let mut load = program_for("chatto-load", &destination);
        load.arg("--passphrase-file").arg(dir.path().join(passphrase)).arg(dir.path().join(data));
        run(load)
    };
    load("wrong", "data").expect_code(6);
    assert_eq!(crate::support::api::stream_names(&destination.client().await?).await?, Vec::<String>::new());
    let cut = load("pass", "cut").expect_code(4);
    assert!(cut.stderr.contains("age layer is"), "{}", cut.stderr);
    Ok(())
}

/// Only where keys are missing, and only to whoever reads along.
#[tokio::test(flavor = "multi_thread")]
async fn missing_keys_are_said_with_the_command_that_brings_them() -> Result<()> {
    const EXPORT: &str = "encryption keys are not in this archive: chatto-keys export";
    const IMPORT: &str = "this server has no encryption keys: chatto-keys import";
    let source = Server::start(LATEST);
    let client = source.client().await?;
    fixtures::v0_4(&client, source.version(), 12, 200).await?;
    let dump = |arguments: &[&str]| {
        let mut dump = program_for("chatto-dump", &source);
        run({
            dump.args(arguments);
            dump
        })
        .expect_code(0)
    };
    assert_eq!(dump(&[]).stderr, "");
    let (without, with) = (dump(&["-v"]), dump(&["-v", "--include-keys"]));
    assert!(without.stderr.contains(EXPORT) && !with.stderr.contains(EXPORT), "{}", without.stderr);

    let load = |server: &Server, arguments: &[&str], archive: &[u8]| {
        archive::load(server, arguments, archive).expect_code(0).stderr
    };
    let (whole, bare) = (Server::start(LATEST), Server::start(LATEST));
    assert!(!load(&whole, &["-v"], &with.stdout).contains(IMPORT));
    assert!(load(&bare, &["-v"], &without.stdout).contains(IMPORT));
    assert_eq!(load(&bare, &["--conflict", "overwrite"], &without.stdout), "");
    // The keys of before are still there.
    assert!(!load(&whole, &["-v", "--conflict", "overwrite"], &without.stdout).contains(IMPORT));
    // Some stream of somebody's is no Chatto.
    let arguments = ["-v", "--stream", "NOTIFICATIONS"];
    assert!(!load(&Server::start(LATEST), &arguments, &without.stdout).contains(IMPORT));
    Ok(())
}
