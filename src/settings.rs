//! Compares configurations of streams and consumers by their meaning, whichever program wrote them. Pure: knows no server.
//!
//! One program writes a default value and another leaves it out, and a server adds its own metadata (`_nats.…`). Neither is a
//! difference. `differences` and `not_kept` are for streams only, because for a consumer `num_replicas` 0 and 1 are not the
//! same.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::release::{CONSUMER_SETTINGS, STREAM_SETTINGS, Setting};

/// Whether there is a subject that both of these mean.
pub fn subjects_overlap(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        match (a.next(), b.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// A configuration in JSON.
pub type Config = Map<String, Value>;

/// The most values that a configuration may have, nested ones included. Each may take 650 bytes in memory, 10 MiB in all, and
/// a comparison holds some copies. Servers' own have less than a hundred, and one more for each subject.
pub const MAX_VALUES: usize = 1 << 14;

/// What servers write into `metadata` themselves begins with this.
pub const SERVERS_METADATA: &str = "_nats.";

/// The settings whose default is a word, and that word (nats-server, `server/stream.go`: the first constant of each
/// type).
const WORDS: [(&str, &str); 6] = [
    ("retention", "limits"),
    ("storage", "file"),
    ("discard", "old"),
    ("compression", "none"),
    ("persist_mode", "default"),
    ("priority_policy", "none"),
];

/// The settings whose default is a number that is not 0, and that number (nats-server, `server/stream.go`,
/// `checkStreamCfg`). 0 means the same there.
const NUMBERS: [(&str, i64); 6] = [
    ("max_consumers", -1),
    ("max_msgs", -1),
    ("max_bytes", -1),
    ("max_msgs_per_subject", -1),
    ("max_msg_size", -1),
    ("num_replicas", 1),
];

/// The settings that mean something else in `b` than in `a`, by name.
pub fn differences(a: &Config, b: &Config) -> BTreeSet<String> {
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let differ = |name: &&String| meaning(name, a.get(*name)) != meaning(name, b.get(*name));
    names.into_iter().filter(differ).cloned().collect()
}

/// The settings of `asked` that `given` has not, or not so, by name. What a server adds is none of them.
pub fn not_kept(asked: &Config, given: &Config) -> BTreeSet<String> {
    let lost = |name: &&String| {
        let given = meaning(name, given.get(*name));
        meaning(name, asked.get(*name)).is_some_and(|asked| !given.is_some_and(|given| has(&given, &asked)))
    };
    asked.keys().filter(lost).cloned().collect()
}

/// Whether `given` is `asked`, but for fields that came on top.
fn has(given: &Value, asked: &Value) -> bool {
    match (given, asked) {
        (Value::Object(given), Value::Object(asked)) => {
            asked.iter().all(|(name, asked)| given.get(name).is_some_and(|given| has(given, asked)))
        }
        (Value::Array(given), Value::Array(asked)) => {
            given.len() == asked.len() && given.iter().zip(asked).all(|(given, asked)| has(given, asked))
        }
        (given, asked) => given == asked,
    }
}

/// Those of `known` that the configuration asks for.
pub fn asked_for<'a>(config: &Config, known: &'a [Setting]) -> Vec<&'a Setting> {
    let asks = |setting: &&Setting| {
        let (path, wanted) = setting.name.split_once('=').unzip();
        let path = path.unwrap_or(setting.name);
        let last = path.rsplit('.').next().unwrap_or(path);
        let mut found = false;
        each(config, path, &mut |value| {
            found |= match wanted {
                Some(wanted) => value == wanted,
                None => meaning(last, Some(value)).is_some(),
            };
        });
        found
    };
    known.iter().filter(asks).collect()
}

/// The settings that a stream's configuration asks for and that not every release knows, by name.
pub fn newer(config: &Config) -> Vec<String> {
    asked_for(config, &STREAM_SETTINGS).into_iter().map(|setting| setting.name.into()).collect()
}

/// The same of a consumer's configuration.
pub fn newer_of_consumer(config: &[u8]) -> Vec<&'static str> {
    let config: Config = serde_json::from_slice(config).unwrap_or_default();
    asked_for(&config, &CONSUMER_SETTINGS).into_iter().map(|setting| setting.name).collect()
}

/// Takes a setting away, and gives whether it meant anything. In `a.b`, each item counts of a list that `a` is.
pub fn remove(config: &mut Config, name: &str) -> bool {
    let Some((first, rest)) = name.split_once('.') else {
        let value = config.remove(name);
        return meaning(name, value.as_ref()).is_some();
    };
    let inner = |value: &mut Value| value.as_object_mut().is_some_and(|object| remove(object, rest));
    match config.get_mut(first) {
        // Every item loses it, also after the first that had it.
        Some(Value::Array(items)) => items.iter_mut().map(inner).fold(false, |found, one| found | one),
        Some(value) => inner(value),
        None => false,
    }
}

/// Shows `see` every value at the path `name`.
fn each(config: &Config, name: &str, see: &mut impl FnMut(&Value)) {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    let Some(value) = config.get(first) else { return };
    let items = match (value, rest) {
        (Value::Array(items), Some(_)) => items.as_slice(),
        _ => std::slice::from_ref(value),
    };
    for item in items {
        match rest {
            None => see(item),
            Some(rest) => item.as_object().into_iter().for_each(|object| each(object, rest, see)),
        }
    }
}

/// A setting's value without what says nothing; none where nothing is left.
fn meaning(name: &str, value: Option<&Value>) -> Option<Value> {
    let value = value?;
    let is_word = |word: &&str| WORDS.contains(&(name, word));
    let is_number = |number: &i64| NUMBERS.contains(&(name, *number));
    if value.as_str().as_ref().is_some_and(is_word) || value.as_i64().as_ref().is_some_and(is_number) {
        return None;
    }
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) if number.as_f64() == Some(0.0) => None,
        Value::String(text) if text.is_empty() => None,
        // Whoever keeps metadata may mean something by an empty text.
        Value::Object(object) if name == "metadata" => {
            let theirs = object.iter().filter(|(key, _)| !key.starts_with(SERVERS_METADATA));
            some(theirs.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        Value::Object(object) => some(said(object)),
        Value::Array(items) if items.is_empty() => None,
        Value::Array(items) => Some(Value::Array(
            items
                .iter()
                .map(|item| item.as_object().map_or_else(|| item.clone(), |object| said(object).into()))
                .collect(),
        )),
        other => Some(other.clone()),
    }
}

/// An object's fields that mean something.
fn said(object: &Config) -> Config {
    object.iter().filter_map(|(name, value)| Some((name.clone(), meaning(name, Some(value))?))).collect()
}

fn some(object: Config) -> Option<Value> {
    (!object.is_empty()).then_some(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    fn names(of: BTreeSet<String>) -> Vec<String> {
        of.into_iter().collect()
    }

    #[test]
    fn subjects_overlap_where_one_message_could_have_both() {
        for (a, b) in
            [("a", "a"), ("a.*", "a.b"), ("a.>", "a.b.c"), ("*.b", "a.*"), (">", "a"), ("a.>", "*.b")]
        {
            assert!(subjects_overlap(a, b) && subjects_overlap(b, a), "{a} {b}");
        }
        for (a, b) in [("a", "b"), ("a", "a.b"), ("a.>", "a"), ("a.*", "a.b.c"), ("a.*.c", "a.b.d")] {
            assert!(!subjects_overlap(a, b) && !subjects_overlap(b, a), "{a} {b}");
        }
    }

    #[test]
    fn a_default_that_is_written_is_one_that_is_left_out() {
        let bare = config(r#"{"name":"A"}"#);
        let full = config(
            r#"{"name":"A","retention":"limits","max_consumers":-1,"max_msgs":0,"discard":"old","storage":"file",
                "num_replicas":1,"compression":"none","sealed":false,"allow_msg_ttl":false,"consumer_limits":{},
                "persist_mode":"default","placement":null,"description":"","subjects":[],"republish":{"headers_only":false},
                "metadata":{"_nats.ver":"2.14.5","_nats.level":"4","_nats.req.level":"0"}}"#,
        );
        assert_eq!(names(differences(&bare, &full)), [""; 0]);
        assert_eq!(names(differences(&full, &bare)), [""; 0]);
    }

    #[test]
    fn what_means_something_else_is_named_once() {
        let a = config(
            r#"{"storage":"file","max_age":5,"metadata":{"a":"","_nats.ver":"1"},"sources":[{"name":"S","external":null}]}"#,
        );
        let b = config(
            r#"{"storage":"memory","max_age":5,"metadata":{"b":""},"sources":[{"name":"S","filter_subject":"x"}],"sealed":true}"#,
        );
        assert_eq!(names(differences(&a, &b)), ["metadata", "sealed", "sources", "storage"]);
        assert_eq!(differences(&a, &b), differences(&b, &a));
        let same =
            config(r#"{"metadata":{"a":""},"sources":[{"filter_subject":"","name":"S"}],"max_age":5}"#);
        assert_eq!(names(differences(&a, &same)), [""; 0]);
    }

    #[test]
    fn what_a_server_adds_is_not_missing() {
        let asked = config(r#"{"allow_atomic":true,"allow_direct":false,"max_age":7,"num_replicas":3}"#);
        let given = config(r#"{"duplicate_window":9,"allow_direct":true,"max_age":8,"num_replicas":3}"#);
        assert_eq!(names(not_kept(&asked, &given)), ["allow_atomic", "max_age"]);
        let asked = config(r#"{"metadata":{"a":"1"},"sources":[{"name":"A","consumer":{"name":"c"}}]}"#);
        let more = config(r#"{"metadata":{"a":"1","b":"2"},"sources":[{"name":"A"}]}"#);
        assert_eq!(names(not_kept(&asked, &more)), ["sources"]);
    }

    #[test]
    fn newer_settings_count_only_where_they_are_used() {
        let asked = |json, known: &[Setting]| -> Vec<&'static str> {
            asked_for(&config(json), known).into_iter().map(|setting| setting.name).collect()
        };
        let unused = r#"{"allow_msg_ttl":false,"persist_mode":"default","subject_delete_marker_ttl":0,"sources":[{"name":"A"}]}"#;
        assert_eq!(asked(unused, &STREAM_SETTINGS), [""; 0]);
        let used = r#"{"persist_mode":"async","allow_atomic":true,"sources":[{"name":"A"},{"consumer":{"name":"c"}}]}"#;
        assert_eq!(asked(used, &STREAM_SETTINGS), ["allow_atomic", "persist_mode", "sources.consumer"]);
        let consumer = r#"{"ack_policy":"explicit","priority_policy":"none","priority_groups":[]}"#;
        assert_eq!(asked(consumer, &CONSUMER_SETTINGS), [""; 0]);
        let consumer = r#"{"ack_policy":"flow_control","priority_policy":"overflow"}"#;
        assert_eq!(asked(consumer, &CONSUMER_SETTINGS), ["priority_policy", "ack_policy=flow_control"]);
    }

    #[test]
    fn a_setting_is_taken_away_wherever_it_is() {
        let mut all = config(
            r#"{"allow_atomic":true,"sealed":false,"sources":[{"name":"A","consumer":{"name":"c"}},{"name":"B","consumer":{"name":"d"}}]}"#,
        );
        assert!(remove(&mut all, "allow_atomic") && remove(&mut all, "sources.consumer"));
        assert!(
            !remove(&mut all, "sealed") && !remove(&mut all, "mirror.consumer") && !remove(&mut all, "x")
        );
        assert_eq!(all, config(r#"{"sources":[{"name":"A"},{"name":"B"}]}"#));
    }
}
