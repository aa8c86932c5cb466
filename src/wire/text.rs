//! Text that borrows from the message wherever it can, and cutting text without splitting a character.
//!
//! Serde's own `Option<Cow<str>>` always copies; this type copies only what had escapes in it.

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::value::RawValue;
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

/// A string as it stands in JSON, read: the same that serde reads, several times faster where much is escaped.
pub(super) fn unescaped(json: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    let json = json.get();
    let inside = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inside {
        Some(inside) if !inside.contains('\\') => Ok(Cow::Borrowed(inside)),
        Some(inside) if let Some(text) = quickly(inside.as_bytes()) => Ok(Cow::Owned(text)),
        _ => serde_json::from_str(json).map(|Text(text)| text),
    }
}

/// The same of what is between the quotes of valid JSON; none where a character is written by its number.
fn quickly(escaped: &[u8]) -> Option<String> {
    const STEP: usize = 8;
    let mut text = vec![0; escaped.len() + STEP];
    let (mut from, mut to) = (0, 0);
    while let Some(&first) = escaped.get(from) {
        // Eight bytes are copied at once, and as many of them stay as there are before an escape.
        if let Some(chunk) = escaped[from..].first_chunk::<STEP>() {
            text[to..to + STEP].copy_from_slice(chunk);
            let plain = before_escape(u64::from_le_bytes(*chunk));
            (from, to) = (from + plain, to + plain);
            if plain == STEP {
                continue;
            }
        } else if first != b'\\' {
            text[to] = first;
            (from, to) = (from + 1, to + 1);
            continue;
        }
        text[to] = match escaped.get(from + 1)? {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            &itself @ (b'"' | b'\\' | b'/') => itself,
            _ => return None,
        };
        (from, to) = (from + 2, to + 1);
    }
    text.truncate(to);
    String::from_utf8(text).ok()
}

/// How many of eight bytes stand before the first backslash.
fn before_escape(bytes: u64) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    // A byte is zero where it was a backslash; of the lowest one that is, the topmost bit stays.
    let off = bytes ^ (ONES * b'\\' as u64);
    let zero = off.wrapping_sub(ONES) & !off & (ONES << 7);
    zero.trailing_zeros() as usize / 8
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

    #[test]
    fn what_is_escaped_is_read_as_serde_reads_it() {
        let texts = [
            "",
            "a",
            "\n",
            "1234567",
            "12345678",
            "123456789",
            "\"",
            "\\",
            "\\\\",
            "a\"b",
            "{\"a\":[1,\"b\\n\"]}",
            "ünï\"cödé\t🙂\\🙂\r\n",
            "\u{0}\u{1f}",
            "\u{8}\u{c}/",
            "1234567\"",
            "12345678\"",
            "\"12345678",
            "\"\"\"\"\"\"\"\"\"",
        ];
        for text in texts {
            let json = serde_json::value::to_raw_value(text).unwrap();
            assert_eq!(unescaped(&json).unwrap(), text, "{json}");
        }
        for odd in [r#""\/\u00e9\ud83d\ude42""#, r#""\ud83d""#, "5", "{}", "null"] {
            let read = serde_json::from_str(odd).and_then(unescaped);
            assert_eq!(read.ok(), serde_json::from_str::<Text>(odd).ok().map(|text| text.0), "{odd}");
        }
    }
}
