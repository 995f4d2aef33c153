//! Other programs for the same job: NATS's own command line, which backs up into a directory, and Chatto's, which writes
//! a compressed archive. What each has restored is compared with the source: both end with status 0 although a stream
//! failed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::link::FAR;
use crate::programs::{is_on_path, ran, shell, time};
use crate::spent::Spent;
use crate::support::api;
use crate::support::server::Server;
use crate::table::Goal::{self, AtLeast, Shown};
use crate::table::{Table, seconds};
use crate::turns::{EVENTS, by_turns, ratio};
use crate::{Asked, data};

/// Command lines: theirs, and ours for the same. What a backup leaves in the directory is removed before the next.
struct Peer {
    name: &'static str,
    /// Run once, before everything else.
    set_up: &'static str,
    backup: [&'static str; 2],
    restore: [&'static str; 2],
}

const NATS: Peer = Peer {
    name: "nats",
    set_up: "",
    backup: ["$FROM $NATS_TOOL backup account --force theirs", "$FROM $DUMP > ours"],
    restore: ["$TO $NATS_TOOL backup restore account theirs", "$TO $LOAD ours"],
};

/// It wants a configuration with all its secrets, which ours must not find. The environment says where the server is.
const CHATTO: Peer = Peer {
    name: "chatto",
    set_up: "chatto init -c theirs.toml",
    backup: [
        "$FROM CHATTO_NATS_EMBEDDED_ENABLED=false chatto backup -c theirs.toml -o theirs",
        "$FROM $DUMP | zstd > ours",
    ],
    restore: [
        "$TO CHATTO_NATS_EMBEDDED_ENABLED=false chatto restore -c theirs.toml theirs",
        "$TO $LOAD ours",
    ],
};

/// Where a server is, seen from here.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Here,
    OverALink,
}

impl Place {
    async fn of(self, server: &Server) -> Result<String> {
        match self {
            Place::Here => Ok(server.url()),
            Place::OverALink => FAR.to(server).await,
        }
    }
}

pub async fn nats(asked: &Asked, table: &mut Table) -> Result<()> {
    if std::env::var_os("NATS_TOOL").is_none() {
        table.nothing("dump and load, against nats backup", "scripts/get-nats did not get nats");
        return Ok(());
    }
    let attachments = data::server();
    data::attachments(&attachments, asked.scaled(EVENTS)).await?;
    NATS.against(asked, table, "attachments", &attachments, Place::Here, [AtLeast(1.5), AtLeast(2.0)])
        .await?;
    drop(attachments);
    let events = data::server();
    data::events(&events, asked.scaled(EVENTS / 2)).await?;
    NATS.against(asked, table, "events", &events, Place::Here, [Shown, Shown]).await?;
    drop(events);
    let account = data::server();
    data::streams(&account, asked.scaled(60)).await?;
    data::attachments(&account, asked.scaled(5_000_000)).await?;
    let goals = [AtLeast(5.0), AtLeast(20.0)];
    NATS.against(asked, table, "61 streams over 40 ms", &account, Place::OverALink, goals).await
}

pub async fn chatto(asked: &Asked, table: &mut Table) -> Result<()> {
    if !is_on_path("chatto") {
        let why = "no chatto on $PATH, see github.com/chattocorp/chatto/releases";
        table.nothing("dump and load, against chatto backup", why);
        return Ok(());
    }
    // Half of it compresses.
    let source = data::server();
    data::attachments(&source, asked.scaled(EVENTS / 2)).await?;
    data::events(&source, asked.scaled(EVENTS / 2)).await?;
    CHATTO.against(asked, table, "through zstd", &source, Place::Here, [AtLeast(9.0), AtLeast(3.0)]).await
}

impl Peer {
    /// What the first of them writes into a directory of their own, the second reads.
    async fn against(
        &self,
        asked: &Asked,
        table: &mut Table,
        kind: &str,
        source: &Server,
        place: Place,
        goals: [Goal; 2],
    ) -> Result<()> {
        let dir = tempfile::tempdir()?;
        let from = place.of(source).await?;
        let script = |script: &str, to: &str, token: &str| {
            shell(script, [&from, to], [source.token(), token], dir.path())
        };
        time(&mut script(self.set_up, &from, source.token()))?;
        let rounds = if place == Place::Here { asked.rounds } else { 1 };

        let what = self.what("dump", kind);
        table
            .measure(&what, async |table| {
                let backup = async |line: &str, into: &str| {
                    remove(&dir.path().join(into))?;
                    let run = async || Ok(ran(&mut script(line, &from, source.token()))?.cpu);
                    Spent::on(&[source.process_id()], run).await
                };
                let [theirs, ours] = self.backup;
                let (theirs, ours) = by_turns(
                    rounds,
                    async || backup(theirs, "theirs").await,
                    async || backup(ours, "ours").await,
                )
                .await?;
                self.line(table, place, "dump", kind, [theirs, ours], goals[0]);
                Ok(())
            })
            .await;

        let what = self.what("load", kind);
        table
            .measure(&what, async |table| {
                let restore = async |line: &str| {
                    let to = data::server();
                    let url = place.of(&to).await?;
                    let run = async || Ok(ran(&mut script(line, &url, to.token()))?.cpu);
                    let spent = Spent::on(&[to.process_id()], run).await?;
                    same(source, &to).await?;
                    Ok(spent)
                };
                let [theirs, ours] = self.restore;
                let (theirs, ours) =
                    by_turns(rounds, async || restore(theirs).await, async || restore(ours).await).await?;
                self.line(table, place, "load", kind, [theirs, ours], goals[1]);
                Ok(())
            })
            .await;
        Ok(())
    }

    fn what(&self, does: &str, kind: &str) -> String {
        format!("{does}, {kind}, against {}", self.name)
    }

    fn line(&self, table: &mut Table, place: Place, does: &str, kind: &str, of: [Spent; 2], goal: Goal) {
        let [theirs, ours] = of.map(|spent| spent.wall);
        table.ratio(&self.what(does, kind), seconds(theirs), seconds(ours), ratio(theirs, ours), goal);
        // Over a link there is nothing to do but to wait.
        if place == Place::Here {
            for (who, spent) in [self.name, &format!("chatto-{does}")].into_iter().zip(of) {
                table.spent(&format!("{does} beside {}, {kind}: {who}", self.name), spent);
            }
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    match path.is_dir() {
        true => fs::remove_dir_all(path)?,
        false if path.exists() => fs::remove_file(path)?,
        false => {}
    }
    Ok(())
}

/// Fails unless every stream has as many messages here as there.
async fn same(source: &Server, restored: &Server) -> Result<()> {
    let (source, restored) = (source.client().await?, restored.client().await?);
    for name in api::stream_names(&source).await? {
        let mut counts = [0; 2];
        for (count, client) in counts.iter_mut().zip([&source, &restored]) {
            let info = api::stream_info(client, &name).await?;
            *count = info["state"]["messages"].as_u64().context("a number of messages")?;
        }
        ensure!(counts[0] == counts[1], "{name} has {} of {} messages", counts[1], counts[0]);
    }
    Ok(())
}
