//! The NATSARC1 format against a model: what was written is what is found, and what was harmed is refused.
//! The S2 frames around it are always sound, since their checksums would hide everything else.

#![no_main]

use arbitrary::Arbitrary;
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot::{Contents, Format, ReportedState, inspect};
use chatto_pipes_fuzz::{Pieces, s2};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    consumers: Vec<String>,
    messages: Vec<Message>,
    /// Sequences after the last message that are deleted.
    deleted_last: u16,
    frames: [u8; 4],
    harm: Harm,
}

#[derive(Arbitrary, Debug)]
struct Message {
    /// Sequences before it that are deleted.
    gap: u32,
    time: u64,
    subject: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Arbitrary, Debug)]
enum Harm {
    None,
    Cut(u32),
    Followed(u8),
    MissingConsumer,
    Swapped(u8),
    /// May hit a payload, which no checksum of the format's own covers.
    Changed {
        at: u32,
        to: u8,
    },
}

fuzz_target!(|input: Input| {
    let (content, expected) = write(&input);
    let name = StreamName::new("S").unwrap();
    let reported = ReportedState::default();
    let stream = s2::wrap(&content, &input.frames);
    let seen = inspect(&name, &reported, Pieces::new(&stream, &input.frames));
    let at_once = inspect(&name, &reported, s2::wrap(&content, &[255]).as_slice());
    match (&seen, &at_once) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(_), Err(_)) => {}
        differ => panic!("{differ:?}"),
    }
    match expected {
        Expected::Contents(contents) => {
            let seen = seen.unwrap();
            assert!(seen.sum.is_some());
            // How long a consumer stays, and which headers are those of a batch, is not modelled here.
            assert_eq!(Contents { sum: None, lasting_consumers: 0, within_batch: false, ..seen }, contents);
        }
        Expected::Refused => assert!(seen.is_err(), "{seen:?}"),
        Expected::Anything => {}
    }
});

enum Expected {
    Contents(Contents),
    Refused,
    Anything,
}

fn write(input: &Input) -> (Vec<u8>, Expected) {
    let mut sequence = 0;
    let mut first_seq = 0;
    let mut messages = Vec::new();
    for Message { gap, time, subject, headers, payload } in &input.messages {
        sequence += u64::from(*gap) + 1;
        if messages.is_empty() {
            first_seq = sequence;
        }
        messages.push(entry(subject, *time, sequence, headers, payload));
    }
    let count = messages.len() as u64;
    let last_seq = sequence + u64::from(input.deleted_last);
    if count == 0 {
        first_seq = last_seq + 1;
    }
    let mut consumers: Vec<_> = input
        .consumers
        .iter()
        .map(|name| entry(format!("consumers/{name}").as_bytes(), 1, 0, b"", br#"{"config":{},"state":{}}"#))
        .collect();
    let consumer_count = consumers.len();
    let state = format!(
        r#"{{"messages":{count},"first_seq":{first_seq},"last_seq":{last_seq},"consumer_count":{consumer_count}}}"#
    );

    let mut refused = true;
    match input.harm {
        Harm::MissingConsumer if consumers.pop().is_some() => {}
        Harm::Swapped(at) if messages.len() > 1 => {
            let at = usize::from(at) % (messages.len() - 1);
            messages.swap(at, at + 1);
        }
        _ => refused = false,
    }
    let mut content = b"NATSARC1".to_vec();
    content.extend(entry(b"state.json", 1, 0, b"", state.as_bytes()));
    content.extend(consumers.concat());
    content.extend(messages.concat());
    content.extend([0; 5]);
    match input.harm {
        Harm::Cut(at) => {
            content.truncate(at as usize % content.len());
            refused = true;
        }
        Harm::Followed(byte) => {
            content.push(byte);
            refused = true;
        }
        Harm::Changed { at, to } => {
            let at = at as usize % content.len();
            content[at] = to;
            return (content, Expected::Anything);
        }
        _ => {}
    }
    if refused {
        return (content, Expected::Refused);
    }
    let contents = Contents {
        format: Format::NatsArc1,
        messages: count,
        records: count,
        first_seq,
        last_seq,
        deleted: (last_seq + 1) - first_seq - count,
        consumers: consumer_count as u64,
        bytes: content.len() as u64,
        ..Contents::default()
    };
    (content, Expected::Contents(contents))
}

fn entry(name: &[u8], time: u64, sequence: u64, headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for mut number in [name.len() as u64, time, sequence, headers.len() as u64, payload.len() as u64] {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }
    [&out, name, headers, payload].concat()
}
