//! The configurations in a snapshot of the tar format (`meta.inf`) and their checksums (`meta.sum`): a
//! server's own JSON with what it keeps beside it. Knows no tar.

use highway::HighwayHash;
use jiff::Timestamp;
use serde_json::value::RawValue;

use super::sums;

/// A stream's configuration, created at `time` (ns since 1970). None where it is no JSON object.
pub fn of_stream(config: &RawValue, time: i64) -> Option<Box<RawValue>> {
    with(&format!("\"Created\":\"{}\"", Timestamp::from_nanosecond(time.into()).ok()?), config)
}

/// A consumer's configuration, created at `time`. None where it is no JSON object.
pub fn of_consumer(name: &str, config: &RawValue, time: i64) -> Option<Box<RawValue>> {
    let name = serde_json::to_string(name).ok()?;
    let created = Timestamp::from_nanosecond(time.into()).ok()?;
    with(&format!("\"Created\":\"{created}\",\"Name\":{name}"), config)
}

/// The checksum of a `meta.inf`; `key` is what [`sums`] says.
pub fn checksum(key: &str, meta: &[u8]) -> String {
    let mut hash = sums::keyed(key);
    hash.append(meta);
    sums::hexadecimal(hash.finalize64())
}

/// An object with other fields before its own, which stay as they are written.
fn with(fields: &str, object: &RawValue) -> Option<Box<RawValue>> {
    let rest = object.get().strip_prefix('{')?;
    let comma = if rest.trim_start() == "}" { "" } else { "," };
    RawValue::from_string(format!("{{{fields}{comma}{rest}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_configuration_stays_as_it_is_written() {
        let meta = of_stream(raw(r#"{"name":"S","new":{"x":1.10}}"#), 1_500_000_001).unwrap();
        assert_eq!(meta.get(), r#"{"Created":"1970-01-01T00:00:01.500000001Z","name":"S","new":{"x":1.10}}"#);
        let meta = of_consumer("a\"b", raw("{ }"), 0).unwrap();
        assert_eq!(meta.get(), r#"{"Created":"1970-01-01T00:00:00Z","Name":"a\"b" }"#);
        for bad in ["[]", "1", "null", "\"x\""] {
            assert!(of_stream(raw(bad), 0).is_none(), "{bad}");
        }
    }
}
