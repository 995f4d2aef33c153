//! Between two machines that ssh(1) connects, each with a server; both of them are this one.

use anyhow::Result;

use crate::programs::{ran, shell};
use crate::spent::Spent;
use crate::support::far::Machines;
use crate::table::Goal::AtMost;
use crate::table::{Table, seconds};
use crate::turns::{DATA, by_turns, ratio};
use crate::{Asked, data};

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let dir = tempfile::tempdir()?;
    for name in ["bin", "source"] {
        std::fs::create_dir(dir.path().join(name))?;
    }
    let bin = dir.path().join("bin");
    let _machines = Machines::start(dir.path(), &["source"], &bin, &std::env::var("PATH")?);
    let dump = format!("{}/ssh source \"$FROM $DUMP\"", bin.display());
    let source = data::server();
    data::attachments(&source, asked.scaled(DATA / 2)).await?;
    let turn = async |script: String| {
        let to = data::server();
        let tokens = [source.token(), to.token()];
        let run = async || Ok(ran(&mut shell(&script, [&source.url(), &to.url()], tokens, dir.path()))?.cpu);
        Spent::on(&[source.process_id(), to.process_id()], run).await
    };
    let (through_file, piped) = by_turns(
        asked.rounds,
        async || turn(format!("{dump} > backup.tar; $TO $LOAD backup.tar")).await,
        async || turn(format!("{dump} | $TO $LOAD")).await,
    )
    .await?;
    let what = "dump over ssh piped into load";
    table.ratio(
        &format!("{what}, against by way of a file"),
        seconds(through_file.wall),
        seconds(piped.wall),
        ratio(piped.wall, through_file.wall),
        AtMost(0.7),
    );
    table.spent(&format!("{what}: by way of a file"), through_file);
    table.spent(&format!("{what}: at once"), piped);
    Ok(())
}
