//! Text that borrows from the message wherever it can, and cutting text without splitting a character.
//!
//! Serde's own `Option<Cow<str>>` always copies; this type copies only what had escapes in it.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        deserializer.deserialize_str(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'a> Visitor<'a> for TextVisitor {
    type Value = Cow<'a, str>;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// The longest beginning of `text` with at most `bytes_max` bytes.
pub(super) fn clipped(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_escaped_text_is_copied() {
        let plain: Option<Text> = serde_json::from_str(r#""checkout""#).unwrap();
        assert!(matches!(plain, Some(Text(Cow::Borrowed("checkout")))));
        let escaped: Option<Text> = serde_json::from_str(r#""a\nb""#).unwrap();
        assert!(matches!(escaped, Some(Text(Cow::Owned(text))) if text == "a\nb"));
    }

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(clipped("aé", 2), "a");
        assert_eq!(clipped("aé", 3), "aé");
        assert_eq!(clipped("", 3), "");
    }
}
