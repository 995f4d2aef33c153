//! What is written of any snapshot that can be read, and what is written of a model, is read as the same.
//!
//! The bytes of the input are a model, and once more the content of a snapshot in NATSARC1 or the tar format
//! whose items are written again.

#![no_main]

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use chatto_pipes::names::StreamName;
use chatto_pipes::snapshot::{
    ConsumerState, Contents, Fault, Format, Item, NatsArcWriter, Record, ReportedState, State, Writer,
    inspect, inspect_items, stream_info, to_natsarc1, to_tar,
};
use chatto_pipes_fuzz::{repair, s2};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

#[derive(Arbitrary, Debug)]
struct Input {
    messages: Vec<Message>,
    /// Sequences after the last message that are deleted.
    deleted_last: u16,
    /// An `o.dat`.
    state: Vec<u8>,
    /// The content of a snapshot.
    content: Vec<u8>,
    frames: [u8; 4],
}

#[derive(Arbitrary, Debug)]
struct Message {
    /// Sequences before it that are deleted.
    gap: u32,
    time: i64,
    subject: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

fuzz_target!(|input: Input| {
    let name = StreamName::new("S").unwrap();
    let config = RawValue::from_string(r#"{"name":"S"}"#.into()).unwrap();
    model(&name, &config, &input);

    if let Ok(state) = ConsumerState::decode(&input.state) {
        assert_eq!(ConsumerState::decode(&state.encode()).unwrap(), state);
    }

    let mut content = input.content;
    repair::snapshot(&mut content, "S");
    let snapshot = s2::wrap(&content, &input.frames);
    let reported = ReportedState::default();
    let mut tar = Vec::new();
    if to_tar(&name, &config, snapshot.as_slice(), &mut tar).is_ok() {
        let before = inspect(&name, &reported, snapshot.as_slice()).unwrap();
        let reported = ReportedState {
            messages: before.messages,
            first_seq: before.first_seq,
            last_seq: before.last_seq,
            ..reported
        };
        let after = inspect(&name, &reported, tar.as_slice()).unwrap();
        assert_eq!((after.messages, after.sum), (before.messages, before.sum));
        assert_eq!((after.last_seq, after.consumers), (before.last_seq, before.consumers));
    }

    let mut natsarc = Vec::new();
    if to_natsarc1(&name, &ReportedState::default(), snapshot.as_slice(), &mut natsarc).is_ok() {
        let [before, after] = [&snapshot, &natsarc]
            .map(|bytes| inspect(&name, &ReportedState::default(), bytes.as_slice()).unwrap());
        assert_eq!(after.format, Format::NatsArc1);
        assert_eq!((after.messages, after.sum), (before.messages, before.sum));
        assert_eq!((after.last_seq, after.consumers), (before.last_seq, before.consumers));
    }
});

fn model(name: &StreamName, config: &RawValue, input: &Input) {
    let info = stream_info(config, 0).unwrap();
    let mut writer = Writer::begin(Vec::new(), name, &info).unwrap();
    let mut written = BTreeMap::new();
    let mut sequence = 0;
    let gaps = input.messages.iter().map(|message| u64::from(message.gap) + 1).sum::<u64>();
    let state = State { last_seq: gaps + u64::from(input.deleted_last), ..State::default() };
    let mut natsarc = NatsArcWriter::begin(Vec::new(), state).unwrap();
    for Message { gap, time, subject, headers, payload } in &input.messages {
        sequence += u64::from(*gap) + 1;
        let message = (*time, subject.clone(), headers.clone(), payload.clone());
        let record = Record { sequence, time: *time, subject, headers, payload };
        writer.message(&record).unwrap();
        natsarc.message(&record).unwrap();
        written.insert(sequence, message);
    }
    let last_seq = sequence + u64::from(input.deleted_last);
    let bytes = writer.finish(last_seq, 0).unwrap();

    let natsarc = natsarc.finish().unwrap();
    let [as_tar, as_natsarc] =
        [&bytes, &natsarc].map(|bytes| inspect(name, &ReportedState::default(), bytes.as_slice()).unwrap());
    assert_eq!((as_natsarc.sum, as_natsarc.last_seq), (as_tar.sum, as_tar.last_seq));

    let first_seq = written.keys().next().copied().unwrap_or(last_seq + 1);
    let messages = written.len() as u64;
    let reported = ReportedState { messages, first_seq, last_seq, ..ReportedState::default() };
    let contents = inspect_items(name, &reported, bytes.as_slice(), |item| {
        if let Item::Message(Record { sequence, time, subject, headers, payload }) = item {
            let message = (time, subject.to_vec(), headers.to_vec(), payload.to_vec());
            assert_eq!(written.remove(&sequence), Some(message));
        }
        Ok::<_, Fault>(())
    })
    .unwrap();
    assert!(written.is_empty());
    let expected = Contents {
        format: Format::Tar,
        messages,
        records: messages,
        first_seq,
        last_seq,
        ..contents.clone()
    };
    assert_eq!(contents, expected);
}
