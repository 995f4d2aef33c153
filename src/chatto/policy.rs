//! Decides which streams a backup holds, and in which order they are captured. Pure: a function of names and storage, which
//! knows no server.
//!
//! Like Chatto's own backup, it leaves out secrets (keys, session tokens), temporary data (presence, calls) and data that
//! Chatto makes again (caches). Every other stream of the account is captured, even if its name is not known here.

use crate::names::StreamName;

/// The bucket that holds the message encryption keys.
pub const KEY_BUCKET: &str = "KV_ENCRYPTION_KEYS";

/// The bucket that holds the keys of Chatto's identity service, where that shares the account.
pub const AUTHLING_KEY_BUCKET: &str = "KV_AUTHLING_KEYS";

/// The buckets that a dump leaves out because they hold keys.
pub const KEY_BUCKETS: [&str; 2] = [KEY_BUCKET, AUTHLING_KEY_BUCKET];

/// Whether a stream is one of [`KEY_BUCKETS`].
pub fn holds_keys(stream: &StreamName) -> bool {
    KEY_BUCKETS.contains(&stream.as_str())
}

/// Whether a stream is one that every Chatto has, of today or of v0.0.x.
pub fn tells_chatto(stream: &StreamName) -> bool {
    matches!(stream.as_str(), "EVT" | "KV_RUNTIME_STATE" | "KV_INSTANCE")
}

/// Why a stream is left out of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The encryption keys, unless asked for.
    Keys,
    /// Keys that `chatto-keys` does not export, unless asked for.
    OtherKeys,
    /// Session tokens.
    Tokens,
    /// Lives in memory only and is rebuilt.
    Ephemeral,
    /// Can be made again.
    Cache,
    /// Not chosen by `--stream` and `--exclude`.
    NotSelected,
}

impl Skip {
    /// Whether `--include-keys` brings the stream in.
    pub fn is_for_keys(self) -> bool {
        matches!(self, Skip::Keys | Skip::OtherKeys)
    }

    /// The reason as the manifest and the messages give it.
    pub fn reason(self) -> &'static str {
        match self {
            Skip::Keys => "encryption keys are kept apart from data (--include-keys, or chatto-keys export)",
            Skip::OtherKeys => "keys are kept apart from data (--include-keys)",
            Skip::Tokens => "session tokens must not leak through a backup",
            Skip::Ephemeral => "ephemeral, rebuilt at run time",
            Skip::Cache => "a cache, made again at need",
            Skip::NotSelected => "not selected by --stream and --exclude",
        }
    }
}

/// Whether Chatto's rules leave `stream` out, and why. `in_memory` is the stream's storage.
pub fn skip(stream: &StreamName, in_memory: bool, include_keys: bool) -> Option<Skip> {
    match stream.as_str() {
        KEY_BUCKET => (!include_keys).then_some(Skip::Keys),
        AUTHLING_KEY_BUCKET => (!include_keys).then_some(Skip::OtherKeys),
        "KV_AUTH_TOKENS" => Some(Skip::Tokens),
        "KV_USER_PRESENCE" | "KV_CALL_STATE" | "KV_MEMORY_CACHE" => Some(Skip::Ephemeral),
        "KV_LINK_PREVIEW_CACHE" => Some(Skip::Cache),
        name if name.starts_with("OBJ_ASSET_CACHE") => Some(Skip::Cache),
        _ if in_memory => Some(Skip::Ephemeral),
        _ => None,
    }
}

/// The steps of a capture. Each is begun only when the one before it is captured whole: `EVT` holds
/// the durable consumers' floors, the buckets after it the read boundaries, `NOTIFICATIONS` facts
/// derived from both. In that order, whatever happens during the dump is either in it or replayed
/// after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaptureStep {
    /// The event log.
    Events,
    /// Everything else.
    Rest,
    /// What is derived from the others.
    Notifications,
}

impl CaptureStep {
    /// All steps, in order.
    pub const ALL: [CaptureStep; 3] = [CaptureStep::Events, CaptureStep::Rest, CaptureStep::Notifications];

    /// The step that `stream` is captured in.
    pub fn of(stream: &StreamName) -> CaptureStep {
        match stream.as_str() {
            "EVT" => CaptureStep::Events,
            "NOTIFICATIONS" => CaptureStep::Notifications,
            _ => CaptureStep::Rest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::new(text).unwrap()
    }

    #[test]
    fn what_must_not_leak_or_can_be_rebuilt_is_left_out() {
        for (stream, expected) in [
            ("KV_ENCRYPTION_KEYS", Some(Skip::Keys)),
            ("KV_AUTHLING_KEYS", Some(Skip::OtherKeys)),
            ("KV_AUTH_TOKENS", Some(Skip::Tokens)),
            ("KV_USER_PRESENCE", Some(Skip::Ephemeral)),
            ("KV_CALL_STATE", Some(Skip::Ephemeral)),
            ("KV_MEMORY_CACHE", Some(Skip::Ephemeral)),
            ("KV_LINK_PREVIEW_CACHE", Some(Skip::Cache)),
            ("OBJ_ASSET_CACHE", Some(Skip::Cache)),
            ("OBJ_ASSET_CACHE_v2", Some(Skip::Cache)),
            ("EVT", None),
            ("KV_RUNTIME_STATE", None),
            ("somebody-elses", None),
        ] {
            assert_eq!(skip(&name(stream), false, false), expected, "{stream}");
        }
        assert_eq!(skip(&name("anything"), true, false), Some(Skip::Ephemeral));
        for bucket in KEY_BUCKETS {
            assert_eq!(skip(&name(bucket), false, true), None);
            assert!(holds_keys(&name(bucket)));
        }
        assert!(!holds_keys(&name("EVT")));
    }

    #[test]
    fn events_come_first_and_notifications_last() {
        let mut names: Vec<_> = ["NOTIFICATIONS", "KV_A", "EVT", "ZZZ"].map(name).into();
        names.sort_by_key(CaptureStep::of);
        assert_eq!(names[0].as_str(), "EVT");
        assert_eq!(names[3].as_str(), "NOTIFICATIONS");
    }
}
