//! Decides which messages of a stream are kept, by subject, time and sequence. Pure: knows no format.

use std::sync::Arc;

use super::items::Record;
use super::sequences::Sequences;
use crate::names::SubjectPattern;

/// Which messages are kept. By default, all.
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    /// Only subjects that match one of these, where there are some.
    pub subjects: Vec<SubjectPattern>,
    /// No subjects that match one of these.
    pub dropped: Vec<SubjectPattern>,
    /// Only messages of this time or later, in ns since 1970.
    pub after: Option<i64>,
    /// Only messages from before this time, in ns since 1970.
    pub before: Option<i64>,
    /// Only this sequence and higher ones.
    pub first_seq: Option<u64>,
    /// Only this sequence and lower ones.
    pub last_seq: Option<u64>,
    /// Only these sequences.
    pub only: Option<Arc<Sequences>>,
}

/// The patterns that have matched a message so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchedPatterns {
    /// Of [`MessageFilter::subjects`].
    pub subjects: Vec<bool>,
    /// Of [`MessageFilter::dropped`].
    pub dropped: Vec<bool>,
}

impl MessageFilter {
    /// Whether everything is kept, whatever there is.
    pub fn is_all(&self) -> bool {
        let MessageFilter { subjects, dropped, after, before, first_seq, last_seq, only } = self;
        let bounds = [after.is_some(), before.is_some(), first_seq.is_some(), last_seq.is_some()];
        subjects.is_empty() && dropped.is_empty() && only.is_none() && !bounds.contains(&true)
    }

    /// Whether `record` is kept. Notes in `matched` which patterns its subject matches.
    pub fn keeps(&self, record: &Record<'_>, matched: &mut MatchedPatterns) -> bool {
        let any = |patterns: &[SubjectPattern], matched: &mut Vec<bool>| {
            matched.resize(patterns.len(), false);
            let mut found = false;
            for (pattern, matched) in patterns.iter().zip(matched) {
                if pattern.matches(record.subject) {
                    (found, *matched) = (true, true);
                }
            }
            found
        };
        let wanted = any(&self.subjects, &mut matched.subjects) || self.subjects.is_empty();
        let dropped = any(&self.dropped, &mut matched.dropped);
        wanted
            && !dropped
            && self.after.is_none_or(|after| record.time >= after)
            && self.before.is_none_or(|before| record.time < before)
            && self.first_seq.is_none_or(|first| record.sequence >= first)
            && self.last_seq.is_none_or(|last| record.sequence <= last)
            && self.only.as_ref().is_none_or(|only| only.contains(record.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: &MessageFilter) -> Vec<u64> {
        let messages = [(1, 10, "a.x"), (2, 20, "b"), (3, 30, "a.y"), (4, 30, "c")];
        let mut matched = MatchedPatterns::default();
        let keeps = |(sequence, time, subject): &(u64, i64, &str)| {
            let subject = subject.as_bytes();
            keep.keeps(
                &Record { sequence: *sequence, time: *time, subject, headers: b"", payload: b"" },
                &mut matched,
            )
        };
        messages.into_iter().filter(keeps).map(|(sequence, ..)| sequence).collect()
    }

    fn patterns(patterns: &[&str]) -> Vec<SubjectPattern> {
        patterns.iter().map(|pattern| pattern.parse().unwrap()).collect()
    }

    #[test]
    fn each_bound_is_what_its_name_says_and_all_count() {
        let keep = MessageFilter::default;
        assert_eq!(kept(&keep()), [1, 2, 3, 4]);
        assert_eq!(kept(&MessageFilter { after: Some(20), ..keep() }), [2, 3, 4], "at or after");
        assert_eq!(kept(&MessageFilter { before: Some(30), ..keep() }), [1, 2], "before");
        assert_eq!(kept(&MessageFilter { first_seq: Some(3), ..keep() }), [3, 4]);
        assert_eq!(kept(&MessageFilter { last_seq: Some(2), ..keep() }), [1, 2]);
        assert_eq!(kept(&MessageFilter { subjects: patterns(&["a.*", "c"]), ..keep() }), [1, 3, 4]);
        assert_eq!(kept(&MessageFilter { dropped: patterns(&["a.*", "c"]), ..keep() }), [2]);
        let both = MessageFilter { subjects: patterns(&["a.>"]), dropped: patterns(&["a.x"]), ..keep() };
        assert_eq!(kept(&both), [3]);
        assert_eq!(kept(&MessageFilter { first_seq: Some(2), before: Some(30), ..both }), [0; 0]);
    }

    #[test]
    fn a_pattern_that_matched_nothing_is_known() {
        let keep = MessageFilter {
            subjects: patterns(&["a", "z"]),
            dropped: patterns(&["a", ">"]),
            ..MessageFilter::default()
        };
        let mut matched = MatchedPatterns::default();
        let record = Record { sequence: 1, time: 0, subject: b"a", headers: b"", payload: b"" };
        assert!(!keep.keeps(&record, &mut matched));
        assert_eq!(matched, MatchedPatterns { subjects: vec![true, false], dropped: vec![true, true] });
    }
}
