//! Small types that all modules use: stream names, globs, subjects, byte sizes, and names that are safe to print. Knows
//! nothing of files, servers or archives.

mod printable;
mod stream_name;
mod subjects;

use std::fmt;
use std::str::FromStr;

pub use printable::{Printable, without_secrets};
pub use stream_name::{BadName, STREAM_NAME_MAX, StreamName};
pub use subjects::{BadSubject, Prefix, Renaming, SubjectPattern};

/// A pattern for stream names, as the shell knows them: `*` any run of characters, `?` one.
#[derive(Clone, Debug)]
pub struct Glob(wildmatch::WildMatch);

impl Glob {
    /// Whether `name` matches the whole pattern.
    pub fn matches(&self, name: &StreamName) -> bool {
        self.0.matches(name.as_str())
    }

    /// Whether the pattern is `name` itself, without wildcards.
    pub fn is(&self, name: &StreamName) -> bool {
        self.0.pattern() == name.as_str()
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.pattern())
    }
}

impl FromStr for Glob {
    type Err = std::convert::Infallible;
    fn from_str(pattern: &str) -> Result<Self, Self::Err> {
        Ok(Glob(wildmatch::WildMatch::new(pattern)))
    }
}

/// A number of bytes as a person writes it: `512K`, `32MiB`, `1G`, `1048576`. Units are powers of
/// 1,024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A number of things, worded: `1 stream`, `2 streams`.
pub fn counted(n: u64, thing: &str) -> String {
    format!("{n} {thing}{}", if n == 1 { "" } else { "s" })
}

/// The first few of some consumers, as a message names them.
pub fn consumers(names: &[String]) -> String {
    let consumers = if names.len() == 1 { "consumer" } else { "consumers" };
    let quoted = names.iter().map(|name| format!("\"{}\"", Printable::new(name)));
    format!("{consumers} {}", listed(quoted))
}

/// The first few of some things, and how many more there are.
pub fn listed<T: fmt::Display>(things: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>) -> String {
    const SHOWN: usize = 5;
    let things = things.into_iter();
    let more = things.len().checked_sub(SHOWN);
    let mut names: Vec<String> = things.take(SHOWN).map(|thing| thing.to_string()).collect();
    if let Some(more @ 1..) = more {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

/// A text that is not a [`Size`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a size: write a whole number of bytes, or one with K, M or G, such as 32M")]
pub struct BadSize;

impl FromStr for Size {
    type Err = BadSize;
    fn from_str(text: &str) -> Result<Self, BadSize> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..digits].parse().map_err(|_| BadSize)?;
        let shift = match text[digits..].trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kib" => 10,
            "m" | "mib" => 20,
            "g" | "gib" => 30,
            _ => return Err(BadSize),
        };
        number.checked_mul(1 << shift).map(Size).ok_or(BadSize)
    }
}

impl fmt::Display for Size {
    /// In the largest unit that keeps it above one, with one decimal: `1.5 MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        if unit == "B" { f.pad(&format!("{} B", self.0)) } else { f.pad(&format!("{value:.1} {unit}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_name_is_one_token_and_one_directory() {
        for good in ["EVT", "KV_a-b_c", "ünïcode", "a".repeat(255).as_str()] {
            assert!(StreamName::new(good).is_ok(), "{good}");
        }
        for bad in
            ["", ".", "..", "a.b", "a/b", "a\\b", "a*", ">", "a b", "a\tb", "a\0b", "a".repeat(256).as_str()]
        {
            assert!(StreamName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_printable_text_cannot_drive_a_terminal() {
        assert_eq!(Printable::new("a\x1b[2Jb\u{202e}").to_string(), "a\\u{1b}[2Jb\\u{202e}");
        for c in [
            '\u{2028}',
            '\u{2029}',
            '\u{200b}',
            '\u{a0}',
            '\u{ad}',
            '\u{feff}',
            '\u{61c}',
            '\u{e0041}',
            '\u{3164}',
        ] {
            assert_eq!(Printable::new(&format!("a{c}b")).to_string(), format!("a{}b", c.escape_unicode()));
        }
        assert_eq!(Printable::new("Grüße, 日本 语").to_string(), "Grüße, 日本 语");
    }

    #[test]
    fn a_message_does_not_repeat_a_secret() {
        let seed = format!("SU{}", "A2".repeat(28));
        for secret in [
            "AGE-SECRET-KEY-1QQPQYSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSQRQ",
            "age-secret-key-1qqpqy",
            seed.as_str(),
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJ.x-y",
        ] {
            assert_eq!(without_secrets(&format!("got '-r{secret}'\nhere")), "got [secret]\nhere");
        }
        assert_eq!(without_secrets("at nats://u:p@s@host:4222, b"), "at nats://[secret]@host:4222, b");
        let harmless = "cannot reach nats://[::1]:4222: an eyJ is no JWT; SUM of KV_ENCRYPTION_KEYS";
        assert_eq!(without_secrets(harmless), harmless);
    }

    #[test]
    fn sizes_are_read_and_written_as_people_do() {
        assert_eq!("32MiB".parse(), Ok(Size(32 << 20)));
        assert_eq!("512 k".parse(), Ok(Size(512 << 10)));
        assert_eq!("7".parse(), Ok(Size(7)));
        for bad in ["", "M", "-1", "1.5M", "99999999999G", "1X"] {
            assert_eq!(bad.parse::<Size>(), Err(BadSize), "{bad}");
        }
        assert_eq!(Size(1536 << 10).to_string(), "1.5 MiB");
        assert_eq!(Size(12).to_string(), "12 B");
    }
}
