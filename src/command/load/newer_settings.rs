//! Settings of streams that the destination does not know, because its release is older. Pure: asks no server.
//!
//! A server before 2.12 drops such settings silently, and a later one refuses the stream. So the program names them before
//! it changes anything, with the option that drops each.

use std::collections::BTreeMap;

use crate::command::Failure;
use crate::exit::Exit;
use crate::names::{Printable, StreamName, listed};
use crate::release::{CONSUMER_SETTINGS, STREAM_SETTINGS, Setting, Version};

/// The destination as far as settings go.
#[derive(Clone, Copy)]
pub(super) struct Destination<'a> {
    /// Its version; none where it is not known, and then nothing is refused.
    pub version: Option<Version>,
    /// The settings that may go.
    pub dropped: &'a [String],
}

impl Destination<'_> {
    /// Of the settings that are `asked` for, those that the destination does not know and that may not go.
    pub fn lacks(&self, asked: impl IntoIterator<Item = &'static Setting>) -> Vec<&'static Setting> {
        let Some(version) = self.version else { return Vec::new() };
        let dropped = |setting: &Setting| self.dropped.iter().any(|name| name == setting.name);
        asked.into_iter().filter(|setting| setting.since > version && !dropped(setting)).collect()
    }

    /// The same of settings by name. A name that is not known here is left to the server.
    pub fn lacks_named(&self, names: &[String]) -> Vec<&'static Setting> {
        self.lacks(STREAM_SETTINGS.iter().filter(|setting| names.iter().any(|name| name == setting.name)))
    }

    /// Refuses what the destination lacks, with the streams that ask for it.
    pub fn refuse(&self, lacking: &BTreeMap<&str, Vec<&StreamName>>, since: Version) -> Result<(), Failure> {
        let Some(version) = self.version.filter(|_| !lacking.is_empty()) else { return Ok(()) };
        let settings = lacking.iter().map(|(setting, streams)| format!("{setting} of {}", listed(streams)));
        let settings = settings.collect::<Vec<_>>().join("; ");
        let what = format!("this server is {version} and does not know what the archive sets: {settings}");
        Err(Failure::new(Exit::Failed, what).hint(hint(lacking.keys().copied(), since)))
    }

    /// The same in words for the one stream that asks for it.
    pub fn refusal(&self, lacking: &[&'static Setting]) -> Option<(String, String)> {
        let version = self.version?;
        let since = lacking.iter().map(|setting| setting.since).max()?;
        let names: Vec<&str> = lacking.iter().map(|setting| setting.name).collect();
        let what = format!("this server is {version} and does not know its {}", names.join(", "));
        Some((what, hint(names.into_iter(), since)))
    }

    /// Refuses a stream whose consumers ask for what the destination lacks: `newer` has a consumer for each
    /// setting.
    pub fn check_consumers(&self, newer: &BTreeMap<&'static str, String>) -> Result<(), Failure> {
        let lacking = self.lacks(CONSUMER_SETTINGS.iter().filter(|setting| newer.contains_key(setting.name)));
        let (Some(version), Some(since)) = (self.version, lacking.iter().map(|setting| setting.since).max())
        else {
            return Ok(());
        };
        let named = lacking.iter().filter_map(|Setting { name, .. }| {
            Some(format!("{name} of consumer {}", Printable::new(newer.get(name)?)))
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let what = format!("this server is {version} and does not know {named}");
        // A server refuses a consumer with a value that it does not know.
        let hint = match lacking.iter().any(|setting| setting.name.contains('=')) {
            true => format!("restore into nats-server {since} or later, or dump with --no-consumers"),
            false => hint(lacking.iter().map(|setting| setting.name), since),
        };
        Err(Failure::new(Exit::Partial, what).hint(hint))
    }
}

fn hint<'a>(settings: impl Iterator<Item = &'a str>, since: Version) -> String {
    let options: Vec<String> = settings.map(|name| format!("--drop-setting {name}")).collect();
    format!("restore into nats-server {since} or later, or without them: {}", options.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(dropped: &[String]) -> Destination<'_> {
        Destination { version: Some(Version(2, 11, 11)), dropped }
    }

    #[test]
    fn only_what_is_newer_and_may_not_go_is_lacking() {
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let asked = named(&["allow_atomic", "allow_batched", "allow_msg_ttl", "from_the_future"]);
        let lacking = |dropped: &[String]| -> Vec<&str> {
            destination(dropped).lacks_named(&asked).into_iter().map(|setting| setting.name).collect()
        };
        assert_eq!(lacking(&[]), ["allow_atomic", "allow_batched"]);
        assert_eq!(lacking(&named(&["allow_atomic"])), ["allow_batched"]);
        assert!(Destination { version: None, dropped: &[] }.lacks_named(&asked).is_empty());
    }

    #[test]
    fn the_options_that_let_them_go_are_given_whole() {
        let (evt, other) = (StreamName::new("EVT").unwrap(), StreamName::new("B").unwrap());
        let lacking =
            BTreeMap::from([("allow_atomic", vec![&evt, &other]), ("mirror.consumer", vec![&other])]);
        let failure = destination(&[]).refuse(&lacking, Version(2, 14, 0)).unwrap_err();
        assert!(failure.what.ends_with("allow_atomic of EVT, B; mirror.consumer of B"), "{failure}");
        let options =
            "2.14.0 or later, or without them: --drop-setting allow_atomic --drop-setting mirror.consumer";
        assert!(failure.hint.is_some_and(|hint| hint.ends_with(options)));
        assert!(destination(&[]).refuse(&BTreeMap::new(), Version(2, 14, 0)).is_ok());
    }
}
