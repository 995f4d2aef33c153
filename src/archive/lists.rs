//! What the index and the manifest have in common when they are read: the version is checked first, a list has a limit, and
//! no stream may be named twice. Knows no other member of them.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Error, MAX_LIST_VALUES, MAX_STREAMS};
use crate::json;
use crate::names::{Printable, StreamName};

/// Reads a JSON text that has a `version`. The version is looked at before anything else, because a
/// later one may have changed all the rest. No text has more than [`MAX_LIST_VALUES`].
pub(super) fn versioned<T: DeserializeOwned>(entry: &str, text: &[u8], known: u64) -> Result<T, Error> {
    #[derive(Deserialize)]
    struct Version {
        version: u64,
    }
    let bad = |error: serde_json::Error| Error::damaged(entry, Printable::new(&error.to_string()));
    if !json::has_at_most(MAX_LIST_VALUES, text) {
        return Err(Error::damaged(entry, format!("has more than {MAX_LIST_VALUES} values")));
    }
    match serde_json::from_slice::<Version>(text).map_err(bad)?.version {
        version if version > known => Err(Error::Newer { entry: Printable::new(entry), version }),
        version if version < known => Err(Error::damaged(entry, format!("no version {version} exists"))),
        _ => serde_json::from_slice(text).map_err(bad),
    }
}

/// Refuses a list that names a stream twice.
pub(super) fn unique<'a>(entry: &str, names: impl Iterator<Item = &'a StreamName>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::damaged(entry, format!("names stream {name} twice")));
        }
    }
    Ok(())
}

/// Reads a list of at most [`MAX_STREAMS`]. Go writes an empty one as `null`.
pub(super) fn streams<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    at_most::<_, _, MAX_STREAMS>(from)
}

/// Reads a list of at most `MAX` items. Go writes an empty one as `null`.
pub(super) fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_any(List::<T, MAX>(PhantomData))
}

/// A list of at most so many.
struct List<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for List<T, MAX> {
    type Value = Vec<T>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }
    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MAX {
                return Err(A::Error::invalid_length(MAX.saturating_add(1), &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_streams_is_bounded() {
        let read = |n: usize| {
            let list = format!("[0{}]", ",0".repeat(n - 1));
            streams::<_, u8>(&mut serde_json::Deserializer::from_str(&list)).map(|list| list.len())
        };
        assert_eq!(read(MAX_STREAMS).unwrap(), MAX_STREAMS);
        let error = read(MAX_STREAMS + 1).unwrap_err().to_string();
        assert!(error.contains("expected a list of at most 32768"), "{error}");
    }
}
