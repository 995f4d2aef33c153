//! The small types that the other modules speak in: stream names, globs, subjects, byte sizes, and names made
//! safe to print. Knows nothing of files, servers or archives.

mod subjects;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use subjects::{BadSubject, Prefix, Renaming, SubjectPattern};

/// The longest stream name that nats-server accepts, in bytes (`JSMaxNameLen`).
pub const STREAM_NAME_MAX: usize = 255;

/// A JetStream stream name that is safe as a subject token and as a directory name.
///
/// Names come from servers and from archives that anybody may have written, so they are checked
/// once, here, and are a type of their own afterwards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(String);

/// Why a text is not a [`StreamName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing at all.
    #[error("a stream name is empty")]
    Empty,
    /// Longer than [`STREAM_NAME_MAX`].
    #[error("stream name \"{0}\" is longer than {STREAM_NAME_MAX} bytes")]
    Long(Printable),
    /// Holds a character that NATS or a file system gives a meaning to.
    #[error("stream name \"{0}\" holds {1:?}")]
    Character(Printable, char),
}

impl StreamName {
    /// Checks `name` against the rules of nats-server and of `chatto restore`: none of
    /// `/ \ . * >`, white space or control characters.
    pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
        let name = name.into();
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        let bad = |c: &char| matches!(c, '/' | '\\' | '.' | '*' | '>') || c.is_whitespace() || c.is_control();
        if let Some(c) = name.chars().find(bad) {
            return Err(BadName::Character(Printable::new(&name), c));
        }
        if name.len() > STREAM_NAME_MAX {
            return Err(BadName::Long(Printable::new(&name)));
        }
        Ok(StreamName(name))
    }

    /// The name as the server knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for StreamName {
    type Error = BadName;
    fn try_from(name: String) -> Result<Self, BadName> {
        StreamName::new(name)
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> String {
        name.0
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable::new(&self.0).fmt(f)
    }
}

/// A text from outside, made safe for a terminal: control characters are escaped, and so is what cannot be seen,
/// breaks a line or changes the order of its characters. It is cut at [`STREAM_NAME_MAX`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printable(String);

impl Printable {
    /// Escapes `text`.
    pub fn new(text: &str) -> Self {
        let mut out = String::with_capacity(text.len());
        for (n, c) in text.chars().enumerate() {
            if n == STREAM_NAME_MAX {
                out.push_str("...");
                break;
            }
            match c {
                c if c.is_control() => out.extend(c.escape_default()),
                c if c != ' ' && (c.is_whitespace() || is_invisible(c)) => out.extend(c.escape_unicode()),
                c => out.push(c),
            }
        }
        Printable(out)
    }
}

/// Characters that leave nothing on the screen, or move others: those of Unicode's category Cf (format), and the
/// fillers and selectors beside them.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}'
        | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// `text` without what looks like a secret, for messages: an age identity, the seed of an nkey, a JWT, and what
/// stands between `://` and `@`. People put them where something else belongs, and a message repeats it.
pub fn without_secrets(text: &str) -> String {
    const INSTEAD: &str = "[secret]";
    let mut out = String::with_capacity(text.len());
    for word in text.split_inclusive(char::is_whitespace) {
        let upper = word.to_ascii_uppercase();
        let is_secret = |part: &str| {
            let base32 = |c: char| matches!(c, 'A'..='Z' | '2'..='7');
            let seed = part.split(|c| !base32(c)).any(|run| run.len() == 58 && run.starts_with('S'));
            seed || (part.contains("eyJ") && part.contains('.') && part.len() > 40)
        };
        let userinfo =
            word.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1)));
        if upper.contains("AGE-SECRET-KEY-") || upper.contains("AGE-PLUGIN-") || is_secret(word) {
            out += INSTEAD;
            out.extend(word.chars().next_back().filter(|c| c.is_whitespace()));
        } else if let Some((scheme, address)) = userinfo {
            out += &format!("{scheme}://{INSTEAD}@{address}");
        } else {
            out += word;
        }
    }
    out
}

impl fmt::Display for Printable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

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
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{}\"", Printable::new(name))).collect();
    format!("{consumers} {}", listed(&quoted))
}

/// The first few of some things, and how many more there are.
pub fn listed(things: &[impl fmt::Display]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = things.iter().take(SHOWN).map(ToString::to_string).collect();
    if let Some(more @ 1..) = things.len().checked_sub(SHOWN) {
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
