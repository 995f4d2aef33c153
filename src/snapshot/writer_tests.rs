//! Tests of our writers: every snapshot that they write is read as what was written.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::test_snapshots::{self, natsarc, s2};
use super::tests::{captures, decoded};
use super::*;
use crate::names::StreamName;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    sequence: u64,
    time: i64,
    subject: Vec<u8>,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

impl Message {
    fn of(record: &Record<'_>) -> Self {
        let Record { sequence, time, subject, headers, payload } = *record;
        let [subject, headers, payload] = [subject, headers, payload].map(<[u8]>::to_vec);
        Message { sequence, time, subject, headers, payload }
    }

    fn record(&self) -> Record<'_> {
        let Message { sequence, time, subject, headers, payload } = self;
        Record { sequence: *sequence, time: *time, subject, headers, payload }
    }
}

/// A stream to be written.
#[derive(Debug, Clone)]
struct Model {
    messages: Vec<Message>,
    consumers: Vec<(String, ConsumerState)>,
    last_seq: u64,
}

impl Model {
    fn reported(&self) -> ReportedState {
        let count = self.messages.len() as u64;
        let first_seq = self.messages.first().map_or(self.last_seq + 1, |message| message.sequence);
        ReportedState { messages: count, first_seq, last_seq: self.last_seq, ..ReportedState::default() }
    }

    fn write(&self, stream: &StreamName) -> Vec<u8> {
        let config = raw(&format!(r#"{{"name":"{stream}","x":1}}"#));
        let info = stream_info(&config, 9).unwrap();
        let mut writer = Writer::begin(Vec::new(), stream, &info).unwrap();
        for (name, state) in &self.consumers {
            let consumer = Consumer { name: name.clone(), info: consumer_info(name), state: state.clone() };
            writer.consumer(&consumer).unwrap();
        }
        for message in &self.messages {
            writer.message(&message.record()).unwrap();
        }
        writer.finish(self.last_seq, 5).unwrap()
    }
}

/// The same in NATSARC1.
fn write_natsarc(model: &Model) -> Vec<u8> {
    let ReportedState { messages, first_seq, last_seq, .. } = model.reported();
    let state = State { messages, first_seq, last_seq, last_time: 5, time: 9 };
    let mut writer = NatsArcWriter::begin(Vec::new(), state).unwrap();
    for (name, state) in &model.consumers {
        let consumer = Consumer { name: name.clone(), info: consumer_info(name), state: state.clone() };
        writer.consumer(&consumer).unwrap();
    }
    for message in &model.messages {
        writer.message(&message.record()).unwrap();
    }
    writer.finish().unwrap()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn consumer_info(name: &str) -> Box<RawValue> {
    meta::of_consumer(name, &raw(r#"{"durable_name":"x","new":1.10}"#), 9).unwrap()
}

/// What is shown of a snapshot: its parts, in the order of the model.
fn shown(stream: &StreamName, reported: &ReportedState, bytes: &[u8]) -> Result<(Model, Contents), Fault> {
    let mut model = Model { messages: Vec::new(), consumers: Vec::new(), last_seq: 0 };
    let contents = inspect_items(stream, reported, bytes, |item| {
        match item {
            Item::State(_) | Item::Info(_) => {}
            Item::Consumer(consumer) => {
                assert_eq!(consumer.info.get(), consumer_info(&consumer.name).get());
                model.consumers.push((consumer.name, consumer.state));
            }
            Item::Message(record) => model.messages.push(Message::of(&record)),
            Item::Deleted { sequence, .. } => model.last_seq = sequence,
        }
        Ok::<_, Fault>(())
    })?;
    model.last_seq = contents.last_seq;
    Ok((model, contents))
}

fn model() -> impl Strategy<Value = Model> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let gap = prop_oneof![9 => Just(0_u64), 3 => 1..5_u64, 1 => 0..3_000_000_u64];
    let headers = prop_oneof![Just(Vec::new()), Just(b"NATS/1.0\r\nA: b\r\n\r\n".to_vec()), bytes(30)];
    let message = (gap, any::<i64>(), bytes(40), headers, prop_oneof![9 => bytes(50), 1 => bytes(3000)]);
    let messages = prop::collection::vec(message, 0..60);
    let pair =
        || (any::<u64>(), 0..1_u64 << 40).prop_map(|(consumer, stream)| SequencePair { consumer, stream });
    // A long name does not fit into a plain tar header.
    let name = prop_oneof![4 => "[a-zA-Z0-9_☃-]{1,30}", 1 => "[a-z]{120,240}"];
    let consumer = (name, pair(), pair()).prop_map(|(name, delivered, ack_floor)| {
        (name, ConsumerState { delivered, ack_floor, ..ConsumerState::default() })
    });
    let consumers = prop::collection::vec(consumer, 0..4);
    let trailing = prop_oneof![Just(0_u64), 1..1000_u64];
    (0..1_u64 << 40, messages, consumers, trailing).prop_map(|(before, messages, consumers, trailing)| {
        let mut sequence = before;
        let mut all = Vec::new();
        for (gap, time, subject, headers, payload) in messages {
            sequence += gap + 1;
            all.push(Message { sequence, time, subject, headers, payload });
        }
        Model { messages: all, consumers, last_seq: sequence + trailing }
    })
}

fn stream() -> StreamName {
    StreamName::new("S").unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_as_the_same(model in model()) {
        let bytes = model.write(&stream());
        let (read, contents) = shown(&stream(), &model.reported(), &bytes).unwrap();
        prop_assert_eq!(&read.messages, &model.messages);
        prop_assert_eq!(&read.consumers, &model.consumers);
        let reported = model.reported();
        prop_assert_eq!(contents.format, Format::Tar);
        prop_assert_eq!((contents.messages, contents.records), (reported.messages, reported.messages));
        prop_assert_eq!((contents.first_seq, contents.last_seq), (reported.first_seq, reported.last_seq));
        prop_assert_eq!(contents.consumers, model.consumers.len() as u64);
        prop_assert_eq!(contents.agrees_with(&reported), Ok(()));
        // The same items are the same bytes.
        prop_assert_eq!(model.write(&stream()), bytes);
    }

    #[test]
    fn whatever_is_written_as_natsarc_is_read_as_the_same(model in model()) {
        let reported = model.reported();
        let bytes = write_natsarc(&model);
        let (read, contents) = shown(&stream(), &reported, &bytes).unwrap();
        prop_assert_eq!(&read.messages, &model.messages);
        prop_assert_eq!(&read.consumers, &model.consumers);
        prop_assert_eq!(contents.format, Format::NatsArc1);
        prop_assert_eq!((contents.first_seq, contents.last_seq), (reported.first_seq, reported.last_seq));
        prop_assert_eq!((contents.messages, contents.consumers), (reported.messages, model.consumers.len() as u64));
        // Either format becomes it.
        for from in [&bytes, &model.write(&stream())] {
            let mut again = Vec::new();
            to_natsarc1(&stream(), &reported, from.as_slice(), &mut again).unwrap();
            let (again, _) = shown(&stream(), &reported, &again).unwrap();
            prop_assert_eq!(again.messages, read.messages.clone());
            // None stands beyond the end.
            prop_assert_eq!(again.consumers.len(), read.consumers.len());
        }
    }

    /// The sum is over sequence, time, subject, headers and payload of every message.
    #[test]
    fn natsarc_becomes_a_tar_of_the_same_messages(model in model()) {
        let reported = model.reported();
        let state = format!(
            r#"{{"messages":{},"first_seq":{},"last_seq":{},"consumer_count":{}}}"#,
            reported.messages, reported.first_seq, reported.last_seq, model.consumers.len()
        );
        let mut entries: Vec<Vec<u8>> = Vec::new();
        for (name, state) in &model.consumers {
            let json = format!(r#"{{"config":{{}},"state":{}}}"#, serde_json::to_string(state).unwrap());
            entries.push(test_snapshots::entry(&format!("consumers/{name}"), 5, 0, b"", json.as_bytes()));
        }
        for Message { sequence, time, subject, headers, payload } in &model.messages {
            let zigzag = (time << 1 ^ time >> 63).cast_unsigned();
            let mut entry = test_snapshots::uvarint(subject.len() as u64);
            for value in [zigzag, *sequence, headers.len() as u64, payload.len() as u64] {
                entry.extend(test_snapshots::uvarint(value));
            }
            entries.push([&entry, subject, headers, payload].map(Vec::as_slice).concat());
        }
        entries.push(test_snapshots::entry("", 0, 0, b"", b""));
        let natsarc = s2(&natsarc(&state, &entries), 1000);

        let before = inspect(&stream(), &reported, natsarc.as_slice()).unwrap();
        let mut tar = Vec::new();
        to_tar(&stream(), &raw(r#"{"name":"S"}"#), natsarc.as_slice(), &mut tar).unwrap();
        let after = inspect(&stream(), &reported, tar.as_slice()).unwrap();
        prop_assert!(before.sum.is_some());
        // A consumer that is ahead is put back.
        prop_assert_eq!(
            Contents { format: Format::Tar, bytes: after.bytes, ahead: Vec::new(), ..before },
            after
        );
    }
}

/// Real ones of every release, written again from what is shown of them.
#[test]
fn captures_of_servers_become_the_same_messages() {
    for (dir, stream, reported, bytes) in captures() {
        let mut messages = Vec::new();
        let mut deleted = Vec::new();
        let mut writing = Vec::new();
        let contents = inspect_items(&stream, &reported, bytes.as_slice(), |item| {
            match item {
                Item::Message(record) => messages.push(Message::of(&record)),
                Item::Deleted { sequence, .. } => deleted.push(sequence),
                Item::Consumer(consumer) => writing.push(consumer),
                Item::State(_) | Item::Info(_) => {}
            }
            Ok::<_, Fault>(())
        })
        .unwrap();
        messages.retain(|message| !deleted.contains(&message.sequence));
        if contents.records != contents.messages {
            continue;
        }
        let info = raw(&format!(r#"{{"name":"{stream}"}}"#));
        let mut writer = Writer::begin(Vec::new(), &stream, &info).unwrap();
        writing.iter().for_each(|consumer| writer.consumer(consumer).unwrap());
        messages.iter().for_each(|message| writer.message(&message.record()).unwrap());
        let written = writer.finish(contents.last_seq, 0).unwrap();
        let read = inspect(&stream, &reported, written.as_slice()).unwrap();
        let same = Contents { format: Format::Tar, bytes: read.bytes, sum: read.sum, ..contents };
        assert_eq!(read, same, "{}", dir.display());
    }
}

#[test]
fn every_cut_of_what_is_written_is_noticed() {
    let message = Message { sequence: 3, payload: vec![7; 2000], ..Message::default() };
    let consumers = vec![("C".to_owned(), ConsumerState::default())];
    let bytes = Model { messages: vec![message], consumers, last_seq: 9 }.write(&stream());
    for len in 0..bytes.len() {
        assert!(
            matches!(shown(&stream(), &ReportedState::default(), &bytes[..len]), Err(Fault::Cut(_))),
            "{len}"
        );
    }
}

/// A block is as large as a server's, and no gap in it so wide that a server would have to count it out.
#[test]
fn blocks_are_bounded_in_bytes_and_in_sequences() {
    let message = |sequence, len| Message { sequence, payload: vec![1; len], ..Message::default() };
    let block = MAX_BLOCK_FILE as usize;
    let sizes = [(1, 100), (2, block + 1000), (3, 100), (4, block / 2), (5, block / 2), (6, 1)];
    let mut messages: Vec<_> = sizes.map(|(sequence, len)| message(sequence, len)).into();
    messages.extend([message(7 + (1 << 20), 1), message(8 + (1 << 20), 1), message(1 << 40, 1)]);
    let model = Model { messages, consumers: Vec::new(), last_seq: 1 << 41 };
    let bytes = model.write(&stream());
    let tar = decoded(&bytes).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let files = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path().unwrap().display().to_string(), entry.size())
    });
    let blocks: Vec<_> = files.filter(|(path, _)| path.starts_with("msgs/")).collect();
    assert_eq!(blocks.len(), 7, "{blocks:?}");
    assert_eq!(blocks.iter().filter(|(_, size)| *size > MAX_BLOCK_FILE).count(), 1, "{blocks:?}");
    assert_eq!(blocks.last().unwrap(), &("msgs/7.blk".to_owned(), 30), "a tombstone of its own");
    assert_eq!(shown(&stream(), &model.reported(), &bytes).unwrap().0.messages, model.messages);
}

#[test]
fn what_makes_no_snapshot_is_refused() {
    let writer = || Writer::begin(Vec::new(), &stream(), &raw(r#"{"name":"S"}"#)).unwrap();
    let other = Writer::begin(Vec::new(), &stream(), &raw(r#"{"name":"T"}"#));
    assert!(matches!(other, Err(WriteError::BadConfig)));
    for name in ["", "a/b", "..", "a b", "a*"] {
        let info = consumer_info("C");
        let consumer = Consumer { name: name.into(), info, state: ConsumerState::default() };
        assert!(matches!(writer().consumer(&consumer), Err(WriteError::BadName(_))), "{name}");
    }
    let mut ordered = writer();
    ordered.message(&Message { sequence: 5, ..Message::default() }.record()).unwrap();
    for sequence in [0, 4, 5, 1 << 62, u64::MAX] {
        let refused = ordered.message(&Message { sequence, ..Message::default() }.record());
        assert!(matches!(refused, Err(WriteError::OutOfOrder(_))), "{sequence}");
    }
    let long = Message { sequence: 6, subject: vec![b'x'; 1 << 16], ..Message::default() };
    assert!(matches!(ordered.message(&long.record()), Err(WriteError::TooLong(6))));
    let long = Message { sequence: 6, payload: vec![0; MAX_RECORD - 29], ..Message::default() };
    assert!(matches!(ordered.message(&long.record()), Err(WriteError::TooLong(6))));
    let fits = Message { sequence: 6, payload: vec![0; MAX_RECORD - 30], ..Message::default() };
    ordered.message(&fits.record()).unwrap();
}

/// A consumer beyond the snapshot's end would miss what is stored next.
#[test]
fn a_consumer_ahead_of_its_stream_is_put_back_on_the_way() {
    let consumer = |name: &str, config: &str| {
        let pair = r#"{"consumer_seq":9,"stream_seq":500}"#;
        let json = format!(r#"{{"config":{config},"state":{{"delivered":{pair},"ack_floor":{pair}}}}}"#);
        test_snapshots::entry(&format!("consumers/{name}"), 5, 0, b"", json.as_bytes())
    };
    let state = r#"{"messages":1,"first_seq":40,"last_seq":40,"consumer_count":4}"#;
    let content = natsarc(
        state,
        &[
            consumer("C", "{}"),
            // It is to begin there.
            consumer("D", r#"{"opt_start_seq":501}"#),
            consumer("E", r#"{"opt_start_seq":101}"#),
            // That is as a server of 2.15 has it, whose stream ends before.
            consumer("F", r#"{"opt_start_seq":701}"#),
            test_snapshots::entry("a", 2, 40, b"", b"x"),
            test_snapshots::entry("", 0, 0, b"", b""),
        ],
    );
    let mut tar = Vec::new();
    to_tar(&stream(), &raw(r#"{"name":"S"}"#), s2(&content, 100).as_slice(), &mut tar).unwrap();
    let mut stands = Vec::new();
    inspect_items(&stream(), &ReportedState::default(), tar.as_slice(), |item| {
        if let Item::Consumer(consumer) = item {
            stands.push(consumer.state);
        }
        Ok::<_, Fault>(())
    })
    .unwrap();
    let at = [40, 500, 100, 700].map(|stream| SequencePair { consumer: 9, stream });
    let at = at.map(|pair| ConsumerState { delivered: pair, ack_floor: pair, ..ConsumerState::default() });
    assert_eq!(stands, at);
}

/// Of a snapshot in the tar format all passes as it came up to the first consumer, wherever a frame ends.
#[test]
#[expect(clippy::too_many_lines, reason = "one snapshot is made, and looked at from all sides")]
fn consumers_of_a_tar_are_put_back_and_all_else_stays() {
    let state = |stream| {
        let at = SequencePair { consumer: 3, stream };
        ConsumerState { delivered: at, ack_floor: at, ..ConsumerState::default() }
    };
    let long = "long".repeat(40);
    let consumers = [
        ("ahead", 90, "{}"),
        (long.as_str(), 40, "{}"),
        ("behind", 7, "{}"),
        ("late", 90, r#"{"opt_start_seq":91}"#),
    ];
    let mut files = vec![(
        "msgs/1.blk".to_owned(),
        (1..=40).flat_map(|n| test_snapshots::record(1, n, "x", None, &[9; 90])).collect(),
    )];
    for (name, stream, config) in consumers {
        files.extend(test_snapshots::meta(&format!("obs/{name}/"), &format!("S/{name}"), config));
        files.push((format!("obs/{name}/o.dat"), state(stream).encode()));
    }
    let mut content = test_snapshots::tarball(&[]);
    content.truncate(content.len() - 1024);
    for (path, data) in &files {
        if path.len() > 100 {
            let record = format!("{} path={path}\n", path.len() + 10);
            content.extend(test_snapshots::tar_header("x", record.len(), b'x'));
            content.extend(record.as_bytes());
            content.resize(content.len().next_multiple_of(512), 0);
        }
        content.extend(test_snapshots::tar_header(&path[..path.len().min(100)], data.len(), b'0'));
        content.extend(data);
        content.resize(content.len().next_multiple_of(512), 0);
    }
    content.resize(content.len() + 1024, 0);
    let first = content.windows(4).position(|bytes| bytes == b"obs/").unwrap();
    let reported = ReportedState { messages: 40, first_seq: 1, last_seq: 40, ..ReportedState::default() };

    for size in [100, 512, 700, 1000, 5000, content.len()] {
        let before = [s2(&content, size), PADDING.to_vec()].concat();
        let mut after = Vec::new();
        put_consumers_back(0, before.as_slice(), &mut after).unwrap();
        let mut stands = Vec::new();
        let contents = inspect_items(&stream(), &reported, after.as_slice(), |item| {
            if let Item::Consumer(consumer) = item {
                stands.push((consumer.name, consumer.state));
            }
            Ok::<_, Fault>(())
        })
        .unwrap();
        assert_eq!((contents.messages, contents.last_seq), (40, 40), "frames of {size}");
        let expected = [("ahead", 40), (long.as_str(), 40), ("behind", 7), ("late", 90)];
        assert_eq!(stands, expected.map(|(name, at)| (name.to_owned(), state(at))), "frames of {size}");
        assert_eq!(decoded(&after).unwrap()[..first], content[..first]);
        let same = after.iter().zip(&before).take_while(|(a, b)| a == b).count();
        let whole = s2(&content[..first / size * size], size).len();
        assert!(same >= whole, "frames of {size}: {same} bytes are as they came, not {whole}");
        for cut in [0, 5, before.len() / 2, before.len() - 60] {
            let mut out = Vec::new();
            assert!(
                put_consumers_back(0, &before[..cut], &mut out).is_err(),
                "frames of {size} cut to {cut}"
            );
        }
        // Nothing to do is nothing done.
        let mut same = Vec::new();
        put_consumers_back(90, before.as_slice(), &mut same).unwrap();
        assert_eq!(decoded(&same).unwrap().len(), decoded(&before).unwrap().len());
    }

    // Those of servers, whose consumers are where they may be, stay what they are.
    for (dir, stream, reported, bytes) in captures() {
        if dir.to_str().unwrap().contains("2.15") {
            continue;
        }
        let mut out = Vec::new();
        put_consumers_back(reported.last_seq, bytes.as_slice(), &mut out).unwrap();
        let [before, after] =
            [&bytes, &out].map(|bytes| inspect(&stream, &reported, bytes.as_slice()).unwrap());
        assert_eq!(Contents { bytes: before.bytes, ..after }, before, "{}", dir.display());
    }
}

/// Consumers that a server left out follow all that came, which stays as it was, wherever a frame ends.
#[test]
fn what_a_tar_lacks_is_added_at_its_end() {
    let at = |stream| {
        let at = SequencePair { consumer: 3, stream };
        ConsumerState { delivered: at, ack_floor: at, ..ConsumerState::default() }
    };
    let consumer = |name: &str, stream| {
        let info = consumer_info(name);
        Consumer { name: name.to_owned(), info, state: at(stream) }
    };
    let messages = (1..=40).map(|sequence| Message { sequence, payload: vec![1; 900], ..Message::default() });
    let consumers = vec![("held".to_owned(), at(7))];
    let model = Model { messages: messages.collect(), consumers, last_seq: 40 };
    let content = decoded(&model.write(&stream())).unwrap();
    let long = "long".repeat(40);
    for size in [1, 100, 511, 512, 700, 1023, 1024, 1025, 4096, 1 << 20] {
        let before = s2(&content, size);
        let mut names = Vec::new();
        let mut out = Vec::new();
        add_consumers(&stream(), 0, before.as_slice(), &mut out, |held| {
            names = held.unwrap().to_vec();
            vec![consumer("added", 30), consumer(&long, 99)]
        })
        .unwrap();
        assert_eq!(names, ["held"]);
        let (read, contents) = shown(&stream(), &model.reported(), &out).unwrap();
        assert_eq!(read.messages, model.messages, "frames of {size}");
        // None stands beyond the stream's end.
        let expected = [("held", at(7)), ("added", at(30)), (&long, at(40))];
        assert_eq!(read.consumers, expected.map(|(name, state)| (name.to_owned(), state)));
        assert_eq!(contents.consumers, 3);
        // All frames but those that held the end are the same bytes.
        let same = before.iter().zip(&out).take_while(|(a, b)| a == b).count();
        assert!(size > 4096 || same > before.len() / 4 * 3, "{same} of {}", before.len());

        let mut untouched = Vec::new();
        add_consumers(&stream(), 0, before.as_slice(), &mut untouched, |_| Vec::new()).unwrap();
        assert_eq!(untouched, before, "frames of {size}");
        for cut in [before.len() / 3, before.len() - 1, before.len() - 600.min(before.len() / 2)] {
            let cut = add_consumers(&stream(), 0, &before[..cut], Vec::new(), |_| Vec::new());
            assert!(cut.is_err(), "frames of {size}");
        }
    }
    for (dir, stream, _, bytes) in captures() {
        let mut out = Vec::new();
        let mut asked = false;
        add_consumers(&stream, 0, bytes.as_slice(), &mut out, |_| {
            asked = true;
            Vec::new()
        })
        .unwrap();
        assert_eq!(out, bytes, "{}", dir.display());
        assert_eq!(asked, !dir.to_str().unwrap().contains("2.15"), "{}", dir.display());
    }
}

/// What follows a tar's end is held until it is over, so it is bounded.
#[test]
fn what_follows_the_end_is_bounded() {
    let model = Model { messages: Vec::new(), consumers: Vec::new(), last_seq: 4 };
    let content = decoded(&model.write(&stream())).unwrap();
    for (more, holds) in [(10 << 10, true), (2 << 20, false)] {
        let longer = [content.clone(), vec![0; more]].concat();
        let added = add_consumers(&stream(), 0, s2(&longer, 9999).as_slice(), Vec::new(), |_| Vec::new());
        assert_eq!(added.is_ok(), holds);
    }
}

fn rsyncable_of(stream: &StreamName, reported: &ReportedState, bytes: &[u8]) -> Vec<u8> {
    let config = raw(&format!(r#"{{"name":"{stream}"}}"#));
    let info = StreamInfo { stream, config: &config, created: Some(7) };
    let mut out = Vec::new();
    rsyncable(&info, reported, bytes, &mut out, |_| Vec::new()).unwrap();
    out
}

#[test]
fn captures_of_servers_are_the_same_streams_when_they_are_rsyncable() {
    for (dir, stream, reported, bytes) in captures() {
        let dir = dir.display();
        let before = inspect(&stream, &reported, &*bytes).unwrap();
        let written = rsyncable_of(&stream, &reported, &bytes);
        let after = inspect(&stream, &reported, &*written).unwrap();
        assert_eq!(after.agrees_with(&reported), Ok(()), "{dir}");
        assert_eq!(after.records, after.messages, "what is not live is said to be deleted: {dir}");
        let same = Contents {
            format: Format::Tar,
            records: after.records,
            bytes: after.bytes,
            sum: before.sum.and(after.sum),
            ..before
        };
        assert_eq!(after, same, "{dir}");
        assert_eq!(rsyncable_of(&stream, &reported, &written), written, "written again: {dir}");
    }
}

/// Messages of 100 to 3,000 bytes.
fn many(count: u64) -> Vec<Message> {
    let message = |sequence: u64| {
        let payload = (0..100 + sequence.wrapping_mul(0x9e37_79b9) % 2_900).map(|n| (n * sequence) as u8);
        Message { sequence, payload: payload.collect(), subject: b"a".to_vec(), ..Message::default() }
    };
    (1..=count).map(message).collect()
}

/// A consumer that was left out and is to begin later stands right before there, as one in the snapshot does.
#[test]
fn an_added_consumer_that_is_to_begin_later_stands_right_before_there() {
    let config: Box<RawValue> = RawValue::from_string(r#"{"opt_start_seq":1000}"#.to_owned()).unwrap();
    let at = SequencePair { consumer: 0, stream: 1 };
    let late = || Consumer {
        name: "late".into(),
        info: super::consumer_info("late", &config, 0).unwrap(),
        state: ConsumerState { delivered: at, ack_floor: at, ..ConsumerState::default() },
    };
    let all =
        [Message { sequence: 1, time: 5, subject: "a".into(), headers: Vec::new(), payload: Vec::new() }];
    let source = write_rsyncable(&all);
    let stream = stream();
    let config: Box<RawValue> = RawValue::from_string(format!(r#"{{"name":"{stream}"}}"#)).unwrap();
    let info = StreamInfo { stream: &stream, config: &config, created: None };
    let (mut rewritten, mut completed) = (Vec::new(), Vec::new());
    let reported = ReportedState::default();
    rsyncable(&info, &reported, source.as_slice(), &mut rewritten, |_| vec![late()]).unwrap();
    add_consumers(&stream, 1, source.as_slice(), &mut completed, |_| vec![late()]).unwrap();
    for snapshot in [rewritten, completed] {
        let mut delivered = Vec::new();
        inspect_items(&stream, &reported, snapshot.as_slice(), |item| {
            if let Item::Consumer(consumer) = item {
                delivered.push(consumer.state.delivered.stream);
            }
            Ok::<_, Fault>(())
        })
        .unwrap();
        assert_eq!(delivered, [999]);
    }
}

fn write_rsyncable(messages: &[Message]) -> Vec<u8> {
    let info = stream_info(&raw(r#"{"name":"S"}"#), 7).unwrap();
    let mut writer = Writer::begin(Vec::new(), &stream(), &info).unwrap().rsyncable();
    messages.iter().for_each(|message| writer.message(&message.record()).unwrap());
    writer.finish(0, 0).unwrap()
}

/// The frames of an S2 stream.
fn frames_of(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let [_, a, b, c, ..] = *bytes {
        let (frame, rest) =
            bytes.split_at(4 + usize::from(a) + (usize::from(b) << 8) + (usize::from(c) << 16));
        frames.push(frame);
        bytes = rest;
    }
    frames
}

/// How many bytes of `after` lie in no frame of `before`.
fn new_bytes(before: &[u8], after: &[u8]) -> usize {
    let known: std::collections::HashSet<_> = frames_of(before).into_iter().collect();
    frames_of(after).into_iter().filter(|frame| !known.contains(frame)).map(<[u8]>::len).sum()
}

#[test]
fn what_is_unchanged_is_the_same_bytes_in_an_rsyncable_snapshot() {
    let all = many(8_000);
    let before = write_rsyncable(&all[..7_500]);
    assert!(before.len() > 10 << 20, "{}", before.len());
    assert!(frames_of(&before).iter().skip(1).all(|frame| frame[0] == 1), "frames are stored");

    let after = write_rsyncable(&all);
    let grown = after.len() - before.len();
    let new = new_bytes(&before, &after);
    // The last block's sums stay, and its last frame has grown.
    assert!(new < grown + (300 << 10), "{new} bytes are new of a stream that grew by {grown}");

    for gone in [1..2, 3_000..3_001, 2_000..2_300, 1..4_001] {
        let (from, until) = (gone.start - 1, gone.end - 1);
        let rest = [&all[..from], &all[until..]].concat();
        let after = write_rsyncable(&rest);
        let new = new_bytes(&write_rsyncable(&all), &after);
        // In the block that has lost messages all frames but one are the same; the next blocks may have other numbers.
        assert!(new < 4 << 20, "{new} bytes are new without {gone:?}");
        assert_eq!(
            inspect(&stream(), &ReportedState::default(), &*after).unwrap().records,
            rest.len() as u64
        );
    }
}

/// NATSARC1 says at its beginning what a tar may say at its end.
#[test]
fn what_natsarc_has_no_place_for_is_refused() {
    let state = State { first_seq: 3, last_seq: 9, ..State::default() };
    let writer = || NatsArcWriter::begin(Vec::new(), state).unwrap();
    let message = |sequence| Message { sequence, subject: b"s".to_vec(), ..Message::default() };
    for sequence in [0, 1, 2] {
        let refused = writer().message(&message(sequence).record());
        assert!(matches!(refused, Err(WriteError::OutOfOrder(_))), "{sequence}");
    }
    let consumer = Consumer { name: "C".into(), info: consumer_info("C"), state: ConsumerState::default() };
    let mut late = writer();
    late.message(&message(3).record()).unwrap();
    assert!(matches!(late.message(&message(3).record()), Err(WriteError::OutOfOrder(3))));
    assert!(matches!(late.consumer(&consumer), Err(WriteError::LateConsumer)));
    let mut many = writer();
    let long = raw(&format!(r#"{{"description":"{}"}}"#, "x".repeat(9 << 20)));
    let long = Consumer { info: meta::of_consumer("C", &long, 0).unwrap(), ..consumer };
    let refused = (0..4).find_map(|_| many.consumer(&long).err());
    assert!(matches!(refused, Some(WriteError::LongConsumers)));

    // A server has its consumers and its index last.
    for (dir, stream, reported, bytes) in captures() {
        let mut out = Vec::new();
        let written = to_natsarc1(&stream, &reported, bytes.as_slice(), &mut out);
        let before = inspect(&stream, &reported, bytes.as_slice()).unwrap();
        match written {
            Ok(()) => {
                let after = inspect(&stream, &reported, out.as_slice()).unwrap();
                let format = Format::NatsArc1;
                let (records, sum) = (before.messages, before.sum.or(after.sum));
                let same = Contents { bytes: after.bytes, format, records, sum, ..before };
                assert_eq!(after, same, "{}", dir.display());
            }
            Err(ConvertError::Write(
                WriteError::LateConsumer | WriteError::LateDeletion | WriteError::OutOfOrder(_),
            )) => {
                assert_eq!(before.format, Format::Tar, "{}", dir.display());
            }
            Err(error) => panic!("{}: {error}", dir.display()),
        }
    }
}
