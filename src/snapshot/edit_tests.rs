//! Tests of an edit: it keeps the same messages as a simple model, byte for byte, for every source.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::test_snapshots::{self, natsarc, record, s2, tarball};
use super::tests::captures;
use super::*;
use crate::names::StreamName;
use crate::names::{Prefix, Renaming, SubjectPattern};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    time: i64,
    subject: String,
    headers: Vec<u8>,
    payload: Vec<u8>,
}

/// By sequence.
type Messages = BTreeMap<u64, Message>;

const SUBJECTS: [&str; 5] = ["a", "a.b", "a.b.c", "b", "$KV.A.x"];

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// The live messages, and the consumers by name.
fn shown(
    stream: &StreamName,
    reported: &ReportedState,
    bytes: &[u8],
) -> (Messages, BTreeMap<String, ConsumerState>, Contents) {
    let (mut messages, mut deleted, mut consumers) = (Messages::new(), Vec::new(), BTreeMap::new());
    let contents = inspect_items(stream, reported, bytes, |item| {
        match item {
            Item::Message(Record { sequence, time, subject, headers, payload }) => {
                let subject = String::from_utf8(subject.to_vec()).unwrap();
                let message = Message { time, subject, headers: headers.to_vec(), payload: payload.to_vec() };
                messages.insert(sequence, message);
            }
            Item::Deleted { sequence, .. } => deleted.push(sequence),
            Item::Consumer(consumer) => drop(consumers.insert(consumer.name, consumer.state)),
            Item::State(_) | Item::Info(_) => {}
        }
        Ok::<_, Fault>(())
    })
    .unwrap();
    deleted.iter().for_each(|sequence| drop(messages.remove(sequence)));
    (messages, consumers, contents)
}

fn messages() -> impl Strategy<Value = Messages> {
    let bytes = |most| prop::collection::vec(any::<u8>(), 0..most);
    let headers = prop_oneof![Just(Vec::new()), Just(b"NATS/1.0\r\nA: b\r\n\r\n".to_vec())];
    let gap = prop_oneof![9 => Just(1_u64), 2 => 2..6_u64, 1 => 1..3_000_000_u64];
    let message =
        (gap, 1..100_i64, 0..SUBJECTS.len(), headers, prop_oneof![9 => bytes(50), 1 => bytes(3000)]);
    prop::collection::vec(message, 0..40).prop_map(|all| {
        let mut sequence = 0;
        let next = |(gap, time, subject, headers, payload): (u64, i64, usize, Vec<u8>, Vec<u8>)| {
            sequence += gap;
            (sequence, Message { time, subject: SUBJECTS[subject].to_owned(), headers, payload })
        };
        all.into_iter().map(next).collect()
    })
}

/// Some bounds of each kind, most of them none.
fn keep() -> impl Strategy<Value = MessageFilter> {
    let patterns = || {
        let pattern = prop::sample::select(&["a", "a.*", "a.>", "b", "$KV.>", ">", "z"][..]);
        let pattern = pattern.prop_map(|pattern| pattern.parse::<SubjectPattern>().unwrap());
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(pattern, 1..3)]
    };
    let time = || prop::option::weighted(0.3, 1..100_i64);
    let sequence = || prop::option::weighted(0.3, 1..60_u64);
    (patterns(), patterns(), time(), time(), sequence(), sequence()).prop_map(
        |(subjects, dropped, after, before, first_seq, last_seq)| MessageFilter {
            subjects,
            dropped,
            after,
            before,
            first_seq,
            last_seq,
            only: None,
        },
    )
}

/// What `keep` says, said once more and plainly.
fn stays(keep: &MessageFilter, sequence: u64, message: &Message) -> bool {
    let matches = |patterns: &[SubjectPattern]| {
        patterns.iter().any(|pattern| match pattern.to_string().as_str() {
            ">" => true,
            "a.>" => ["a.b", "a.b.c"].contains(&message.subject.as_str()),
            "a.*" => message.subject == "a.b",
            "$KV.>" => message.subject == "$KV.A.x",
            exact => message.subject == exact,
        })
    };
    !(!keep.subjects.is_empty() && !matches(&keep.subjects)
        || matches(&keep.dropped)
        || keep.after.is_some_and(|after| message.time < after)
        || keep.before.is_some_and(|before| message.time >= before)
        || keep.first_seq.is_some_and(|first| sequence < first)
        || keep.last_seq.is_some_and(|last| sequence > last))
}

fn in_natsarc(messages: &Messages, last: u64, consumers: &[(&str, &ConsumerState)]) -> Vec<u8> {
    let first = messages.keys().next().copied().unwrap_or(last + 1);
    let state = format!(
        r#"{{"messages":{},"first_seq":{first},"last_seq":{last},"consumer_count":{}}}"#,
        messages.len(),
        consumers.len()
    );
    let mut entries = Vec::new();
    for (name, state) in consumers {
        let json = format!(r#"{{"config":{{}},"state":{}}}"#, serde_json::to_string(state).unwrap());
        entries.push(test_snapshots::entry(&format!("consumers/{name}"), 5, 0, b"", json.as_bytes()));
    }
    for (sequence, Message { time, subject, headers, payload }) in messages {
        let zigzag = (time << 1).cast_unsigned();
        entries.push(test_snapshots::entry(subject, zigzag, *sequence, headers, payload));
    }
    entries.push(test_snapshots::entry("", 0, 0, b"", b""));
    s2(&natsarc(&state, &entries), 1000)
}

/// The edited snapshot in NATSARC1.
fn to_natsarc1(
    stream: &StreamName,
    config: &RawValue,
    reported: &ReportedState,
    change: &Edit,
    source: &[u8],
) -> Result<(EditResult, Vec<u8>), EditError> {
    let survey = survey(stream, config, reported, change, source)?;
    let mut out = Vec::new();
    let edited = edit_to_natsarc1(stream, reported, change, survey, source, &mut out)?;
    Ok((edited, out))
}

/// What a reader finds in a snapshot in NATSARC1, which is what was counted, and its consumers.
fn shown_as_counted(
    stream: &StreamName,
    edited: &EditResult,
    out: &[u8],
) -> (Messages, BTreeMap<String, ConsumerState>) {
    let (messages, consumers, contents) = shown(stream, &ReportedState::default(), out);
    assert_eq!(contents.format, Format::NatsArc1);
    let Contents { first_seq, deleted, .. } = contents;
    let held = MessageCounts { messages: contents.messages, first_seq, deleted };
    assert_eq!((&edited.whole, &edited.in_parts), (&held, &held));
    assert_eq!((edited.last_seq, edited.consumers), (contents.last_seq, contents.consumers));
    (messages, consumers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_what_was_there_and_nothing_else_is(
        messages in messages(),
        keep in keep(),
        trailing in prop_oneof![Just(0_u64), 1..50_u64],
        pending in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        renamed in any::<bool>(),
        rsyncable in any::<bool>(),
    ) {
        let last = messages.keys().last().copied().unwrap_or(0) + trailing;
        let sequences: Vec<u64> = messages.keys().copied().collect();
        let mut state = ConsumerState {
            delivered: SequencePair { consumer: 90, stream: last },
            ..ConsumerState::default()
        };
        if !sequences.is_empty() {
            let mut waiting: Vec<u64> = pending.iter().map(|index| *index.get(&sequences)).collect();
            waiting.sort_unstable();
            waiting.dedup();
            let wait = |(n, sequence): (usize, &u64)| {
                (*sequence, Pending { sequence: n as u64 + 7, timestamp: 0 })
            };
            state.pending = waiting.iter().enumerate().map(wait).collect();
        }
        let renaming: Option<Renaming> = renamed.then(|| "S=T".parse().unwrap());
        let prefixes: Vec<Prefix> = if renamed { vec!["a.b=x".parse().unwrap()] } else { Vec::new() };
        let change = Edit { keep: keep.clone(), rename: Rename::new(renaming.as_ref(), &prefixes), no_consumers: false, rsyncable };
        let new_subject = |subject: &str| match subject {
            "a.b" if renamed => "x".to_owned(),
            "a.b.c" if renamed => "x.c".to_owned(),
            other => other.to_owned(),
        };
        let expected: Messages = messages
            .iter()
            .filter(|(sequence, message)| stays(&keep, **sequence, message))
            .map(|(sequence, message)| {
                (*sequence, Message { subject: new_subject(&message.subject), ..message.clone() })
            })
            .collect();

        let source = in_natsarc(&messages, last, &[("C", &state)]);
        let mut out = Vec::new();
        let config = raw(r#"{"name":"S"}"#);
        let reported = ReportedState { messages: messages.len() as u64, last_seq: last, ..ReportedState::default() };
        let edited = edit(&stream("S"), &config, &reported, &change, source.as_slice(), &mut out).unwrap();
        let name = stream(if renamed { "T" } else { "S" });
        let promised = if change.promises() { reported } else { ReportedState::default() };
        let (read, consumers, contents) = shown(&name, &promised, &out);
        prop_assert_eq!(&read, &expected);
        prop_assert_eq!(contents.last_seq, last, "the stream goes on counting where it was");
        prop_assert_eq!(contents.records, contents.messages);
        let MessageCounts { messages: count, first_seq, deleted } = edited.in_parts;
        let counted = (count, first_seq, edited.last_seq, deleted, edited.consumers);
        let held = (contents.messages, contents.first_seq, contents.last_seq, contents.deleted, contents.consumers);
        prop_assert_eq!(counted, held);
        let waiting: Vec<u64> = consumers["C"].pending.iter().map(|(sequence, _)| *sequence).collect();
        let left = state.pending.iter().map(|(sequence, _)| *sequence).filter(|sequence| expected.contains_key(sequence));
        prop_assert_eq!(waiting, left.collect::<Vec<_>>());

        // The same in NATSARC1, of the source and of what was written; and in a tar once more.
        for (stream, config, change, source) in [
            (&stream("S"), &config, &Edit { rsyncable: false, ..change }, &source),
            (&name, &raw(&format!(r#"{{"name":"{name}"}}"#)), &Edit::default(), &out),
        ] {
            let none = ReportedState::default();
            let (edited, arc) = to_natsarc1(stream, config, &none, change, source).unwrap();
            let (messages, same_consumers) = shown_as_counted(&name, &edited, &arc);
            prop_assert_eq!(&messages, &expected);
            prop_assert_eq!(edited.last_seq, last);
            prop_assert_eq!(&same_consumers, &consumers);
            let (mut tar, config) = (Vec::new(), raw(&format!(r#"{{"name":"{name}"}}"#)));
            edit(&name, &config, &none, &Edit::default(), arc.as_slice(), &mut tar).unwrap();
            let (messages, same_consumers, contents) = shown(&name, &none, &tar);
            prop_assert_eq!(&messages, &expected);
            prop_assert_eq!((contents.last_seq, same_consumers), (last, consumers.clone()));
        }

        // What was written is read again, and edited to the same.
        let mut again = Vec::new();
        let nothing = Edit { rsyncable, ..Edit::default() };
        edit(&name, &config, &ReportedState::default(), &nothing, out.as_slice(), &mut again).unwrap();
        prop_assert_eq!(again, out);
    }

    /// In the tar format messages are told to be deleted behind their records: by a tombstone, or only by the index.
    #[test]
    fn a_message_that_was_deleted_stays_deleted(
        mut fates in prop::collection::vec(0..5_u8, 1..60),
        keep in keep(),
        indexed in any::<bool>(),
        rsyncable in any::<bool>(),
    ) {
        let keep = MessageFilter { after: None, before: None, ..keep };
        // Of the last message a server keeps a trace.
        if let Some(fate @ 0) = fates.last_mut() {
            *fate = 1;
        }
        let subject = |sequence: u64| SUBJECTS[usize::try_from(sequence).unwrap() % SUBJECTS.len()];
        let (mut block, mut tombs, mut deleted) = (Vec::new(), Vec::new(), Vec::new());
        let mut expected = Messages::new();
        for (sequence, fate) in (1..).zip(&fates) {
            if *fate != 0 {
                block.extend(record(1, sequence, subject(sequence), None, &[*fate; 9]));
            }
            match fate {
                1 => tombs.extend(record(2, sequence | 1 << 62, "", None, b"")),
                2 if indexed => {}
                0 => {}
                _ => {
                    let payload = vec![*fate; 9];
                    let time = i64::from_le_bytes([7; 8]);
                    let message = Message { time, subject: subject(sequence).into(), headers: Vec::new(), payload };
                    expected.insert(sequence, message);
                    continue;
                }
            }
            deleted.push(sequence);
        }
        let last = fates.len() as u64;
        let live = expected.len() as u64;
        let first = expected.keys().next().copied().unwrap_or(last + 1);
        let within: Vec<u64> = deleted.into_iter().filter(|sequence| *sequence > first).collect();
        // A block's range begins with its first live message.
        let index = test_snapshots::index([live, first, last], &[(first, last, &within)]);
        let mut files = vec![("msgs/1.blk", block)];
        if !tombs.is_empty() {
            files.push(("msgs/2.blk", tombs));
        }
        if indexed {
            files.push(("msgs/index.db", index));
        }
        let source = s2(&tarball(&files), 700);
        let reported = ReportedState { messages: live, first_seq: first, last_seq: last, ..ReportedState::default() };
        expected.retain(|sequence, message| stays(&keep, *sequence, message));
        let mut out = Vec::new();
        let change = Edit { keep, rsyncable, ..Edit::default() };
        let edited = edit(&stream("S"), &raw("{}"), &reported, &change, source.as_slice(), &mut out).unwrap();
        let (read, _, contents) = shown(&stream("S"), &ReportedState::default(), &out);
        prop_assert_eq!(&read, &expected);
        prop_assert_eq!(contents.messages, read.len() as u64);
        let held = MessageCounts {
            messages: contents.messages,
            first_seq: contents.first_seq,
            deleted: contents.deleted,
        };
        // Without an index it is unknown which of the records are live that a tombstone does not name.
        prop_assert!(edited.whole == held || !indexed);
        prop_assert!(edited.in_parts == held || change.promises());
        prop_assert_eq!(contents.last_seq, last);
        let change = Edit { rsyncable: false, ..change };
        let (edited, arc) = to_natsarc1(&stream("S"), &raw("{}"), &reported, &change, &source).unwrap();
        let (read, _) = shown_as_counted(&stream("S"), &edited, &arc);
        prop_assert_eq!((read, edited.last_seq), (expected, last));
    }
}

/// Real ones of every release: an edit with nothing to do changes nothing that can be read.
#[test]
fn captures_of_servers_are_the_same_after_an_edit_with_nothing_to_do() {
    for (dir, stream, reported, bytes) in captures() {
        let config = raw(&format!(r#"{{"name":"{stream}"}}"#));
        let mut out = Vec::new();
        let edited = edit(&stream, &config, &reported, &Edit::default(), bytes.as_slice(), &mut out).unwrap();
        let (before, consumers, _) = shown(&stream, &reported, &bytes);
        let (after, same_consumers, contents) = shown(&stream, &reported, &out);
        assert_eq!(after, before, "{}", dir.display());
        assert_eq!(contents.messages, edited.in_parts.messages, "{}", dir.display());
        assert_eq!(edited.whole.messages, edited.source.messages, "{}", dir.display());
        assert_eq!(contents.last_seq, edited.source.last_seq, "{}", dir.display());
        assert_eq!(same_consumers.len(), consumers.len(), "{}", dir.display());
        let (edited, arc) = to_natsarc1(&stream, &config, &reported, &Edit::default(), &bytes).unwrap();
        let (after, in_arc) = shown_as_counted(&stream, &edited, &arc);
        assert!((after, in_arc) == (before, consumers), "{}", dir.display());
    }
}

#[test]
fn every_cut_of_the_source_is_noticed() {
    let message = Message { time: 5, subject: "a".into(), headers: Vec::new(), payload: vec![7; 500] };
    let messages: Messages = (1..9).map(|sequence| (sequence, message.clone())).collect();
    let source = in_natsarc(&messages, 9, &[("C", &ConsumerState::default())]);
    let nothing = Edit::default();
    let reported = ReportedState { messages: 8, last_seq: 9, ..ReportedState::default() };
    for len in 0..source.len() {
        let cut = source.get(..len).unwrap();
        let edited = edit(&stream("S"), &raw(r#"{"name":"S"}"#), &reported, &nothing, cut, std::io::sink());
        assert!(edited.is_err(), "{len}");
        // Also where it is cut only once it has been surveyed.
        let survey = survey(&stream("S"), &raw("{}"), &reported, &nothing, source.as_slice()).unwrap();
        let edited = edit_to_natsarc1(&stream("S"), &reported, &nothing, survey, cut, std::io::sink());
        assert!(edited.is_err(), "{len}");
    }
    let survey = survey(&stream("S"), &raw("{}"), &reported, &nothing, source.as_slice()).unwrap();
    let others = in_natsarc(&(2..9).map(|sequence| (sequence, message.clone())).collect(), 9, &[]);
    let changed =
        edit_to_natsarc1(&stream("S"), &reported, &nothing, survey, others.as_slice(), std::io::sink());
    assert!(matches!(changed, Err(EditError::Changed)));
    let promised = ReportedState { messages: 9, ..reported };
    let short =
        edit(&stream("S"), &raw(r#"{"name":"S"}"#), &promised, &nothing, source.as_slice(), std::io::sink());
    assert!(matches!(short, Err(EditError::Short(_))));
}

#[test]
fn a_moment_is_seen_where_nothing_from_before_it_is_missing() {
    let of = |sequences: &[(u64, i64)], last: u64, before: i64| {
        let message = |time| Message { time, subject: "a".into(), headers: Vec::new(), payload: Vec::new() };
        let messages = sequences.iter().map(|(sequence, time)| (*sequence, message(*time))).collect();
        let source = in_natsarc(&messages, last, &[]);
        let change = Edit {
            keep: MessageFilter { before: Some(before), ..MessageFilter::default() },
            ..Edit::default()
        };
        let none = ReportedState::default();
        let edited =
            edit(&stream("S"), &raw(r#"{"name":"S"}"#), &none, &change, source.as_slice(), std::io::sink());
        let PastState { missing, stored_since } = edited.unwrap().then;
        (missing, stored_since)
    };
    assert_eq!(of(&[(1, 10), (2, 20), (3, 30)], 3, 40), (false, false));
    assert_eq!(of(&[(1, 10), (2, 20), (4, 40), (9, 50)], 9, 40), (true, true), "3 may be from before");
    assert_eq!(of(&[(1, 10), (2, 20), (3, 40), (9, 50)], 9, 40), (false, true));
    assert_eq!(of(&[(1, 10), (3, 20), (4, 40)], 4, 40), (true, true));
    assert_eq!(of(&[(2, 10)], 2, 40), (true, false));
    assert_eq!(of(&[(1, 10)], 2, 40), (true, false), "the last one was deleted");
    assert_eq!(of(&[], 0, 40), (false, false));
}

#[test]
fn what_consumers_take_is_bounded() {
    let config = format!(r#"{{"config":{{"x":"{}"}},"state":{{}}}}"#, "x".repeat(MAX_CONSUMERS / 2));
    let consumer =
        |name: &str| test_snapshots::entry(&format!("consumers/{name}"), 5, 0, b"", config.as_bytes());
    let entries = [consumer("A"), consumer("B"), test_snapshots::entry("", 0, 0, b"", b"")];
    let source = s2(&natsarc(r#"{"consumer_count":2}"#, &entries), 1 << 20);
    let run = |change: &Edit| {
        edit(
            &stream("S"),
            &raw(r#"{"name":"S"}"#),
            &ReportedState::default(),
            change,
            source.as_slice(),
            std::io::sink(),
        )
    };
    assert!(matches!(run(&Edit::default()), Err(EditError::Consumers)));
    assert_eq!(run(&Edit { no_consumers: true, ..Edit::default() }).unwrap().consumers, 0);
}

/// A server's snapshot of a stream that changed meanwhile holds records that may be live or not. As many may be missing
/// after a restore, and nobody promises more.
#[test]
fn what_may_be_live_or_not_is_kept_and_not_promised() {
    let block = (1..=9).flat_map(|sequence| record(1, sequence, "a", None, b"x")).collect();
    let index = test_snapshots::index([5, 1, 9], &[(1, 9, &[2, 3, 4, 5])]);
    let source = s2(&tarball(&[("msgs/1.blk", block), ("msgs/index.db", index)]), 700);
    let reported = ReportedState { messages: 7, first_seq: 1, last_seq: 9, ..ReportedState::default() };
    let mut out = Vec::new();
    let nothing = Edit::default();
    let edited = edit(&stream("S"), &raw("{}"), &reported, &nothing, source.as_slice(), &mut out).unwrap();
    assert_eq!((edited.whole.messages, edited.in_parts.messages, edited.source.unsettled), (7, 7, 2));
    let promised = ReportedState { messages: 7, first_seq: 1, last_seq: 9, ..ReportedState::default() };
    let contents = inspect(&stream("S"), &promised, out.as_slice()).unwrap();
    assert_eq!((contents.messages, contents.records), (7, 9));
}

/// A server may leave the index out. Records from before the first sequence are then those of messages that were removed:
/// nothing else says so, and the next server would take them for live ones (seen on 2.12.8 and 2.15.1).
#[test]
fn what_was_removed_before_the_first_sequence_does_not_come_back() {
    let block = (1..=9).flat_map(|sequence| record(1, sequence, "a", None, b"x")).collect();
    let source = s2(&tarball(&[("msgs/1.blk", block)]), 700);
    let reported = ReportedState { messages: 6, first_seq: 4, last_seq: 9, ..ReportedState::default() };
    let (stream, config, nothing) = (stream("S"), raw("{}"), ReportedState::default());
    for rsyncable in [false, true] {
        let mut out = Vec::new();
        let change = Edit { rsyncable, ..Edit::default() };
        let edited = edit(&stream, &config, &reported, &change, source.as_slice(), &mut out).unwrap();
        assert_eq!((edited.whole.messages, edited.whole.first_seq), (6, 4));
        let contents = inspect(&stream, &nothing, out.as_slice()).unwrap();
        assert_eq!((contents.messages, contents.records, contents.first_seq), (6, 6, 4));
    }
    let survey = survey(&stream, &config, &reported, &Edit::default(), source.as_slice()).unwrap();
    assert_eq!((survey.edited.whole.messages, survey.edited.whole.first_seq), (6, 4));
    let mut out = Vec::new();
    let info = StreamInfo { stream: &stream, config: &config, created: None };
    rsyncable(&info, &reported, source.as_slice(), &mut out, |_| Vec::new()).unwrap();
    let contents = inspect(&stream, &nothing, out.as_slice()).unwrap();
    assert_eq!((contents.messages, contents.first_seq), (6, 4));
}

/// More than are held at once, of few subjects and of as many as there may be.
#[test]
fn the_newest_of_each_subject_are_found_among_many() {
    let of = |messages: u64, subjects: u64, n| {
        let state = State { messages, first_seq: 1, last_seq: messages, ..State::default() };
        let mut source = NatsArcWriter::begin(Vec::new(), state).unwrap();
        for sequence in 1..=messages {
            let subject = format!("s.{}", sequence % subjects);
            let record =
                Record { sequence, time: 1, subject: subject.as_bytes(), headers: b"", payload: b"" };
            source.message(&record).unwrap();
        }
        let source = source.finish().unwrap();
        let none = Sequences::default();
        let newest =
            newest(&stream("S"), &ReportedState::default(), &source[..], &MessageFilter::default(), &none, n)
                .unwrap();
        newest.iter().collect::<Vec<_>>()
    };
    assert_eq!(of(200_000, 7, 3), (199_980..=200_000).collect::<Vec<_>>());
    assert_eq!(of(200_000, 150_000, 1), (50_001..=200_000).collect::<Vec<_>>());
    assert_eq!(of(200_000, 200_000, 2).len(), 200_000);
}

#[test]
fn the_newest_of_each_subject_are_the_newest_that_are_live_and_kept() {
    let subjects = ["a", "b", "a", "a", "b", "c", "a"];
    let records =
        (1..).zip(subjects).flat_map(|(sequence, subject)| record(1, sequence, subject, None, b"x"));
    let deleted_7 = record(2, 7 | 1 << 62, "", None, b"");
    let source = s2(&tarball(&[("msgs/1.blk", records.collect()), ("msgs/2.blk", deleted_7)]), 700);
    let reported = ReportedState::default();
    let deleted = deleted(&stream("S"), &reported, source.as_slice()).unwrap();
    let newest = |keep: &MessageFilter, n| {
        let newest = newest(&stream("S"), &reported, source.as_slice(), keep, &deleted, n).unwrap();
        newest.iter().collect::<Vec<_>>()
    };
    assert_eq!(newest(&MessageFilter::default(), 1), [4, 5, 6]);
    assert_eq!(newest(&MessageFilter::default(), 2), [2, 3, 4, 5, 6]);
    assert_eq!(newest(&MessageFilter { last_seq: Some(3), ..MessageFilter::default() }, 1), [2, 3]);
}
