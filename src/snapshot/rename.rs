//! Replaces a stream's name and subjects by new ones everywhere in a snapshot: in the subjects of messages, in the
//! configurations of the stream and of its consumers, and in the descriptions of objects. Knows no snapshot format.
//!
//! Names of other streams stay: `mirror` and `sources` say where messages come from, with the subjects there. The description
//! of an object at `$O.BUCKET.M.…` has the bucket's name, and a link to an object of the same bucket has it again. No other
//! payload changes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::items::Record;
use crate::names::{Prefix, Renaming, StreamName};
use crate::settings::Config;

/// The new names. By default, nothing changes.
#[derive(Debug, Clone, Default)]
pub struct Rename {
    name: Option<StreamName>,
    /// The bucket's own, if it is one.
    own: Option<Prefix>,
    prefixes: Vec<Prefix>,
    bucket: Option<RenamedBucket>,
}

/// The bucket of an object store, whose name is in the descriptions of its objects.
#[derive(Debug, Clone)]
struct RenamedBucket {
    /// With what the subjects of the descriptions begin in the source.
    descriptions: String,
    old: String,
    /// As JSON.
    new: String,
}

impl Rename {
    /// Gives the stream this name, if there is one, and exchanges these prefixes of its subjects. The first that
    /// fits counts.
    pub fn new(renaming: Option<&Renaming>, prefixes: &[Prefix]) -> Self {
        let own = renaming.and_then(Renaming::prefix);
        let bucket = renaming.and_then(Renaming::object_store).map(|(old, new)| RenamedBucket {
            descriptions: format!("$O.{old}.M."),
            old: old.to_owned(),
            new: Value::from(new).to_string(),
        });
        Rename {
            name: renaming.map(|renaming| renaming.new.clone()),
            own,
            prefixes: prefixes.to_vec(),
            bucket,
        }
    }

    /// The new name, if there is one.
    pub fn name(&self) -> Option<&StreamName> {
        self.name.as_ref()
    }

    /// A subject.
    pub fn subject<'a>(&self, subject: &'a [u8]) -> Cow<'a, [u8]> {
        self.subject_by(subject).0
    }

    /// A subject, and which of the prefixes has made it, if one of them has. That of the bucket does not count.
    pub(super) fn subject_by<'a>(&self, subject: &'a [u8]) -> (Cow<'a, [u8]>, Option<usize>) {
        if let Some(new) = self.own.as_ref().and_then(|own| own.replace(subject)) {
            return (new, None);
        }
        let mut prefixes = self.prefixes.iter().enumerate();
        prefixes
            .find_map(|(n, prefix)| Some((prefix.replace(subject)?, Some(n))))
            .unwrap_or((subject.into(), None))
    }

    /// The payload of the message that has this subject in the source.
    pub fn payload<'a>(&self, subject: &[u8], payload: &'a [u8]) -> Cow<'a, [u8]> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow, default)]
            bucket: Option<&'a RawValue>,
        }
        #[derive(Deserialize)]
        struct Options<'a> {
            #[serde(borrow, default)]
            link: Option<Named<'a>>,
        }
        #[derive(Deserialize)]
        struct Info<'a> {
            #[serde(borrow, default)]
            bucket: Option<&'a RawValue>,
            #[serde(borrow, default)]
            options: Option<Options<'a>>,
        }
        let Some(RenamedBucket { descriptions, old, new }) = &self.bucket else { return payload.into() };
        if !subject.starts_with(descriptions.as_bytes()) {
            return payload.into();
        }
        let Ok(Info { bucket, options }) = serde_json::from_slice(payload) else { return payload.into() };
        let link = options.and_then(|options| options.link?.bucket);
        let mut places: Vec<_> = [bucket, link].into_iter().flatten().map(RawValue::get).collect();
        places.retain(|name| serde_json::from_str::<String>(name).is_ok_and(|name| name == *old));
        // From the last on, so that the others stay where they are.
        places.sort_by_key(|name| std::cmp::Reverse(name.as_ptr().addr()));
        let mut renamed = payload.to_vec();
        for name in places {
            let at = name.as_ptr().addr().wrapping_sub(payload.as_ptr().addr());
            renamed.splice(at..at.saturating_add(name.len()), new.bytes());
        }
        renamed.into()
    }

    /// Shows `show` a message with its new subject and payload, and which of the prefixes has made that subject.
    pub(super) fn record<T>(
        &self,
        record: &Record<'_>,
        show: impl FnOnce(&Record<'_>, Option<usize>) -> T,
    ) -> T {
        let (subject, prefix) = self.subject_by(record.subject);
        let payload = self.payload(record.subject, record.payload);
        show(&Record { subject: &subject, payload: &payload, ..*record }, prefix)
    }

    /// A stream's configuration, or what a snapshot has of it. One without anything to rename stays as it is
    /// written. None where it is no JSON object.
    pub fn stream_config(&self, config: &RawValue) -> Option<Box<RawValue>> {
        Rename::changed(config, |config| {
            if let Some(name) = &self.name {
                config.insert("name".into(), name.as_str().into());
            }
            self.rename_each(config.get_mut("subjects"));
            if let Some(transform) = config.get_mut("subject_transform") {
                self.rename(transform.get_mut("src"));
                self.rename(transform.get_mut("dest"));
            }
            self.rename(config.get_mut("republish").and_then(|republish| republish.get_mut("src")));
            let mut transforms = |source: &mut Value| {
                for transform in items(source.get_mut("subject_transforms")) {
                    self.rename(transform.get_mut("dest"));
                }
            };
            config.get_mut("mirror").into_iter().for_each(&mut transforms);
            items(config.get_mut("sources")).for_each(&mut transforms);
        })
    }

    /// A consumer's configuration, or the part of it in a snapshot.
    pub fn consumer_config(&self, config: &RawValue) -> Option<Box<RawValue>> {
        Rename::changed(config, |config| {
            self.rename(config.get_mut("filter_subject"));
            self.rename_each(config.get_mut("filter_subjects"));
        })
    }

    /// The configuration with a change; as it is written where the change changes nothing. None where it is no JSON object.
    fn changed(config: &RawValue, change: impl FnOnce(&mut Config)) -> Option<Box<RawValue>> {
        let before: Config = serde_json::from_str(config.get()).ok()?;
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return Some(config.to_owned());
        }
        RawValue::from_string(Value::Object(after).to_string()).ok()
    }

    /// Renames a subject in a configuration.
    fn rename(&self, subject: Option<&mut Value>) {
        if let Some(Value::String(subject)) = subject
            && let Cow::Owned(new) = self.subject(subject.as_bytes())
            && let Ok(new) = String::from_utf8(new)
        {
            *subject = new;
        }
    }

    /// Renames the subjects in a list.
    fn rename_each(&self, subjects: Option<&mut Value>) {
        items(subjects).for_each(|subject| self.rename(Some(subject)));
    }
}

fn items(list: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    list.and_then(Value::as_array_mut).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rename(renaming: &str, prefixes: &[&str]) -> Rename {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        Rename::new(Some(&renaming.parse().unwrap()), &prefixes)
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_configuration_has_the_new_name_and_subjects_and_all_else_as_before() {
        let kv = rename("KV_A=KV_B", &[]);
        let config = kv.stream_config(raw(
            r#"{"name":"KV_A","new":1,"subjects":["$KV.A.>","other"],"republish":{"src":"$KV.A.x","dest":"$KV.A.y"},
                "subject_transform":{"src":"$KV.A.>","dest":"$KV.A.z.>"},
                "sources":[{"name":"KV_A","filter_subject":"$KV.A.>","subject_transforms":[{"src":"$KV.A.>","dest":"$KV.A.>"}]}]}"#,
        ));
        let expected: Value = serde_json::from_str(
            r#"{"name":"KV_B","new":1,"subjects":["$KV.B.>","other"],"republish":{"src":"$KV.B.x","dest":"$KV.A.y"},
                "subject_transform":{"src":"$KV.B.>","dest":"$KV.B.z.>"},
                "sources":[{"name":"KV_A","filter_subject":"$KV.A.>","subject_transforms":[{"src":"$KV.A.>","dest":"$KV.B.>"}]}]}"#,
        )
        .unwrap();
        assert_eq!(serde_json::from_str::<Value>(config.unwrap().get()).unwrap(), expected);

        let consumer = r#"{"name":"c","filter_subject":"$KV.A.k","filter_subjects":["$KV.A.>","$KV.C"]}"#;
        let consumer = kv.consumer_config(raw(consumer)).unwrap();
        let expected = r#"{"filter_subject":"$KV.B.k","filter_subjects":["$KV.B.>","$KV.C"],"name":"c"}"#;
        assert_eq!(consumer.get(), expected);

        let same = r#"{"name": "KV_A",  "x":1.10, "subjects":["$KV.A.>"]}"#;
        assert_eq!(Rename::default().stream_config(raw(same)).unwrap().get(), same);
        assert!(kv.stream_config(raw("[]")).is_none());
    }

    #[test]
    fn the_first_prefix_that_fits_counts() {
        let stream = rename("EVT=OLD", &["evt.a=x", "evt=y"]);
        let subjects = ["evt.a.b", "evt.b", "other", "evt"]
            .map(|subject| String::from_utf8(stream.subject(subject.as_bytes()).into_owned()).unwrap());
        assert_eq!(subjects, ["x.b", "y.b", "other", "y"]);
    }

    #[test]
    fn the_description_of_an_object_names_the_new_bucket_and_keeps_every_other_byte() {
        let objects = rename("OBJ_a=OBJ_b.c".replace('.', "-").as_str(), &[]);
        let renamed = |subject: &str, payload: &str| {
            let payload = objects.payload(subject.as_bytes(), payload.as_bytes()).into_owned();
            String::from_utf8(payload).unwrap()
        };
        let info = r#"{ "name":"a","bucket" :"a", "options":{"link":{"bucket":"a","name":"a"},"n":1.50},"x":"\"bucket\":\"a\""}"#;
        let expected = r#"{ "name":"a","bucket" :"b-c", "options":{"link":{"bucket":"b-c","name":"a"},"n":1.50},"x":"\"bucket\":\"a\""}"#;
        assert_eq!(renamed("$O.a.M.eA==", info), expected);
        for (subject, payload) in [
            ("$O.a.C.nuid", info),
            ("$O.b.M.eA==", info),
            ("$O.a.M.eA==", r#"{"bucket":"other","options":{"link":{"bucket":"b","name":"x"}}}"#),
            ("$O.a.M.eA==", r#"{"bucket":7}"#),
            ("$O.a.M.eA==", ""),
            ("$O.a.M.eA==", "[]"),
        ] {
            assert_eq!(renamed(subject, payload), payload, "{subject}");
        }
        assert_eq!(Rename::default().payload(b"$O.a.M.eA==", info.as_bytes()), info.as_bytes());
    }
}
