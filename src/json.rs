//! Bounds what a JSON text takes in memory once it is parsed. Knows no document.
//!
//! A limit in bytes is not enough. In four bytes of a text there is room for an object with one member, and such an object
//! takes some 650 bytes in memory. So the values in a text from outside are counted before it is parsed.

/// Whether a text has at most `most` values inside of the outermost one, nested ones included. A comma in a string counts as
/// a value as well.
pub fn has_at_most(most: usize, text: &[u8]) -> bool {
    // Every value but the outermost follows a comma, or comes first in a list or an object.
    text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).nth(most).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_has_more_values_than_are_counted() {
        for (text, separators) in [
            ("1", 0),
            (r#"{"a":1}"#, 1),
            ("[1,2,3]", 3),
            (r#"[[],[[]],{"a":{"b":{}}}]"#, 9),
            (r#"{"a":"x,y"}"#, 2),
        ] {
            assert!(has_at_most(separators, text.as_bytes()), "{text}");
            assert!(separators == 0 || !has_at_most(separators - 1, text.as_bytes()), "{text}");
        }
    }
}
