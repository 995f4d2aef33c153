//! The environment of one example: a directory with the files that it names, a Chatto with data and an empty one, the machines
//! `vault`, `new` and `chatto`, and the buckets `chatto-data` and `chatto-keys`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::settings::{Setting, Then};
use crate::support::far::{Machines, Store};
use crate::support::pages::Example;
use crate::support::programs::{install, run, search_path};
use crate::support::publish::Publisher;
use crate::support::random::Random;
use crate::support::server::{LATEST, Server};
use crate::support::{api, containers, equality, fixtures};

/// How long an example may take, in seconds.
const LIMIT: &str = "300";

/// Where cron looks for programs, and how an example's crontab has it look where they are.
const CRON_PATH: &str = "/usr/bin:/bin";
const CRONTAB_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/bin:/bin\n";

/// `!` does not end a script when what ought to fail succeeds.
const NOT: &str = "not() { if \"$@\"; then return 1; fi; }\n";

/// What the examples' files are made of, once for all of them.
const FILES: &str = r#"
age-keygen -o key.txt
age-keygen -y key.txt > backup.pub
echo sesame > pass
age -R backup.pub pass > pass.age
chatto-dump > plain.tar
# As small as may be: the largest stream then comes in parts.
chatto-dump --buffer 8M > backup.tar
gzip < plain.tar > chatto.tar.gz
age -R backup.pub chatto.tar.gz > chatto.tar.gz.age
chatto-keys seal --passphrase-file pass chatto.tar.gz > sealed.tar.gz.age
chatto-keys export -R backup.pub > keys.age
chmod 600 pass key.txt
"#;

/// The Chatto that is backed up, and what was made of it.
pub struct Source {
    /// Shared between threads, but not used by them.
    _server: Mutex<Server>,
    url: String,
    token: String,
    files: TempDir,
    built: fixtures::Built,
    runtime: Runtime,
}

impl Source {
    pub fn start() -> Source {
        let runtime = Runtime::new().unwrap();
        let server = Server::start(LATEST);
        let files = tempfile::tempdir().unwrap();
        let make = |script: &str| {
            toml(&files.path().join("chatto.toml"), &server.url(), server.token());
            let made = run(bash(files.path(), &search_path(&[]), script));
            assert_eq!(made.code, Some(0), "{}", made.stderr);
        };
        let built = runtime.block_on(async {
            let client = server.client().await.unwrap();
            let built = fixtures::v0_4(&client, server.version(), 7, 200).await.unwrap();
            // What a restore of one stream brings back was written since.
            make("chatto-dump > older.tar");
            let mut random = Random::new(7);
            let mut publisher = Publisher::new(&client).await.unwrap();
            for _ in 0..6 {
                publisher.send("evt.late", &[], random.bytes(500_000)).await.unwrap();
            }
            publisher.send("$KV.RUNTIME_STATE.late", &[], "late").await.unwrap();
            publisher.send("$O.SERVER_ASSETS.C.late", &[], "late").await.unwrap();
            publisher.settle().await.unwrap();
            built
        });
        make(FILES);
        let (url, token) = (server.url(), server.token().to_owned());
        Source { _server: Mutex::new(server), url, token, files, built, runtime }
    }
}

/// One example's world.
pub struct World<'a> {
    source: &'a Source,
    setting: &'a Setting,
    new: Server,
    root: TempDir,
    path: String,
    store: Option<Store>,
    _machines: Option<Machines>,
}

impl<'a> World<'a> {
    pub fn new(source: &'a Source, setting: &'a Setting, text: &str) -> World<'a> {
        let (root, new) = (tempfile::tempdir().unwrap(), Server::start(LATEST));
        let at = |name: &str| root.path().join(name);
        for directory in ["bin", "etc/chatto", "mnt/backup", "mnt/other", "srv/backup", "srv/keys", "tmp"] {
            fs::create_dir_all(at(directory)).unwrap();
        }
        for script in ["chatto-backup", "chatto-metrics"] {
            let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{script}.sh"));
            symlink(there, at("bin").join(script)).unwrap();
        }
        // There is no Chatto to stop: it is noted that somebody wanted to.
        let systemctl = format!("#!/bin/sh\necho \"$@\" >> {}\n", at("systemctl.said").display());
        install(&at("bin/systemctl"), &systemctl);
        // The day stays the same until what was made has been looked at.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        install(&at("bin/date"), &format!("#!/bin/sh\nexec /bin/date -d @{now} \"$@\"\n"));
        for file in setting.given.split_whitespace() {
            fs::copy(source.files.path().join(file), at(file)).unwrap();
        }
        for file in ["key.txt", "backup.pub", "pass"] {
            fs::copy(source.files.path().join(file), at("etc/chatto").join(file)).unwrap();
        }
        fs::write(at("old.token"), &source.token).unwrap();
        fs::write(at("new.token"), new.token()).unwrap();
        ["old.token", "new.token"].iter().for_each(|name| private(&at(name)));
        let (old, new_one) = ((source.url.clone(), source.token.as_str()), (new.url(), new.token()));
        let here = if setting.into_new { &new_one } else { &old };
        toml(&at("chatto.toml"), &here.0, here.1);
        toml(&at("etc/chatto/chatto.toml"), &here.0, here.1);
        for (machine, server) in [("vault", &new_one), ("new", &new_one), ("chatto", &old)] {
            fs::create_dir(at(machine)).unwrap();
            toml(&at(machine).join("chatto.toml"), &server.0, server.1);
        }
        let path = search_path(&[at("bin"), Store::bin()]);
        let machines =
            || Machines::start(root.path(), &["vault", "new", "chatto"], &at("bin"), &search_path(&[]));
        let _machines = ["ssh ", "rsync "].iter().any(|word| text.contains(word)).then(machines);
        let store = text.contains("aws ").then(Store::start);
        if text.contains("docker compose") {
            containers::compose_project(root.path(), &here.0, here.1);
            containers::docker(&at("bin"));
        }
        World { source, setting, new, root, path, store, _machines }
    }

    /// What comes before the example, the example, and whether it did what it ought to.
    pub fn run(&self, example: &Example) -> Result<()> {
        if self.store.is_some() {
            self.shell("aws s3 mb s3://chatto-data; aws s3 mb s3://chatto-keys").context("buckets")?;
        }
        self.shell(self.setting.before).context("before")?;
        let script = self.here(&example.script());
        let said = match self.setting.typed {
            [] if example.is_crontab() => self.shell_at(CRON_PATH, &script)?,
            [] => self.shell(&script)?,
            typed => self.at_a_terminal(&script, typed)?,
        };
        fs::write(self.root.path().join("said"), said)?;
        match self.setting.then {
            Then::Shell(check) => drop(self.shell(check).context("then")?),
            Then::Restored { keys } => self.compare(keys)?,
            Then::Ci => bail!("run by .ci/run"),
        }
        Ok(())
    }

    /// What is somewhere else in this world than at a reader's.
    fn here(&self, script: &str) -> String {
        let root = self.root.path().display();
        let mut script = script.replace(CRONTAB_PATH, &format!("PATH='{}'\n", self.path));
        script = script.replace("chatto:/srv/", "chatto:srv/");
        for place in ["/etc/chatto", "/mnt/", "/srv/", "/var/lib/chatto", "/var/lib/prometheus"] {
            script = script.replace(place, &format!("{root}{place}"));
        }
        script.replace("nats://old:4222", &self.source.url).replace("nats://new:4222", &self.new.url())
    }

    fn bash(&self, path: &str, script: &str) -> Command {
        let mut bash = bash(self.root.path(), path, script);
        if let Some(store) = &self.store {
            bash.env("AWS_ENDPOINT_URL", &store.url).env("AWS_DEFAULT_REGION", "us-east-1");
            bash.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        }
        bash
    }

    /// Runs it, and returns what it wrote.
    fn shell(&self, script: &str) -> Result<Vec<u8>> {
        self.shell_at(&self.path, script)
    }

    /// The same, where programs are first looked for in `path`.
    fn shell_at(&self, path: &str, script: &str) -> Result<Vec<u8>> {
        let done = run(self.bash(path, &format!("{NOT}exec 2>&1\n{script}")));
        let said = String::from_utf8_lossy(&done.stdout);
        ensure!(done.code == Some(0), "status {:?}, signal {:?}:\n{said}", done.code, done.signal);
        Ok(done.stdout)
    }

    /// The same with somebody at the terminal who answers questions.
    fn at_a_terminal(&self, script: &str, typed: &[(&str, &str)]) -> Result<Vec<u8>> {
        fs::write(self.root.path().join("example"), script)?;
        let mut expect = format!("set timeout {LIMIT}\nspawn -noecho bash -euo pipefail example\n");
        for (question, answer) in typed {
            expect += &format!(
                "expect -exact {{{question}}} {{ send \"{answer}\\r\" }} timeout {{ exit 99 }} eof {{ exit 98 }}\n"
            );
        }
        expect += "expect eof {} timeout { exit 97 }\nlassign [wait] pid id failed code\nexit $code\n";
        fs::write(self.root.path().join("typing"), expect)?;
        self.shell("expect typing")
    }

    fn compare(&self, keys: bool) -> Result<()> {
        let differences = self.source.runtime.block_on(async {
            let (old, new) =
                (api::connect(&self.source.url, Some(&self.source.token)).await?, self.new.client().await?);
            let ought = |name: &str| self.source.built.is_kept(name) || keys && name == "KV_ENCRYPTION_KEYS";
            equality::differences(&old, &new, ought).await
        })?;
        // Keys are put anew: their values are the same, their times are not.
        let anew = |text: &&String| !text.starts_with("KV_ENCRYPTION_KEYS: ") || text.contains("missing");
        let differences: Vec<&String> = differences.iter().filter(anew).collect();
        ensure!(differences.is_empty(), "{differences:#?}");
        if keys {
            let old = "chatto-keys list -s $OLD --token-file old.token";
            let new = "chatto-keys list -s $NEW --token-file new.token";
            let urls = format!("OLD={} NEW={}", self.source.url, self.new.url());
            self.shell(&format!("{urls}\n{old} > old.keys; test -s old.keys; {new} | cmp - old.keys"))?;
        }
        Ok(())
    }
}

/// A shell that has nothing of this environment but what it needs.
fn bash(directory: &Path, path: &str, script: &str) -> Command {
    let mut bash = Command::new("timeout");
    bash.args([LIMIT, "bash", "-euo", "pipefail", "-c", script]).current_dir(directory).env_clear();
    bash.env("PATH", path).env("HOME", directory).env("TMPDIR", directory.join("tmp")).env("TERM", "dumb");
    bash
}

/// A configuration of Chatto's that leads to a server.
fn toml(file: &Path, url: &str, token: &str) {
    let text = format!("[nats.client]\nurl = \"{url}\"\nauth_method = \"token\"\ntoken = \"{token}\"\n");
    fs::write(file, text).unwrap();
    private(file);
}

/// Programs warn about secrets that others can read.
fn private(file: &Path) {
    fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
