//! Patterns that select subjects, prefixes that replace each other, and new names of streams. Each is an argument of a
//! program, and is checked when it is parsed. Knows no messages.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use super::stream_name::StreamName;

/// What a bucket's stream begins with, and its subjects.
const BUCKETS: [(&str, &str); 2] = [("KV_", "$KV."), (OBJECTS, "$O.")];
const OBJECTS: &str = "OBJ_";

/// A pattern of subjects with NATS's wildcards: `*` is one token, and `>` at the end is one or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPattern(String);

/// A text that is not what [`SubjectPattern`], [`Prefix`] or [`Renaming`] is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSubject(&'static str);

impl SubjectPattern {
    /// Whether `subject` matches.
    pub fn matches(&self, subject: &[u8]) -> bool {
        let mut tokens = subject.split(|byte| *byte == b'.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted.as_bytes() == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether every subject that matches `other`, which is a pattern, matches this one too.
    pub fn covers(&self, other: &str) -> bool {
        // "*" stands for a single token, and ">" may be more.
        let (own, others) = (self.0.split('.'), other.split('.'));
        let is_more = own.zip(others).any(|(own, other)| own == "*" && other == ">");
        self.matches(other.as_bytes()) && !is_more
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for SubjectPattern {
    type Err = BadSubject;
    fn from_str(text: &str) -> Result<Self, BadSubject> {
        is_subject(text)?;
        if text.split('.').rev().skip(1).any(|token| token == ">") {
            return Err(BadSubject("\">\" stands only at the end of a subject"));
        }
        Ok(SubjectPattern(text.to_owned()))
    }
}

/// The first tokens of subjects, and what stands instead of them: `OLD=NEW`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    old: String,
    new: String,
}

impl Prefix {
    /// `subject` with the new tokens, if it begins with the old ones.
    pub fn replace<'a>(&self, subject: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        match subject.strip_prefix(self.old.as_bytes()) {
            Some(rest) if rest.is_empty() || rest.first() == Some(&b'.') => {
                Some([self.new.as_bytes(), rest].concat().into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}={}", self.old, self.new))
    }
}

impl FromStr for Prefix {
    type Err = BadSubject;
    fn from_str(text: &str) -> Result<Self, BadSubject> {
        let (old, new) = pair(text)?;
        for subject in [old, new] {
            is_subject(subject)?;
            if subject.split('.').any(|token| matches!(token, "*" | ">")) {
                return Err(BadSubject("a prefix has no wildcards"));
            }
        }
        Ok(Prefix { old: old.to_owned(), new: new.to_owned() })
    }
}

/// A stream's name and its new one: `OLD=NEW`. A bucket stays a bucket of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    /// As it is called.
    pub old: StreamName,
    /// As it shall be called.
    pub new: StreamName,
}

impl Renaming {
    /// What becomes of a bucket's subjects. None for a plain stream.
    pub fn prefix(&self) -> Option<Prefix> {
        BUCKETS.iter().find_map(|(name, subject)| {
            let [old, new] = [&self.old, &self.new].map(|stream| stream.as_str().strip_prefix(name));
            Some(Prefix { old: format!("{subject}{}", old?), new: format!("{subject}{}", new?) })
        })
    }

    /// The old and the new name of an object store's bucket.
    pub fn object_store(&self) -> Option<(&str, &str)> {
        Some((self.old.as_str().strip_prefix(OBJECTS)?, self.new.as_str().strip_prefix(OBJECTS)?))
    }
}

impl FromStr for Renaming {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (old, new) = pair(text).map_err(|bad| bad.to_string())?;
        let name = |name: &str| StreamName::new(name).map_err(|bad| bad.to_string());
        let (old, new) = (name(old)?, name(new)?);
        for (kind, _) in BUCKETS {
            let [old, new] = [&old, &new].map(|stream| stream.as_str().strip_prefix(kind));
            if old.is_some() != new.is_some() || old == Some("") || new == Some("") {
                return Err(
                    "a bucket stays one of its kind: KV_… becomes KV_…, and OBJ_… becomes OBJ_…".into()
                );
            }
        }
        if old == new {
            return Err("the new name is the old one".into());
        }
        Ok(Renaming { old, new })
    }
}

fn pair(text: &str) -> Result<(&str, &str), BadSubject> {
    let (old, new) = text.split_once('=').ok_or(BadSubject("write OLD=NEW"))?;
    if old.is_empty() || new.is_empty() {
        return Err(BadSubject("write OLD=NEW, neither of them empty"));
    }
    Ok((old, new))
}

fn is_subject(text: &str) -> Result<(), BadSubject> {
    if text.split('.').any(str::is_empty) {
        return Err(BadSubject("a subject has no empty tokens"));
    }
    match text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        true => Err(BadSubject("a subject has no spaces")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_subscriptions_do() {
        for (pattern, matching, others) in [
            ("a.b", &["a.b"][..], &["a", "a.b.c", "a.B", "ab"][..]),
            ("a.*", &["a.b", "a.*"], &["a", "a.b.c", "b.a"]),
            ("*.b", &["a.b"], &["b", "a.b.b"]),
            ("a.>", &["a.b", "a.b.c"], &["a", "b.a"]),
            (">", &["a", "a.b"], &[]),
            (
                "$KV.ENCRYPTION_KEYS.user.42",
                &["$KV.ENCRYPTION_KEYS.user.42"],
                &["$KV.ENCRYPTION_KEYS.user.421"],
            ),
            ("a*.b", &["a*.b"], &["aa.b"]),
        ] {
            let pattern: SubjectPattern = pattern.parse().unwrap();
            for subject in matching {
                assert!(pattern.matches(subject.as_bytes()), "{pattern}: {subject}");
            }
            for subject in others {
                assert!(!pattern.matches(subject.as_bytes()), "{pattern}: {subject}");
            }
        }
        for bad in ["", "a..b", ".a", "a.", "a.>.b", "a b"] {
            assert!(bad.parse::<SubjectPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_pattern_covers_what_matches_nothing_else() {
        for (pattern, covered, others) in [
            ("a.b", &["a.b"][..], &["a.*", "a.>", "*.b", ">", "a"][..]),
            ("a.*", &["a.b", "a.*"], &["a.>", "*.*", "a.*.*", ">"]),
            ("*.b", &["a.b", "*.b"], &["*.*", "*.>", ">"]),
            ("a.>", &["a.b", "a.*", "a.>", "a.*.>", "a.b.c"], &["a", "*.>", ">"]),
            ("a.*.>", &["a.b.c", "a.*.>", "a.b.>"], &["a.>", "a.*"]),
            (">", &["a", "*", ">", "*.a.>"], &[]),
        ] {
            let pattern: SubjectPattern = pattern.parse().unwrap();
            for other in covered {
                assert!(pattern.covers(other), "{pattern}: {other}");
            }
            for other in others {
                assert!(!pattern.covers(other), "{pattern}: {other}");
            }
        }
    }

    #[test]
    fn a_prefix_is_whole_tokens() {
        let prefix: Prefix = "evt.a=old.evt".parse().unwrap();
        let replaced = |subject: &str| {
            prefix.replace(subject.as_bytes()).map(|new| String::from_utf8(new.into_owned()).unwrap())
        };
        assert_eq!(replaced("evt.a.b.c").as_deref(), Some("old.evt.b.c"));
        assert_eq!(replaced("evt.a").as_deref(), Some("old.evt"));
        assert_eq!(replaced("evt.a.>").as_deref(), Some("old.evt.>"));
        for other in ["evt.ab", "evt", "x.evt.a"] {
            assert_eq!(replaced(other), None);
        }
        for bad in ["", "a", "=a", "a=", "a.>=b", "a=*", "a..b=c", "a=b c"] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_bucket_stays_a_bucket_of_its_kind() {
        let kv: Renaming = "KV_A=KV_B".parse().unwrap();
        assert_eq!(kv.prefix().unwrap().replace(b"$KV.A.x").unwrap().as_ref(), b"$KV.B.x");
        assert_eq!(kv.object_store(), None);
        let objects: Renaming = "OBJ_A=OBJ_B".parse().unwrap();
        assert_eq!(objects.prefix().unwrap().replace(b"$O.A.C.x").unwrap().as_ref(), b"$O.B.C.x");
        assert_eq!(objects.object_store(), Some(("A", "B")));
        assert_eq!("EVT=OLD".parse::<Renaming>().unwrap().prefix(), None);
        for bad in
            ["", "A", "A=", "=B", "A=A", "A=b.c", "KV_A=B", "A=KV_B", "KV_A=OBJ_A", "KV_A=KV_", "OBJ_A=OBJ_"]
        {
            assert!(bad.parse::<Renaming>().is_err(), "{bad:?}");
        }
    }
}
