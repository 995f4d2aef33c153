//! What programs store of a second backup that store the same data only once, with `--rsyncable` and without.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;

use crate::load::BLOCKS;
use crate::programs::{is_on_path, ours_at, time};
use crate::support::server::LATEST;
use crate::table::Goal::AtMost;
use crate::table::{Table, megabytes};
use crate::{Asked, data};

/// What is backed up first, in bytes.
const BEFORE: usize = 68_000_000;

/// How many events come then.
const EVENTS: usize = 1_000;

/// A program that keeps repositories.
struct Keeper {
    name: &'static str,
    init: &'static str,
    /// Stores what is on stdin. Says in JSON what it has stored.
    store: &'static str,
    /// Where it says how many bytes were new.
    new: &'static str,
}

const KEEPERS: [Keeper; 2] = [
    Keeper {
        name: "restic",
        init: "restic init --repo repo",
        store: "restic backup --no-cache --repo repo --json --stdin | tail -n 1",
        new: "/data_added",
    },
    Keeper {
        name: "borg",
        init: "borg init -e none repo",
        store: "borg create --json --compression none --chunker-params 17,22,18,4095 repo::$(date +%s%N) -",
        new: "/archive/stats/deduplicated_size",
    },
];

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    for release in [BLOCKS, LATEST] {
        let what = format!("repositories, {release}");
        table.measure(&what, async |table| of(asked, table, release).await).await;
    }
    Ok(())
}

async fn of(asked: &Asked, table: &mut Table, release: &str) -> Result<()> {
    let server = data::server_of(release);
    data::posts(&server, asked.scaled(BEFORE) / data::POST).await?;
    let dir = tempfile::tempdir()?;
    let dump = |name: &str, options: &[&str]| -> Result<u64> {
        let file = File::create(dir.path().join(name))?;
        time(ours_at("chatto-dump", &server).args(options).stdout(file.try_clone()?))?;
        Ok(file.metadata()?.len())
    };
    dump("plain-0", &[])?;
    let before = dump("0", &["--rsyncable"])?;
    dump("again", &["--rsyncable"])?;
    let new = data::posts(&server, EVENTS).await?;
    dump("plain-1", &[])?;
    dump("1", &["--rsyncable"])?;
    for keeper in &KEEPERS {
        let what = format!("{}: {EVENTS} new events of {release}, against their size", keeper.name);
        if !is_on_path(keeper.name) {
            table.nothing(&what, "not on $PATH");
            continue;
        }
        let [_, plain] = keeper.stores(dir.path(), ["plain-0", "plain-1"])?;
        let [_, same, added] = keeper.stores(dir.path(), ["0", "again", "1"])?;
        let times = added as f64 / new as f64;
        table.ratio(&what, megabytes(plain), megabytes(added), times, AtMost(2.0));
        let what = format!("{}: no change of {release}, against all", keeper.name);
        let (all, part) = (megabytes(before), same as f64 / before as f64);
        table.ratio(&what, all, megabytes(same), part, AtMost(0.01));
    }
    Ok(())
}

impl Keeper {
    /// Stores each file in one repository; gives how many bytes of each were new.
    fn stores<const N: usize>(&self, dir: &Path, files: [&str; N]) -> Result<[u64; N]> {
        let repository = tempfile::tempdir()?;
        self.shell(repository.path(), self.init, Stdio::null())?;
        let mut added = [0; N];
        for (added, file) in added.iter_mut().zip(files) {
            let said = self.shell(repository.path(), self.store, File::open(dir.join(file))?.into())?;
            let said: Json = serde_json::from_slice(&said)?;
            *added = said.pointer(self.new).and_then(Json::as_u64).context("how many bytes were new")?;
        }
        Ok(added)
    }

    fn shell(&self, dir: &Path, script: &str, stdin: Stdio) -> Result<Vec<u8>> {
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", script]).current_dir(dir).stdin(stdin);
        shell.env("RESTIC_PASSWORD", "x").env("BORG_BASE_DIR", dir);
        shell.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        let output = shell.output()?;
        ensure!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        Ok(output.stdout)
    }
}
