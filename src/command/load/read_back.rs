//! A rehearsal reads back every stream that it restored. It captures the stream again, checks the content as `chatto-dump`
//! does, and compares it with the content of the archive's snapshot. Does not know how the stream was restored.
//!
//! It does not compare the content with the state that the server reports. In a dump of a stream in use, the index can be
//! later than the blocks. A server before 2.15 that restores such a dump counts the missing messages as deleted, but has no
//! record of the deletions to send (seen on 2.11.11).

use std::sync::Arc;

use super::super::verifier::Verifier;
use super::compare_state::{State, differs};
use crate::jetstream::{Capture, InFlight, Server, Snapshotting};
use crate::names::StreamName;
use crate::snapshot::{Contents, InspectOptions};

/// Memory for what is being read back, in bytes.
const BUFFER: usize = 32 << 20;

/// The content of `stream` on the server. Every record was read, and every checksum was verified.
pub(super) async fn contents(server: &Server, stream: &StreamName) -> anyhow::Result<Contents> {
    let in_flight = Arc::new(InFlight::default());
    let how = Snapshotting { no_consumers: false, check: false, in_flight, buffer: BUFFER };
    let mut capture = Capture::begin(server, stream, how).await?;
    let reported = capture.description()?.reported;
    let mut verifier = Verifier::begin_uncompared(
        stream,
        &reported,
        InspectOptions { sum: true, ..InspectOptions::default() },
    );
    while let Some(bytes) = capture.next().await? {
        verifier = verifier.fed(bytes).await?;
    }
    Ok(verifier.verdict().await?.contents)
}

/// What was compared, if no difference was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EqualBy {
    /// Every message is there as the archive has it.
    Messages,
    /// As many messages are there, up to the same sequence; one of the snapshots holds the records of others
    /// too, or some have expired.
    Counts,
}

/// Compares what was read `back` with the verified content of the `archive`. The error says what differs.
///
/// Some differences mean no harm: messages that a limit had removed come back with a server that cannot use
/// the snapshot's index, old ones expire, and a stream with sources goes on receiving.
pub(super) fn compare(archive: &Contents, back: &Contents, may_expire: bool) -> Result<EqualBy, String> {
    // The last sequence is the server's to know: where the last messages are deleted, records may not tell.
    let last_seq = back.last_seq.max(archive.last_seq);
    // The first sequence was compared before, and may be that of a gap.
    let first_seq = archive.first_seq;
    let state = State { messages: back.messages, first_seq, last_seq, consumer_count: back.consumers };
    let words = |verb: &str, what: String| format!("read back, it {verb} {what}");
    if let Some(text) = differs(&state, archive, may_expire, words) {
        return Err(text);
    }
    // A sum says that the archive holds no record but those of its messages.
    let (Some(there), Some(here)) = (archive.sum, back.sum) else { return Ok(EqualBy::Counts) };
    if back.last_seq > archive.last_seq || back.messages != archive.messages {
        return Ok(EqualBy::Counts);
    }
    if here != there {
        return Err("read back, its messages are not those of the archive".into());
    }
    Ok(EqualBy::Messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archived() -> Contents {
        Contents {
            messages: 10,
            records: 10,
            first_seq: 3,
            last_seq: 20,
            deleted: 8,
            consumers: 2,
            lasting_consumers: 2,
            sum: Some(7),
            ..Contents::default()
        }
    }

    #[test]
    fn what_came_back_whole_is_equal_message_by_message() {
        assert_eq!(compare(&archived(), &archived(), false), Ok(EqualBy::Messages));
        // The server may have compacted what a limit had left behind.
        let loose = Contents { records: 12, unsettled: 2, sum: None, ..archived() };
        assert_eq!(compare(&loose, &archived(), false), Ok(EqualBy::Counts));
        assert_eq!(compare(&loose, &Contents { messages: 12, ..archived() }, false), Ok(EqualBy::Counts));
    }

    #[test]
    fn whatever_differs_is_named() {
        for (back, said) in [
            (Contents { messages: 9, ..archived() }, "holds 9 messages, and the archive 10"),
            (Contents { messages: 11, ..archived() }, "holds 11 messages, and the archive 10"),
            (Contents { consumers: 1, ..archived() }, "holds 1 consumers, and the archive 2"),
            (Contents { sum: Some(8), ..archived() }, "are not those of the archive"),
        ] {
            let text = compare(&archived(), &back, false).unwrap_err();
            assert!(text.ends_with(said), "{text}");
        }
    }

    #[test]
    fn gaps_at_both_ends_are_for_the_server_to_count() {
        let within = Contents { first_seq: 2, last_seq: 19, ..archived() };
        assert_eq!(compare(&archived(), &within, false), Ok(EqualBy::Messages));
    }

    #[test]
    fn what_expired_or_came_since_is_no_fault() {
        let fewer = Contents { messages: 4, first_seq: 15, sum: Some(8), ..archived() };
        assert_eq!(compare(&archived(), &fewer, true), Ok(EqualBy::Counts));
        let later = Contents { messages: 12, last_seq: 22, sum: Some(8), ..archived() };
        assert_eq!(compare(&archived(), &later, false), Ok(EqualBy::Counts));
    }
}
