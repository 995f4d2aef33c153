//! The files for containers work. The schemas of Compose and Kubernetes accept them. The commands in them run unchanged, with
//! the environment and the files that these files give them, on real servers and a real S3 server. A path in a container is the
//! same path below a directory here. `scripts/check-image` runs the image itself.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::containers::{compose_project, docker, documents, example, schema_tool};
use crate::support::far::Store;
use crate::support::fixtures::{self, Built};
use crate::support::programs::{Finished, install, run, search_path};
use crate::support::server::{LATEST, Server};
use crate::support::{equality, programs};
use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

/// The day that `restore.yaml` names. It is always that day here.
const DAY: &str = "2026-11-25";

/// What a container may use by what its programs say of themselves: 96 MiB.
const BOUND: u64 = 96;

const KUBERNETES: [&str; 4] = ["backup.yaml", "keys.yaml", "rehearse.yaml", "restore.yaml"];

/// A directory with a key pair, a store with the two buckets, and a Chatto.
struct World {
    root: TempDir,
    store: Store,
    server: Server,
    built: Built,
    path: String,
}

impl World {
    async fn start() -> Result<World> {
        let server = Server::start(LATEST);
        let built = fixtures::v0_4(&server.client().await?, server.version(), 3, 100).await?;
        let root = tempfile::tempdir()?;
        let bin = root.path().join("bin");
        for directory in ["bin", "tmp", "data", "keys", "etc/chatto", "identity"] {
            fs::create_dir_all(root.path().join(directory))?;
        }
        install(&bin.join("date"), &format!("#!/bin/sh\nexec /bin/date -d {DAY} \"$@\"\n"));
        // As the image has it.
        programs::install_copy(&bin.join("chatto-backup"), &example("chatto-backup.sh"));
        let path = search_path(&[bin]);
        let world = World { root, store: Store::start(), server, built, path };
        world.shell("age-keygen -o identity/key.txt; age-keygen -y identity/key.txt > etc/chatto/backup.pub");
        // With versions: moto calls the only one of an object "null" otherwise, and does not know it then.
        let aws = format!("{}/aws --endpoint-url {}", Store::bin().display(), world.store.url);
        let aws =
            format!("AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 {aws}");
        for bucket in ["chatto-data", "chatto-keys"] {
            let versions = "put-bucket-versioning --versioning-configuration Status=Enabled";
            world.shell(&format!("{aws} s3 mb s3://{bucket}; {aws} s3api {versions} --bucket {bucket}"));
        }
        Ok(world)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join(name.trim_start_matches('/'))
    }

    /// A command with nothing of this environment. Nobody can write to its home.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("env");
        command.arg(program).current_dir(self.root.path()).env_clear();
        command.env("PATH", &self.path).env("HOME", "/proc/nobody").env("TMPDIR", self.at("tmp"));
        command
    }

    #[track_caller]
    fn shell(&self, script: &str) -> Finished {
        let mut bash = self.command("bash");
        bash.args(["-euo", "pipefail", "-c", script]);
        run(bash).expect_code(0)
    }

    fn bucket(&self) -> [(&'static str, &str); 6] {
        [
            ("RCLONE_CONFIG", "/notfound"),
            ("RCLONE_CONFIG_BUCKET_TYPE", "s3"),
            ("RCLONE_CONFIG_BUCKET_PROVIDER", "Other"),
            ("RCLONE_CONFIG_BUCKET_ENDPOINT", &self.store.url),
            ("RCLONE_CONFIG_BUCKET_ACCESS_KEY_ID", "test"),
            ("RCLONE_CONFIG_BUCKET_SECRET_ACCESS_KEY", "test"),
        ]
    }

    /// What rclone says.
    #[track_caller]
    fn rclone(&self, arguments: &str) -> String {
        let mut rclone = self.command("rclone");
        rclone.args(arguments.split(' ')).envs(self.bucket());
        String::from_utf8(run(rclone).expect_code(0).stdout).unwrap()
    }

    /// Nothing differs between the Chatto and what was restored into `new`, keys included.
    async fn equal(&self, new: &Server) -> Result<()> {
        let (old, client) = (self.server.client().await?, new.client().await?);
        let ought = |stream: &str| self.built.is_kept(stream) || stream == "KV_ENCRYPTION_KEYS";
        let mut differences = equality::differences(&old, &client, ought).await?;
        // Keys are put anew: their values are the same, as `list` shows, and their times are not.
        differences.retain(|text| !text.starts_with("KV_ENCRYPTION_KEYS: ") || text.contains("missing"));
        assert_eq!(differences, Vec::<String>::new());
        let [old, new] = [&self.server, new].map(|server| {
            let mut list = programs::program_for("chatto-keys", server);
            list.arg("list");
            run(list).expect_code(0).stdout
        });
        assert!(!old.is_empty());
        assert_eq!(old, new);
        Ok(())
    }
}

/// The cluster as far as the files see it: Secrets, and files in Secrets and ConfigMaps.
struct Cluster<'a> {
    world: &'a World,
    /// The environments that Secrets hold.
    secrets: HashMap<String, BTreeMap<String, String>>,
    accounts: Vec<String>,
}

impl Cluster<'_> {
    /// Applies what our files have beside jobs, to a cluster whose Chatto is on `server`.
    fn new<'a>(world: &'a World, server: &Server) -> Cluster<'a> {
        let mut cluster = Cluster { world, secrets: HashMap::new(), accounts: Vec::new() };
        // As in Chatto's own example.
        let config = [
            ("NATS_TOKEN", server.token()),
            ("CHATTO_NATS_EMBEDDED_ENABLED", "false"),
            ("CHATTO_NATS_CLIENT_URL", &server.url()),
            ("CHATTO_NATS_CLIENT_AUTH_METHOD", "token"),
            ("CHATTO_NATS_CLIENT_TOKEN", server.token()),
            ("CHATTO_WEBSERVER_PORT", "4000"),
        ];
        let config = config.map(|(name, value)| (name.to_owned(), value.to_owned()));
        cluster.secrets.insert("chatto-config".into(), config.into());
        for object in KUBERNETES.iter().flat_map(|file| manifest(file)) {
            let name = text(&object["metadata"]["name"]);
            match text(&object["kind"]).as_str() {
                "Secret" => {
                    let pairs = object["stringData"].as_object().unwrap().iter();
                    let pairs = pairs.map(|(name, value)| (name.clone(), cluster.filled_in(value)));
                    let pairs = pairs.collect();
                    cluster.secrets.insert(name, pairs);
                }
                "ServiceAccount" => {
                    assert_eq!(object["automountServiceAccountToken"], false);
                    cluster.accounts.push(name);
                }
                _ => {}
            }
        }
        cluster
    }

    /// A value as its reader would write it: what is in capitals is a place for it.
    fn filled_in(&self, value: &Value) -> String {
        let value = text(value);
        match value.as_str() {
            "https://S3.EXAMPLE.COM" | "https://OTHER-S3.EXAMPLE.COM" => self.world.store.url.clone(),
            _ => value,
        }
    }

    /// Runs the pods of a job as the cluster would: its containers in their order, one after the other.
    #[track_caller]
    fn run(&self, job: &Value) -> Vec<Finished> {
        let pod = &job["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert!(self.accounts.contains(&text(&pod["serviceAccountName"])), "{pod}");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let containers = list(&pod["initContainers"]).into_iter().chain(list(&pod["containers"]));
        containers.map(|container| self.run_container(container, pod).expect_code(0)).collect()
    }

    fn run_container(&self, container: &Value, pod: &Value) -> Finished {
        let confined = &container["securityContext"];
        assert_eq!(confined["readOnlyRootFilesystem"], true, "{container}");
        assert_eq!(confined["allowPrivilegeEscalation"], false, "{container}");
        assert_eq!(confined["capabilities"]["drop"][0], "ALL", "{container}");
        let limit = mebibytes(&container["resources"]["limits"]["memory"]);
        assert!(
            mebibytes(&container["resources"]["requests"]["memory"]) > BOUND && limit > BOUND,
            "{container}"
        );

        let mut environment = BTreeMap::new();
        for source in list(&container["envFrom"]) {
            let name = text(&source["secretRef"]["name"]);
            environment.extend(self.secrets.get(&name).unwrap_or_else(|| panic!("no Secret {name}")).clone());
        }
        for variable in list(&container["env"]) {
            environment.insert(text(&variable["name"]), text(&variable["value"]));
        }
        let mut mounts = Vec::new();
        let mut command = self.world.command("env");
        command.env("TMPDIR", "/proc/nobody");
        for mount in list(&container["volumeMounts"]) {
            let volume = list(&pod["volumes"]).into_iter().find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("no volume {mount}"));
            let place = match (&volume["configMap"]["name"], &volume["secret"]["secretName"]) {
                (Value::String(name), _) if name == "chatto-backup-recipients" => "etc/chatto",
                (_, Value::String(name)) if name == "chatto-backup-identity" => "identity",
                _ if volume["emptyDir"].is_object() => {
                    assert_eq!(mount["mountPath"], "/tmp");
                    command.env("TMPDIR", self.world.at("tmp"));
                    continue;
                }
                _ => panic!("no such volume: {volume}"),
            };
            mounts.push((text(&mount["mountPath"]), self.world.at(place).display().to_string()));
        }
        for arg in list(&container["args"]) {
            let mut arg = text(arg);
            for (name, value) in &environment {
                arg = arg.replace(&format!("$({name})"), value);
            }
            for (inside, outside) in &mounts {
                arg = arg.replace(&format!("{inside}/"), &format!("{outside}/"));
            }
            command.arg(arg);
        }
        command.envs(&environment);
        run(command)
    }
}

fn manifest(file: &str) -> Vec<Value> {
    documents(&example("kubernetes").join(file))
}

/// The only job in a file, or what a CronJob in it makes.
fn job(file: &str) -> Value {
    let documents = manifest(file);
    let mut jobs = documents.iter().filter_map(|object| match object["kind"].as_str() {
        Some("CronJob") => Some(&object["spec"]["jobTemplate"]["spec"]),
        Some("Job") => Some(&object["spec"]),
        _ => None,
    });
    let job = jobs.next().unwrap_or_else(|| panic!("no job in {file}")).clone();
    assert!(jobs.next().is_none(), "more than one job in {file}");
    job
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().map(|list| list.iter().collect()).unwrap_or_default()
}

fn mebibytes(value: &Value) -> u64 {
    let value = text(value);
    let number = |unit: &str| value.strip_suffix(unit)?.parse::<u64>().ok();
    number("Mi").or(number("Gi").map(|number| number * 1024)).unwrap_or_else(|| panic!("not a size: {value}"))
}

fn sorted(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    names
}

/// The names of what is in a directory and below.
fn below(directory: &Path) -> Vec<String> {
    let mut find = Command::new("find");
    find.arg(directory).args(["-type", "f", "-printf", "%P\\n"]);
    sorted(String::from_utf8(run(find).expect_code(0).stdout).unwrap().lines().map(str::to_owned))
}

#[test]
fn kubernetes_and_compose_know_every_field_of_the_examples() {
    // The oldest release whose schema has `timeZone` for good, and the newest that is known.
    for release in ["1.27", "1.37"] {
        let mut kubernetes = schema_tool("kubernetes_validate");
        kubernetes.args(["--strict", "-k", release]);
        kubernetes.args(KUBERNETES.map(|file| example("kubernetes").join(file)));
        let said = run(kubernetes).expect_code(0);
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.matches(" passed ").count(), 7, "{said}");
    }
    let mut compose = schema_tool("check_jsonschema");
    compose.args(["--builtin-schema", "vendor.compose-spec"]);
    compose.args(["backup.yaml", "bucket.yaml"].map(|file| example("compose").join(file)));
    run(compose).expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_for_kubernetes_back_up_rehearse_and_restore() -> Result<()> {
    let world = World::start().await?;
    let cluster = Cluster::new(&world, &world.server);
    // Twice: the second is on top of the first.
    for file in ["backup.yaml", "backup.yaml", "keys.yaml"] {
        cluster.run(&job(file));
    }
    let data = sorted(world.rclone("lsf -R --files-only bucket:chatto-data").lines().map(str::to_owned));
    assert_eq!(data, [format!("daily/chatto-{DAY}.tar.gz.age"), "weekly/chatto-2026-W48.tar.gz.age".into()]);
    let keys = world.rclone("lsf -R --files-only bucket:chatto-keys");
    assert_eq!(keys, format!("daily/chatto-keys-{DAY}.age\n"));

    let rehearsed = cluster.run(&job("rehearse.yaml"));
    assert!(String::from_utf8_lossy(&rehearsed[1].stdout).starts_with("sound: "));

    let new = Server::start(LATEST);
    Cluster::new(&world, &new).run(&job("restore.yaml"));
    world.equal(&new).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_dump_fails_leaves_yesterdays_objects() -> Result<()> {
    let mut world = World::start().await?;
    world.server.stop();
    let cluster = Cluster::new(&world, &world.server);
    for (file, bucket) in [("backup.yaml", "chatto-data"), ("keys.yaml", "chatto-keys")] {
        let pod = &job(file)["template"]["spec"];
        let failed = cluster.run_container(&pod["containers"][0], pod);
        assert!(failed.code != Some(0), "{file} succeeds without a server");
        let left = world.rclone(&format!("lsf -R --files-only bucket:{bucket}"));
        assert!(left.lines().all(|name| name == "part"), "{left}");
    }
    Ok(())
}

#[test]
fn what_the_files_for_kubernetes_say_to_type_names_what_is_in_them() {
    let all: Vec<Value> = KUBERNETES.iter().flat_map(|file| manifest(file)).collect();
    let named: Vec<String> = all
        .iter()
        .map(|object| {
            format!("{}/{}", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]))
        })
        // Made by hand, and Chatto's own.
        .chain(["secret/chatto-backup-identity".into(), "deployment/chatto".into()])
        .collect();
    let mut seen = 0;
    for file in KUBERNETES {
        let source = fs::read_to_string(example("kubernetes").join(file)).unwrap();
        for line in source.lines().filter(|line| line.starts_with("#")) {
            for word in line.split([' ', '=']).filter(|word| word.contains('/')) {
                let kind = word.split('/').next().unwrap();
                if ["job", "cronjob", "secret", "deployment"].contains(&kind) {
                    assert!(named.contains(&word.to_owned()), "{file}: no {word} in {named:?}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen >= 8, "only {seen} names were found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_for_compose_back_up_every_day_and_copy_to_a_bucket() -> Result<()> {
    let world = World::start().await?;
    compose_project(world.root.path(), &world.server.url(), world.server.token());
    docker(&world.at("bin"));
    let bucket = world.bucket().map(|(name, value)| format!("{name}={value}\n"));
    fs::write(world.at("bucket.env"), bucket[2..].concat())?;
    world.shell(
        "cp etc/chatto/backup.pub .
         echo COMPOSE_FILE=compose.yml:backup.yaml:bucket.yaml >> .env
         echo BACKUP_DIR=$PWD/data >> .env
         echo KEYS_DIR=$PWD/keys >> .env
         docker compose up -d",
    );
    let files = |action: &str, name: &str, suffix: &str| {
        let (day, week) =
            (format!("daily/{name}-{DAY}.{suffix}"), format!("weekly/{name}-2026-W48.{suffix}"));
        [day, format!("report-{action}.json"), week]
    };
    let data = files("data", "chatto", "tar.gz.age");
    assert_eq!(below(&world.at("data")), data);
    assert_eq!(below(&world.at("keys")), files("keys", "chatto-keys", "age"));
    assert_eq!(
        sorted(world.rclone("lsf -R --files-only bucket:chatto-data").lines().map(str::to_owned)),
        data
    );
    Ok(())
}
