//! Notes what a [`Rename`] does to the subjects of a stream: which prefixes it finds, and whether the stream still takes
//! what it holds. Knows no format.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::rename::Rename;
use crate::names::SubjectPattern;

/// The subjects so far.
#[derive(Debug, Clone, Default)]
pub struct RenamedSubjects {
    /// Which of the prefixes began a subject of a message or of the configuration. That of a bucket is not among them.
    pub prefixes: Vec<bool>,
    /// The first new subject of a message that the stream took by its old subject, and does not take by the new one.
    pub outside: Option<String>,
    before: Vec<SubjectPattern>,
    after: Vec<SubjectPattern>,
}

impl RenamedSubjects {
    /// Of a stream that has this configuration before `rename`, and no messages so far.
    pub(super) fn new(rename: &Rename, config: &RawValue) -> Self {
        #[derive(Default, Deserialize)]
        struct Subjects {
            #[serde(default)]
            subjects: Option<Vec<String>>,
        }
        let Subjects { subjects } = serde_json::from_str(config.get()).unwrap_or_default();
        let subjects = subjects.unwrap_or_default();
        let mut renamed = RenamedSubjects::default();
        for subject in &subjects {
            let (new, prefix) = rename.subject_by(subject.as_bytes());
            renamed.find(prefix);
            let new = String::from_utf8(new.into_owned()).unwrap_or_default();
            renamed.before.extend(subject.parse());
            renamed.after.extend(new.parse());
        }
        renamed
    }

    /// A message whose subject was `before` and is `after`, made by this prefix, if one has made it.
    pub(super) fn message(&mut self, prefix: Option<usize>, before: &[u8], after: &[u8]) {
        let takes = |patterns: &[SubjectPattern], subject| patterns.iter().any(|p| p.matches(subject));
        if self.find(prefix)
            && self.outside.is_none()
            && takes(&self.before, before)
            && !takes(&self.after, after)
        {
            self.outside = Some(String::from_utf8_lossy(after).into_owned());
        }
    }

    /// Notes the prefix of a subject. Gives whether there is one.
    fn find(&mut self, prefix: Option<usize>) -> bool {
        let Some(n) = prefix else { return false };
        self.prefixes.resize(self.prefixes.len().max(n + 1), false);
        self.prefixes.get_mut(n).into_iter().for_each(|found| *found = true);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(prefixes: &[&str], config: &str, subjects: &[&str]) -> (Vec<bool>, Option<String>) {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| prefix.parse().unwrap()).collect();
        let rename = Rename::new(Some(&"KV_A=KV_B".parse().unwrap()), &prefixes);
        let mut renamed = RenamedSubjects::new(&rename, serde_json::from_str(config).unwrap());
        for subject in subjects {
            let (new, prefix) = rename.subject_by(subject.as_bytes());
            renamed.message(prefix, subject.as_bytes(), &new);
        }
        (renamed.prefixes, renamed.outside)
    }

    #[test]
    fn prefixes_that_are_found_and_subjects_that_the_stream_takes_no_more() {
        let config = r#"{"subjects":["$KV.A.>","evt.>"]}"#;
        assert_eq!(renamed(&["x=y"], config, &["$KV.A.k", "evt.a"]), (vec![], None));
        assert_eq!(renamed(&["x=y", "evt=e"], config, &["$KV.A.k", "evt.a"]), (vec![false, true], None));
        assert_eq!(renamed(&["evt.a=e"], config, &["evt.b", "evt.a.c"]), (vec![true], Some("e.c".into())));
        assert_eq!(renamed(&["evt.a=evt.c"], config, &["evt.a.c"]), (vec![true], None));
        // The stream did not take this one before either.
        assert_eq!(renamed(&["x=y"], config, &["x.a"]), (vec![true], None));
        assert_eq!(renamed(&["x=y"], "{}", &["x.a"]), (vec![true], None));
    }
}
