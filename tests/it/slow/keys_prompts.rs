//! Prompts at a real pseudo-terminal, driven by expect(1). The program asks there while stdin and stdout are pipes, without
//! echo, and the terminal is as before afterwards, whatever happens.

use std::fs;
use std::process::Command;

use crate::support::programs::{Finished, path, program, program_for, run, run_with};
use crate::support::server::{LATEST, Server};
use crate::support::terminal::{expect, expect_for};
use anyhow::Result;
use async_nats::jetstream::kv;
use tempfile::TempDir;

#[track_caller]
fn all_well(finished: Finished) -> String {
    let shown = age_well(finished);
    assert!(!shown.contains("sesame"), "the passphrase was echoed:\n{shown}");
    shown
}

/// The same where age(1) asks, which prompts before it turns the echo off; expect(1) is faster than that.
#[track_caller]
fn age_well(finished: Finished) -> String {
    let shown = String::from_utf8_lossy(&finished.stdout).into_owned();
    assert_eq!(finished.code, Some(0), "{shown}\n{}", finished.stderr);
    shown
}

fn open_with_file(dir: &TempDir, file: &str) -> Vec<u8> {
    let mut command = program("chatto-keys");
    command.current_dir(dir.path()).args(["open", "--passphrase-file", "-", file]);
    run_with(command, "sesame\n").expect_code(0).stdout
}

/// A directory with `sealed`, which `sesame` opens.
fn sealed() -> Result<TempDir> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("content"), "content")?;
    let mut command = program("chatto-keys");
    command.args(["seal", "--passphrase-file", "-"]).arg(dir.path().join("content"));
    fs::write(dir.path().join("sealed"), run_with(command, "sesame\n").expect_code(0).stdout)?;
    Ok(dir)
}

#[test]
fn seal_asks_twice_while_stdin_and_stdout_are_pipes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    all_well(expect(
        &dir,
        r#"
        shell "echo content | $keys seal | cat > sealed"
        want "new passphrase: "; send "sesame\r"
        want "the same again: "; send "sesame\r"
        end"#,
    ));
    assert_eq!(open_with_file(&dir, "sealed"), b"content\n");
    Ok(())
}

#[test]
fn passphrases_that_differ_seal_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    all_well(expect(
        &dir,
        r#"
        shell "echo content | $keys seal > sealed; test \$? = 1"
        want "new passphrase: "; send "sesame\r"
        want "the same again: "; send "sesame2\r"
        want "error: the passphrases differ"
        end"#,
    ));
    assert_eq!(fs::read(dir.path().join("sealed"))?, b"");
    Ok(())
}

#[test]
fn an_empty_passphrase_is_refused() -> Result<()> {
    let dir = tempfile::tempdir()?;
    all_well(expect(
        &dir,
        r#"
        shell "echo content | $keys seal > sealed; test \$? = 1"
        want "new passphrase: "; send "\r"
        want "error: the passphrase is empty"
        end"#,
    ));
    Ok(())
}

#[test]
fn open_asks_again_after_a_wrong_passphrase_and_gives_up_after_three() -> Result<()> {
    let dir = sealed()?;
    all_well(expect(
        &dir,
        r#"
        shell "cat sealed | $keys open | cat > opened"
        want "passphrase: "; send "wrong\r"
        want "wrong passphrase"
        want "passphrase: "; send "sesame\r"
        end"#,
    ));
    assert_eq!(fs::read(dir.path().join("opened"))?, b"content");
    all_well(expect(
        &dir,
        r#"
        shell "$keys open sealed > opened; test \$? = 6"
        foreach n {1 2 3} { want "passphrase: "; send "wrong\r"; want "wrong passphrase" }
        want "error: wrong passphrase"
        end"#,
    ));
    Ok(())
}

#[test]
fn the_echo_comes_back_after_a_signal_and_the_signal_ends_the_program() -> Result<()> {
    let dir = sealed()?;
    // Ctrl-C, as the terminal sends it to the whole pipeline. The shell survives it by its trap.
    let shown = all_well(expect(
        &dir,
        r#"
        shell "trap : INT; stty -a > before; cat sealed | $keys open > opened; echo status \$?; stty -a > after"
        want "passphrase: "; send "\003"
        want "status 130"
        end"#,
    ));
    assert_eq!(
        fs::read_to_string(dir.path().join("before"))?,
        fs::read_to_string(dir.path().join("after"))?,
        "{shown}"
    );

    for (signal, status) in [("TERM", 143), ("HUP", 129), ("QUIT", 131)] {
        let script = r#"
            shell "ulimit -c 0; stty -a > before; sh -c 'echo \$\$ > pid; exec $keys open sealed > opened' & wait \$!; echo status \$?; stty -a > after"
            want "passphrase: "
            exec sh -c "kill -SIGNAL \$(cat pid)"
            want "status STATUS"
            end"#;
        all_well(expect(&dir, &script.replace("SIGNAL", signal).replace("STATUS", &status.to_string())));
        let (before, after) = (fs::read(dir.path().join("before"))?, fs::read(dir.path().join("after"))?);
        assert!(before == after, "SIG{signal}");
    }
    Ok(())
}

/// After the prompt is over too: a handler that was registered once must not swallow it.
#[test]
fn a_signal_after_the_prompt_ends_the_program() -> Result<()> {
    let dir = tempfile::tempdir()?;
    // Once the first byte is out, it waits for the rest of its input.
    let script = "mkfifo in out; $KEYS seal in > out & exec 4<out 3>in; head -c 100000 /dev/zero >&3
        head -c 1 <&4 >first; kill -TERM $!; wait $!; echo status $?";
    fs::write(dir.path().join("script"), script)?;
    all_well(expect(
        &dir,
        r#"
        shell "KEYS=$keys; . ./script"
        want "new passphrase: "; send "sesame\r"
        want "the same again: "; send "sesame\r"
        want "status 143"
        end"#,
    ));
    assert_eq!(fs::read(dir.path().join("first"))?, b"a");
    Ok(())
}

#[test]
fn a_stopped_prompt_goes_on_without_echo() -> Result<()> {
    let dir = sealed()?;
    let shown = all_well(expect(
        &dir,
        r#"
        spawn -noecho sh -i -m
        send "PS1='rea''dy> '; stty -a > before\r"; want "ready> "
        send "$keys open sealed > opened\r"
        want "passphrase: "; send "\032"
        want "ready> "; send "stty -a > between; fg\r"
        want "passphrase: "; send "sesame\r"
        want "ready> "; send "stty -a > after; exit\r"
        end"#,
    ));
    let states = ["before", "between", "after"].map(|name| fs::read_to_string(dir.path().join(name)));
    let [before, between, after] = states;
    let before = before?;
    assert_eq!(before, between?, "{shown}");
    assert_eq!(before, after?, "{shown}");
    assert_eq!(fs::read(dir.path().join("opened"))?, b"content");
    Ok(())
}

#[test]
fn without_a_terminal_nobody_is_asked() -> Result<()> {
    let dir = sealed()?;
    // setsid(1) takes the controlling terminal away.
    let keys = |arguments: &[&str]| {
        let mut command = Command::new("setsid");
        command.current_dir(dir.path()).arg("-w").arg(path("chatto-keys")).args(arguments);
        command
    };
    let opened = run(keys(&["open", "sealed"])).expect_code(6);
    assert!(opened.stderr.contains("there is no terminal to ask at"), "{}", opened.stderr);
    assert!(opened.stderr.contains("hint: give the passphrase in a file"), "{}", opened.stderr);
    run(keys(&["seal", "content"])).expect_code(2);
    Ok(())
}

#[test]
fn age_and_we_open_what_the_other_asked_a_passphrase_for() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("content"), "content")?;
    age_well(expect(
        &dir,
        r#"
        shell "age -p -a content > by-age"
        want "passphrase"; send "sesame\r"
        want "onfirm passphrase"; send "sesame\r"
        end"#,
    ));
    assert_eq!(open_with_file(&dir, "by-age"), b"content");

    let mut command = program("chatto-keys");
    command.args(["seal", "--passphrase-file", "-"]).arg(dir.path().join("content"));
    fs::write(dir.path().join("by-us"), run_with(command, "sesame\n").expect_code(0).stdout)?;
    age_well(expect(
        &dir,
        r#"
        shell "age -d by-us > opened"
        want "passphrase"; send "sesame\r"
        end"#,
    ));
    assert_eq!(fs::read(dir.path().join("opened"))?, b"content");
    Ok(())
}

#[test]
fn encrypted_identities_and_ssh_keys_ask_for_their_own_passphrase() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let sh = |script: &str| {
        let mut command = Command::new("sh");
        command.current_dir(dir.path()).args(["-ec", script]);
        run(command).expect_code(0)
    };
    sh("age-keygen -o identity 2> said; age-keygen -y identity > recipients; echo content > content
        ssh-keygen -q -t ed25519 -N sesame -f ssh; chmod 600 identity
        age -R recipients content > for-age; age -R ssh.pub content > for-ssh");
    let mut command = program("chatto-keys");
    command.current_dir(dir.path()).args(["seal", "--passphrase-file", "-", "identity"]);
    fs::write(dir.path().join("identity.age"), run_with(command, "sesame\n").expect_code(0).stdout)?;
    for (file, identity) in [("for-age", "identity.age"), ("for-ssh", "ssh")] {
        let script = r#"
            shell "$keys open -i IDENTITY FILE > opened"
            want "passphrase of IDENTITY: "; send "wrong\r"
            want "passphrase of IDENTITY: "; send "sesame\r"
            end"#;
        all_well(expect(&dir, &script.replace("IDENTITY", identity).replace("FILE", file)));
        assert_eq!(fs::read(dir.path().join("opened"))?, b"content\n");
    }
    Ok(())
}

/// A server with one key.
async fn server() -> Result<Server> {
    let server = Server::start(LATEST);
    let config = kv::Config { bucket: "ENCRYPTION_KEYS".into(), history: 1, ..kv::Config::default() };
    let store = crate::support::api::jetstream(server.client().await?).create_key_value(config).await?;
    store.put("user.U1", vec![b'A'; 32].into()).await?;
    Ok(server)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_into_a_file_is_encrypted_and_one_to_the_terminal_refused() -> Result<()> {
    let (server, dir) = (server().await?, tempfile::tempdir()?);
    all_well(expect_for(
        &server,
        &dir,
        r#"
        shell "$keys export > keys.age"
        want "new passphrase: "; send "sesame\r"
        want "the same again: "; send "sesame\r"
        want "1 key exported"
        end"#,
    ));
    assert!(String::from_utf8(open_with_file(&dir, "keys.age"))?.contains("\"user.U1\""));
    all_well(expect_for(
        &server,
        &dir,
        r#"
        shell "$keys export -R /dev/null; test \$? = 2"
        want "error: stdout is a terminal"
        end"#,
    ));
    all_well(expect_for(
        &server,
        &dir,
        r#"
        shell "$keys export --plaintext"
        want "user.U1"
        end"#,
    ));
    all_well(expect_for(
        &server,
        &dir,
        r#"
        shell "$keys import; test \$? = 2"
        want "error: stdin is a terminal"
        end"#,
    ));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unattended_export_into_a_file_must_say_how() -> Result<()> {
    let (server, dir) = (server().await?, tempfile::tempdir()?);
    let file = dir.path().join("keys.json");
    let export = |arguments: &[&str]| -> Result<Finished> {
        let configured = program_for("chatto-keys", &server);
        let mut command = Command::new("setsid");
        command.envs(configured.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.arg("-w").arg(path("chatto-keys")).arg("export").args(arguments);
        let child = crate::support::programs::spawn(command.stdout(fs::File::create(&file)?));
        Ok(crate::support::programs::finish(child))
    };
    let refused = export(&[])?.expect_code(2);
    assert!(refused.stderr.contains("would be written to a file unencrypted"), "{}", refused.stderr);
    assert_eq!(fs::read(&file)?, b"");
    export(&["--plaintext"])?.expect_code(0);
    assert!(fs::read_to_string(&file)?.contains("user.U1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn age_can_ask_at_the_end_of_the_pipe_and_at_its_beginning() -> Result<()> {
    let (from, to, dir) = (server().await?, Server::start(LATEST), tempfile::tempdir()?);
    age_well(expect_for(
        &from,
        &dir,
        r#"
        shell "$keys export | age -p > keys.age"
        want "passphrase"; send "sesame\r"
        want "onfirm passphrase"; send "sesame\r"
        end"#,
    ));
    age_well(expect_for(
        &to,
        &dir,
        r#"
        shell "age -d keys.age | $keys import"
        want "passphrase"; send "sesame\r"
        want "1 key imported"
        end"#,
    ));
    let again = all_well(expect_for(
        &to,
        &dir,
        r#"
        shell "$keys import < keys.age"
        want "passphrase: "; send "sesame\r"
        want "0 keys imported, 1 already there"
        end"#,
    ));
    assert!(!again.contains("AAAA"), "{again}");
    Ok(())
}

/// Each asks when it is its turn, whichever comes first, and gets its own answer.
#[test]
fn two_programs_of_a_pipeline_ask_one_after_the_other() -> Result<()> {
    let dir = sealed()?;
    let shown = all_well(expect(
        &dir,
        r#"
        shell "stty -a > before; cat sealed | $keys open | $keys seal > again; echo status \$?; stty -a > after"
        foreach turn {1 2} {
            expect {
                -re {new passphrase: $} { send "another\r"; want "the same again: "; send "another\r" }
                -re {(^|\n)passphrase: $} { send "sesame\r" }
                timeout { exit 99 }
                eof { exit 98 }
            }
        }
        want "status 0"
        end"#,
    ));
    assert!(!shown.contains("another"), "{shown}");
    assert_eq!(fs::read(dir.path().join("before"))?, fs::read(dir.path().join("after"))?, "{shown}");
    let mut open = program("chatto-keys");
    open.args(["open", "--passphrase-file", "-"]).arg(dir.path().join("again"));
    assert_eq!(run_with(open, "another\n").expect_code(0).stdout, b"content");
    Ok(())
}

/// Ctrl-C reaches the one that asks and the one that waits for its turn.
#[test]
fn a_signal_while_two_want_to_ask_brings_the_echo_back() -> Result<()> {
    let dir = sealed()?;
    all_well(expect(
        &dir,
        r#"
        shell "trap : INT; stty -a > before; cat sealed | $keys open | $keys seal > again; echo status \$?; stty -a > after"
        want "passphrase: "; send "\003"
        want "status 130"
        end"#,
    ));
    assert_eq!(fs::read(dir.path().join("before"))?, fs::read(dir.path().join("after"))?);
    Ok(())
}

/// `chatto-load` handles signals itself; its prompt must neither swallow one nor leave the echo off.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_the_prompt_of_load_ends_it_too() -> Result<()> {
    let (server, dir) = (Server::start(LATEST), sealed()?);
    let script = r#"
        shell "trap : INT; stty -a > before; LOAD sealed; echo status \$?; stty -a > after"
        want "passphrase: "; send "\003"
        want "status 130"
        end"#;
    all_well(expect_for(&server, &dir, &script.replace("LOAD", &path("chatto-load").display().to_string())));
    let (before, after) = (fs::read(dir.path().join("before"))?, fs::read(dir.path().join("after"))?);
    assert!(before == after);
    Ok(())
}
