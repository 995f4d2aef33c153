//! What it costs to write a snapshot of 2.15 as a tar, against checking it, which every load does beside that. Both
//! in this process, by the time that it had a CPU.

use std::hint::black_box;
use std::io::{self, Write};

use anyhow::Result;
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot::{
    InspectOptions, NatsArcWriter, Record, ReportedState, State, inspect_with, to_tar,
};
use serde_json::json;
use serde_json::value::to_raw_value;
use sha2::{Digest as _, Sha256};

use crate::Asked;
use crate::spent::in_this_process;
use crate::support::random::Random;
use crate::table::Goal::AtLeast;
use crate::table::{Table, speed};
use crate::turns::{by_turns, ratio};

/// The content of the snapshots, in bytes, and how often each is read: the kernel counts in hundredths of a second.
const CONTENT: usize = 200_000_000;
const TIMES: u32 = 3;

const SUBJECT: &[u8] = b"evt.room.AbCdEfGhIjKlMn.message_posted";

pub async fn all(asked: &Asked, table: &mut Table) -> Result<()> {
    let attachments = |random: &mut Random| random.bytes(128 << 10);
    let events = |random: &mut Random| {
        let (id, room, user) = (random.id(21), random.id(14), random.id(14));
        let event = json!({
            "id": id, "type": "message_posted", "room_id": room, "actor_id": user, "body": random.text(30),
            "created_at": "2026-08-01T12:00:00Z", "mentions": [], "thread_id": null,
        });
        event.to_string().into_bytes()
    };
    let same = |_: &mut Random| b"what compresses well, ".repeat(40);
    line(asked, table, "attachments", attachments).await?;
    line(asked, table, "events", events).await?;
    line(asked, table, "the same message again", same).await
}

async fn line(
    asked: &Asked,
    table: &mut Table,
    what: &str,
    payload: impl Fn(&mut Random) -> Vec<u8>,
) -> Result<()> {
    let content = asked.scaled(CONTENT);
    let snapshot = snapshot(content, payload)?;
    let stream = StreamName::new("S")?;
    let config = to_raw_value(&json!({ "name": "S" }))?;
    let (verify, convert) = by_turns(
        asked.rounds,
        async || {
            in_this_process(async || {
                for _ in 0..TIMES {
                    black_box(Sha256::digest(&snapshot));
                    let (state, options) = (ReportedState::default(), InspectOptions::default());
                    black_box(inspect_with(&stream, &state, options, snapshot.as_slice())?);
                }
                Ok(())
            })
            .await
        },
        async || {
            in_this_process(async || {
                for _ in 0..TIMES {
                    to_tar(&stream, &config, snapshot.as_slice(), Nowhere)?;
                }
                Ok(())
            })
            .await
        },
    )
    .await?;
    let content = content as u64 * u64::from(TIMES);
    table.ratio(
        &format!("conversion to a tar, {what}, against its check"),
        speed(content, verify),
        speed(content, convert),
        ratio(verify, convert),
        AtLeast(0.5),
    );
    Ok(())
}

/// A snapshot in NATSARC1 of so many bytes of messages.
fn snapshot(bytes: usize, payload: impl Fn(&mut Random) -> Vec<u8>) -> Result<Vec<u8>> {
    let mut random = Random::new(5);
    let mut writer = NatsArcWriter::begin(Vec::new(), State { first_seq: 1, ..State::default() })?;
    let (mut sequence, mut written) = (0, 0);
    while written < bytes {
        sequence += 1;
        let payload = payload(&mut random);
        written += SUBJECT.len() + payload.len();
        let time = 1_700_000_000_000_000_000 + i64::try_from(sequence)? * 1_000_003;
        writer.message(&Record { sequence, time, subject: SUBJECT, headers: b"", payload: &payload })?;
    }
    Ok(writer.finish()?)
}

struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
