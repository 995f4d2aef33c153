//! The JSON texts that come from outside: `index.json`, `manifest.json`, `backup.json` and exports of keys. The
//! first byte says which; what is accepted says the same when it is written and read again.

#![no_main]

use chatto_pipes::archive::{Index, Manifest};
use chatto_pipes::chatto::keys;
use chatto_pipes::description::Description;
use jiff::Timestamp;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((which, json)) = data.split_first() else { return Corpus::Reject };
    match which % 4 {
        0 => {
            let Ok(index) = Index::from_json(json) else { return Corpus::Keep };
            let written = serde_json::to_vec_pretty(&index).unwrap();
            assert_eq!(Index::from_json(&written).unwrap(), index);
        }
        1 => {
            let Ok(manifest) = Manifest::from_json(json) else { return Corpus::Keep };
            let written = serde_json::to_vec_pretty(&manifest).unwrap();
            assert_eq!(Manifest::from_json(&written).unwrap(), manifest);
            let stats = manifest.count(7);
            assert_eq!(stats.total_streams + stats.skipped + stats.failed, manifest.streams.len() as u64);
        }
        2 => {
            let Ok(Description { reported, .. }) = Description::from_json(json) else { return Corpus::Keep };
            let state = format!(
                r#"{{"messages":{},"first_seq":{},"last_seq":{},"num_deleted":{},"consumer_count":{}}}"#,
                reported.messages,
                reported.first_seq,
                reported.last_seq,
                reported.num_deleted,
                reported.consumer_count
            );
            let storage = serde_json::to_string(&reported.storage).unwrap();
            let written = format!(r#"{{"config":{{"storage":{storage}}},"state":{state}}}"#);
            assert_eq!(Description::from_json(written.as_bytes()).unwrap().reported, reported);
        }
        _ => {
            let Ok(import) = keys::import(json) else { return Corpus::Keep };
            let written =
                keys::export(&import.records, keys::ExportVersion::Three, Timestamp::UNIX_EPOCH).unwrap();
            let again = keys::import(&written).unwrap();
            assert!(again.skipped.is_empty());
            let sorted = |import: &keys::ParsedExport| {
                let mut pairs: Vec<_> =
                    import.records.iter().map(|key| (key.key_ref.clone(), key.value.to_vec())).collect();
                pairs.sort();
                pairs
            };
            assert!(sorted(&again) == sorted(&import));
        }
    }
    Corpus::Keep
});
