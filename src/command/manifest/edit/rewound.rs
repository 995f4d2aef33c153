//! Whether a stream can be shown as it was at a moment in the past. Pure.
//!
//! A stream shows only the messages that it still has. It can be rewound in two cases:
//!
//! - It has lost no message from before that moment, whatever its limits are.
//! - Nothing was stored in it since, because limits and rollups act only when something is stored.
//!
//! If a person deletes a message in between, and nothing is stored after that, nothing shows when that was.

use serde_json::Value;

use crate::settings::Config;
use crate::snapshot::PastState;

/// Why the stream cannot be shown as it was. None if it can.
pub(super) fn shortcoming(then: PastState, settings: &Config) -> Option<String> {
    let number = |name| settings.get(name).and_then(Value::as_i64).filter(|number| *number > 0);
    let is = |name| settings.get(name).and_then(Value::as_bool) == Some(true);
    let mut why = Vec::new();
    if let Some(n) = number("max_msgs_per_subject") {
        let messages = if n == 1 { "message" } else { "messages" };
        why.push(format!("it keeps {n} {messages} for each subject"));
    }
    if number("max_msgs").is_some() || number("max_bytes").is_some() {
        why.push("its size is limited".into());
    }
    if is("allow_rollup_hdrs") {
        why.push("rollups remove messages".into());
    }
    let stored = why.len();
    if number("max_age").is_some() || is("allow_msg_ttl") {
        why.push("messages expire".into());
    }
    if settings.get("retention").and_then(Value::as_str).is_some_and(|retention| retention != "limits") {
        why.push("messages go when they are acknowledged".into());
    }
    let goes_on = why.len() > stored;
    if !then.missing || !(then.stored_since || goes_on) {
        return None;
    }
    let gone = "messages from before are gone";
    Some(if why.is_empty() { gone.to_owned() } else { format!("{gone}: {}", why.join(", ")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_as_it_was_unless_it_may_have_lost_something_since() {
        let not = |missing, stored_since, json: &str| {
            shortcoming(PastState { missing, stored_since }, &serde_json::from_str(json).unwrap())
        };
        let history = r#"{"max_msgs_per_subject":1,"max_msgs":-1,"max_age":0,"retention":"limits"}"#;
        assert_eq!(not(false, true, history), None, "it has lost nothing");
        assert_eq!(not(true, false, history), None, "nothing was stored since");
        let why = not(true, true, history).unwrap();
        assert_eq!(why, "messages from before are gone: it keeps 1 message for each subject");
        assert_eq!(not(true, true, "{}").unwrap(), "messages from before are gone");
        assert!(not(true, false, r#"{"max_age":5}"#).unwrap().contains("expire"));
        assert!(not(true, false, r#"{"retention":"workqueue"}"#).unwrap().contains("acknowledged"));
        assert!(
            not(true, true, r#"{"max_bytes":5,"allow_rollup_hdrs":true}"#)
                .unwrap()
                .contains("limited, rollups")
        );
    }
}
