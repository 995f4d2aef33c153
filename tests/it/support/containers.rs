//! Replacements for container engines, which cannot run here: a Chatto as in its own compose file, with a `docker` that runs
//! the commands of our examples, and readers of their files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs::{install, run};

/// What Chatto's own example has in its `compose.yml`, as far as it concerns a backup.
const COMPOSE: &str = r#"
services:
  nats:
    image: nats:latest
    restart: unless-stopped
    command: ["--jetstream", "--store_dir=/data", "--auth=${NATS_TOKEN}"]
    volumes:
      - nats_data:/data
  chatto:
    image: ghcr.io/chattocorp/chatto:latest
    restart: unless-stopped
    env_file: .env
    depends_on:
      - nats
volumes:
  nats_data:
"#;

/// A file or directory of the examples.
pub fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// The program of that name which `scripts/get-schemas` has installed, as a command.
pub fn schema_tool(module: &str) -> Command {
    let mut python = Command::new(python());
    python.args(["-m", module]);
    python
}

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/schemas/bin/python");
    assert!(python.is_file(), "{} is missing; run: scripts/get-schemas", python.display());
    python
}

/// The documents of a file in YAML.
pub fn documents(file: &Path) -> Vec<serde_json::Value> {
    const READ: &str =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let mut read = Command::new(python());
    read.args(["-c", READ]).arg(file);
    serde_json::from_slice(&run(read).expect_code(0).stdout).unwrap()
}

/// Makes `dir` the directory of a Chatto that runs with Docker Compose, whose NATS is at `url`, with our
/// files beside its own.
pub fn compose_project(dir: &Path, url: &str, token: &str) {
    fs::write(dir.join("compose.yml"), COMPOSE).unwrap();
    let settings = format!(
        "PUBLIC_URL=chat.example.com\nPUID=1000\nPGID=1000\nNATS_TOKEN={token}\n\
         CHATTO_NATS_EMBEDDED_ENABLED=false\nCHATTO_NATS_CLIENT_URL={url}\n\
         CHATTO_NATS_CLIENT_AUTH_METHOD=token\nCHATTO_NATS_CLIENT_TOKEN={token}\nCHATTO_WEBSERVER_PORT=4000\n"
    );
    fs::write(dir.join(".env"), settings).unwrap();
    for file in ["backup.yaml", "bucket.yaml"] {
        fs::copy(example("compose").join(file), dir.join(file)).unwrap();
    }
}

/// Puts a `docker` into `bin`, see `docker.py`.
pub fn docker(bin: &Path) {
    install(&bin.join("docker"), &format!("#!{}\n{}", python().display(), include_str!("docker.py")));
}
