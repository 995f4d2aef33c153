//! Setting up: a Rust that is too old is refused at once, with a hint, before anything is installed or compiled. An sshd that
//! the tests install does not keep running. The tests end with a total.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::programs::{Finished, install, refused, run};
use tempfile::TempDir;

/// A checkout of the scripts, and programs that stand before the system's; what they do is in `calls`.
struct Machine(TempDir);

impl Machine {
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        for directory in ["bin", "scripts", "src", "examples"] {
            fs::create_dir(machine.at(directory)).unwrap();
        }
        for file in ["Cargo.toml", "Cargo.lock", "Makefile", "examples/completions.rs", "scripts/need-rust"] {
            machine.copy(file);
        }
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn copy(&self, file: &str) {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), self.at(file)).unwrap();
    }

    /// A program that notes how it is called, and does what `script` says.
    fn program(&self, path: &str, script: &str) {
        let calls = self.at("calls");
        let text = format!("#!/bin/sh\necho \"${{0##*/}} $*\" >> '{}'\n{script}\n", calls.display());
        install(&self.at(path), &text);
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.at("calls")).unwrap_or_default()
    }

    fn run(&self, line: &str, path: &str) -> Finished {
        let mut bash = Command::new("/bin/bash");
        bash.args(["-c", line]).current_dir(self.0.path()).env("PATH", path).env_remove("CARGO_TARGET_DIR");
        run(bash)
    }

    /// With our programs before the system's.
    fn shell(&self, line: &str) -> Finished {
        let system = std::env::var("PATH").unwrap();
        self.run(line, &format!("{}:{system}", self.at("bin").display()))
    }
}

#[test]
fn a_rust_that_is_too_old_is_refused_before_anything_else() {
    let machine = Machine::new();
    for script in ["demo", "test", "bench", "fuzz", "lint"] {
        machine.copy(&format!("scripts/{script}"));
    }
    for program in ["scripts/install-tools", "bin/cargo", "bin/rustup"] {
        machine.program(program, "");
    }
    let commands = [
        "scripts/demo",
        "scripts/test",
        "scripts/bench",
        "scripts/fuzz",
        "scripts/lint",
        "make",
        "make static",
    ];
    for (rustc, words) in [
        (
            "echo 'rustc 1.65.0 (897e37553 2022-11-02)'",
            "error: Rust 1.65.0 is too old; version 1.89 or newer",
        ),
        ("exit 1", "error: there is no Rust here; version 1.89 or newer"),
    ] {
        install(&machine.at("bin/rustc"), &format!("#!/bin/sh\n{rustc}\n"));
        for command in commands {
            let finished = machine.shell(command);
            let code = if command.starts_with("make") { 2 } else { 1 };
            refused(finished, code, &[words, "hint: rustup update stable"]);
        }
    }
    assert_eq!(machine.calls(), "");
    for new in ["1.89.0", "1.100.1", "1.91.0-nightly"] {
        install(&machine.at("bin/rustc"), &format!("#!/bin/sh\necho 'rustc {new} (0 2026-11-22)'\n"));
        assert_eq!(machine.shell("scripts/need-rust").expect_code(0).stderr, "", "{new}");
    }
}

#[test]
fn an_sshd_that_is_installed_for_the_tests_is_not_left_running() {
    let machine = Machine::new();
    let script =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install-tools")).unwrap();
    // The machine of this test has its programs in one directory.
    assert!(script.contains("PATH=$PATH:/usr/sbin"));
    install(&machine.at("scripts/install-tools"), &script.replace("PATH=$PATH:/usr/sbin", "PATH=$PATH"));
    for program in ["bash", "env", "sh", "mktemp", "rm", "tail", "dirname"] {
        let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
        symlink(found.iter().find(|path| path.exists()).unwrap(), machine.at("bin").join(program)).unwrap();
    }
    machine.program("bin/id", "echo 0");
    machine.program("bin/apt-get", "");
    machine.program("bin/systemctl", "");
    let bin = machine.at("bin").display().to_string();
    machine.run("scripts/install-tools sshd", &bin).expect_code(0);
    let calls = machine.calls();
    let at = |call: &str| calls.find(call).unwrap_or_else(|| panic!("no {call} in:\n{calls}"));
    let order =
        ["systemctl --quiet mask ssh.service", "install -y", "unmask ssh.service", "disable ssh.service"];
    assert!(order.map(at).is_sorted(), "{calls}");
    // Of Prometheus one program is taken, and its package is not installed.
    fs::remove_file(machine.at("calls")).unwrap();
    machine.program("bin/dpkg-deb", "");
    machine.program("bin/tar", "");
    machine.program("bin/install", "");
    machine.run("scripts/install-tools promtool", &bin).expect_code(0);
    let calls = machine.calls();
    assert!(calls.contains("apt-get download prometheus") && calls.contains("/usr/local/bin"), "{calls}");
    assert!(!calls.contains("install -y"), "{calls}");
    // One that was there is left alone.
    fs::remove_file(machine.at("calls")).unwrap();
    machine.program("bin/sshd", "");
    machine.run("scripts/install-tools sshd", &bin).expect_code(0);
    assert_eq!(machine.calls(), "");
}

#[test]
fn the_tests_end_with_a_total_and_with_cargos_status() {
    let machine = Machine::new();
    machine.copy("scripts/test");
    for program in ["need-rust", "install-tools", "get-nats-server", "get-s3", "get-schemas", "get-nats"] {
        machine.program(&format!("scripts/{program}"), "");
    }
    machine.program(
        "bin/cargo",
        "echo 'test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured'
         echo 'test result: FAILED. 30 passed; 2 failed; 0 ignored; 0 measured'
         exit 101",
    );
    let tested = machine.shell("scripts/test --locked").expect_code(101);
    let said = String::from_utf8(tested.stdout).unwrap();
    assert_eq!(said.lines().next_back(), Some("total: 42 passed, 2 failed"), "{said}");
    assert!(machine.calls().contains("cargo test --locked\n"), "{}", machine.calls());
}

#[test]
fn a_demo_into_a_file_that_exists_says_what_to_do() {
    let machine = Machine::new();
    machine.copy("scripts/demo");
    fs::write(machine.at("mine"), "mine").unwrap();
    refused(machine.shell("scripts/demo mine"), 2, &["mine exists already", "hint: name another file"]);
    assert_eq!(fs::read(machine.at("mine")).unwrap(), b"mine");
}
