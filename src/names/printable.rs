//! Makes texts from outside safe to print. Does not know where they came from.

use std::fmt;

/// As many characters as the longest stream name has are shown.
const MAX_CHARACTERS: usize = 255;

/// A text from outside, made safe for a terminal: control characters are escaped, and so is what cannot be seen,
/// breaks a line or changes the order of its characters. It is cut at [`MAX_CHARACTERS`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printable(String);

impl Printable {
    /// Escapes `text`.
    pub fn new(text: &str) -> Self {
        let mut out = String::with_capacity(text.len());
        for (n, c) in text.chars().enumerate() {
            if n == MAX_CHARACTERS {
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
