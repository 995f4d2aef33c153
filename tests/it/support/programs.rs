//! Runs our programs as a shell does: with files and pipes, exit codes and messages.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use super::server::{LATEST, Server, binary};

/// What a finished program left behind.
#[derive(Debug)]
pub struct Finished {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// Everything it wrote to stdout that did not go into a file or another program.
    pub stdout: Vec<u8>,
    /// Everything it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    fn new(status: ExitStatus, stdout: Vec<u8>, stderr: Vec<u8>) -> Finished {
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Finished { code: status.code(), signal: status.signal(), stdout, stderr }
    }

    /// Panics, with what it said, unless it ended with `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Finished {
        assert_eq!(self.code, Some(code), "signal {:?}, stderr:\n{}", self.signal, self.stderr);
        self
    }
}

/// It ended with `code` and said all of `words`.
#[track_caller]
pub fn refused(finished: Finished, code: i32, words: &[&str]) {
    let finished = finished.expect_code(code);
    for words in words {
        assert!(finished.stderr.contains(words), "no \"{words}\" in:\n{}", finished.stderr);
    }
}

/// The path of one of our programs, e.g. `chatto-dump`.
pub fn path(program: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_chatto-dump")).with_file_name(program)
}

/// Where programs are looked for: `first`, then ours, the nats-server of the tests, and the system's.
pub fn search_path(first: &[PathBuf]) -> String {
    let system = std::env::var_os("PATH").unwrap();
    let ours = [path("chatto-dump"), binary(LATEST)].map(|program| program.parent().unwrap().to_owned());
    let all = first.iter().cloned().chain(ours).chain(std::env::split_paths(&system));
    std::env::join_paths(all).unwrap().into_string().unwrap()
}

/// Makes a program of `text`, which everybody may run. Another process writes it: what another thread
/// starts while a file is open for writing here holds it open until it has become another program, and as
/// long as anybody does nobody can run it ("text file busy").
pub fn install(path: &Path, text: &str) {
    let mut sh = Command::new("sh");
    sh.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path);
    run_with(sh, text).expect_code(0);
}

/// The same with a copy of a program.
pub fn install_copy(path: &Path, of: &Path) {
    let mut install = Command::new("install");
    install.args(["-m", "755"]).args([of, path]);
    run(install).expect_code(0);
}

/// One of our programs, with none of this environment's configuration.
pub fn program(program: &str) -> Command {
    let mut command = Command::new(path(program));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CHATTO_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// The same, with SIGHUP as a terminal's shell leaves it: where these tests run under nohup(1), what they
/// start would ignore it too. env(1) becomes the program, so its number is the program's.
pub fn program_that_hangs_up(name: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP".as_ref(), path(name).as_os_str()]).stdin(Stdio::null());
    for (name, _) in program(name).get_envs() {
        command.env_remove(name);
    }
    command
}

/// One of our programs, configured by its environment for `server`.
pub fn program_for(name: &str, server: &Server) -> Command {
    let mut command = program(name);
    command.env("CHATTO_NATS_CLIENT_URL", server.url());
    if !server.token().is_empty() {
        command
            .env("CHATTO_NATS_CLIENT_AUTH_METHOD", "token")
            .env("CHATTO_NATS_CLIENT_TOKEN", server.token());
    }
    command
}

/// Runs it to its end. Its stdin is what the command says; stdout and stderr are captured.
pub fn run(mut command: Command) -> Finished {
    let output = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap_or_else(|e| cannot(&command, e));
    Finished::new(output.status, output.stdout, output.stderr)
}

/// Runs it with `input` through a pipe. That it stops reading early is its own affair.
pub fn run_with(mut command: Command, input: impl AsRef<[u8]> + Send) -> Finished {
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_ref()));
        finish(child)
    })
}

/// Runs it with a stdout whose reader is gone already.
pub fn run_for_nobody(mut command: Command) -> Finished {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    finish(spawn(command.stdout(writer)))
}

/// Runs `commands` as one shell pipeline; the last one's stdout is captured.
pub fn pipeline(commands: impl IntoIterator<Item = Command>) -> Vec<Finished> {
    let mut children: Vec<Child> = Vec::new();
    for mut command in commands {
        if let Some(before) = children.last_mut() {
            command.stdin(before.stdout.take().unwrap());
        }
        children.push(spawn(command.stdout(Stdio::piped())));
    }
    let readers: Vec<_> = children.into_iter().map(|child| thread::spawn(|| finish(child))).collect();
    readers.into_iter().map(|reader| reader.join().unwrap()).collect()
}

/// Starts it with stderr captured; [`finish`] it later. For tests that act while it runs.
pub fn spawn(command: &mut Command) -> Child {
    command.stderr(Stdio::piped()).spawn().unwrap_or_else(|e| cannot(command, e))
}

/// Reads what it has left to say and waits for its end.
pub fn finish(mut child: Child) -> Finished {
    let mut stderr = child.stderr.take().unwrap();
    let stderr = thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).map(|_| bytes)
    });
    let mut stdout = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout).unwrap();
    }
    let stderr = stderr.join().unwrap().unwrap();
    Finished::new(child.wait().unwrap(), stdout, stderr)
}

fn cannot(command: &Command, error: std::io::Error) -> ! {
    panic!("cannot run {:?}: {error}; if it is missing, see scripts/install-tools", command.get_program())
}
