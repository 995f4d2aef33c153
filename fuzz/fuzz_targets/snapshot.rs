//! The reader of snapshots: S2, and behind it the tar format with its records and indexes, or NATSARC1.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | what follows the head: an S2 stream as it is, its content, or content whose checksums are put right |
//! | 1 | which of the streams in tests/data it is said to be of |
//! | 4 | sizes of the pieces, or frames, that it is cut into |
//! | 4 | what the server promised: messages, first and last sequence, deleted |
//! | 2 | where it is cut |
//! | … | the snapshot |

#![no_main]

use std::borrow::Cow;

use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot::{Contents, Fault, Frames, PADDING, ReportedState, inspect};
use chatto_pipes_fuzz::{Pieces, repair, s2};
use libfuzzer_sys::{Corpus, fuzz_target};

const STREAMS: [&str; 4] = ["EVT", "KV_ROOMS", "EMPTY", "S"];

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((head, body)) = data.split_first_chunk::<12>() else { return Corpus::Reject };
    let [form, stream, sizes @ .., messages, first, last, deleted, cut_low, cut_high] = head;
    let stream = STREAMS[usize::from(*stream) % STREAMS.len()];
    let name = StreamName::new(stream).unwrap();
    let reported = ReportedState {
        messages: (*messages).into(),
        first_seq: (*first).into(),
        last_seq: (*last).into(),
        num_deleted: (*deleted).into(),
        ..ReportedState::default()
    };
    let read = |bytes: &[u8]| inspect(&name, &reported, bytes);

    let mut content = Cow::Borrowed(body);
    let snapshot = match form % 3 {
        0 => body.to_vec(),
        form => {
            if form == 2 {
                repair::snapshot(content.to_mut(), stream);
            }
            s2::wrap(&content, sizes)
        }
    };
    let seen = read(&snapshot);

    // How the bytes arrive changes nothing.
    let in_pieces = inspect(&name, &reported, Pieces::new(&snapshot, sizes));
    assert_eq!(told(&in_pieces), told(&seen));
    if form % 3 != 0 {
        let in_other_frames = read(&s2::wrap(&content, &[255]));
        assert_eq!(in_other_frames.ok(), seen.as_ref().ok().cloned());
    }

    let mut frames = Frames::new();
    let mut safe = Vec::new();
    for piece in Pieces::new(&snapshot, sizes) {
        frames.push(piece);
        safe.push(frames.safe());
    }
    assert!(safe.is_sorted());
    let mut at_once = Frames::new();
    at_once.push(&snapshot);
    assert_eq!(at_once.safe(), frames.safe());

    let Ok(contents) = seen else { return Corpus::Keep };
    assert!(contents.messages <= contents.records);

    let somewhere = usize::from(u16::from_le_bytes([*cut_low, *cut_high]));

    // Where padding is said to be safe, it changes nothing.
    safe.dedup();
    let at = safe[somewhere % safe.len()] as usize;
    if at > 0 {
        let (before, after) = snapshot.split_at(at);
        assert_eq!(read(&[before, &PADDING, after].concat()).unwrap(), contents);
    }

    // No part of it passes for another snapshot. What a cut may take away is zeros behind a tar's end.
    let cut = somewhere % (snapshot.len() + 1);
    if let Ok(part) = read(&snapshot[..cut]) {
        assert!(part.bytes <= contents.bytes);
        assert_eq!(Contents { bytes: contents.bytes, ..part }, contents);
    }
    Corpus::Keep
});

/// A verdict that can be compared.
fn told(seen: &Result<Contents, Fault>) -> Result<&Contents, String> {
    seen.as_ref().map_err(ToString::to_string)
}
