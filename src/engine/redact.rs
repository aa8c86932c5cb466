//! Secrets and personal data in text that people will see: found by how they look, and masked.
//!
//! Keys and tokens (by the name before them, by their known beginnings, or because nothing else looks so random), mail
//! addresses, card numbers that pass the check of Luhn, and the password in an address of the web. It errs towards
//! hiding. Identifiers that only join lines (UUIDs, trace ids) stay; addresses of machines stay too.

/// What is shown in place of a secret.
pub const MASK: &str = "***";

/// Names after which a secret stands.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "private_key",
    "session",
];
/// How well-known keys begin.
const BEGINNINGS: [&str; 12] =
    ["eyJ", "AKIA", "ASIA", "ghp_", "gho_", "ghs_", "github_pat_", "sk-", "sk_live_", "xoxb-", "xoxp-", "glpat-"];
/// A run of letters of both cases and digits of this length is no word.
const RANDOM: usize = 24;
/// Hexadecimal runs longer than a trace id.
const HEXADECIMAL: usize = 40;

/// The text with what looks secret masked, at most `most` bytes of it; `addresses` of machines too, if asked for.
pub fn redacted(text: &str, most: usize, addresses: bool) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut state = Expect::Nothing;
    let mut rest = text;
    while !rest.is_empty() && out.len() < most {
        let length = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        if length == 0 {
            let letter = rest.chars().next().unwrap_or(' ');
            state = state.after(letter);
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
            continue;
        }
        let word = &rest[..length];
        let (shown, taken) = show(word, rest, state);
        match shown {
            Shown::Plain if !(addresses && is_address(word)) => out.push_str(word),
            _ => out.push_str(MASK),
        }
        state = Expect::of(word, state);
        rest = &rest[taken..];
    }
    out.truncate(out.floor_char_boundary(most));
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Nothing,
    /// The name of a secret was said, and not yet what ties its value to it.
    Tie,
    /// The next word is a secret.
    Value,
    /// The name of a scheme (`Bearer`, `Basic`): the next word is a secret, whatever stands between.
    Scheme,
}

enum Shown {
    Plain,
    Masked,
}

impl Expect {
    fn after(self, letter: char) -> Expect {
        match (self, letter) {
            (Expect::Tie, '=' | ':') => Expect::Value,
            (Expect::Tie | Expect::Value, '"' | '\'' | ' ' | '\\' | '>') => self,
            (Expect::Scheme, ' ' | '"' | '\'' | ':' | '=') => self,
            _ => Expect::Nothing,
        }
    }

    fn of(word: &str, before: Expect) -> Expect {
        let lower = word.to_ascii_lowercase();
        if matches!(lower.as_str(), "bearer" | "basic") {
            return Expect::Scheme;
        }
        if NAMES.iter().any(|name| lower.ends_with(name)) {
            return Expect::Tie;
        }
        if before == Expect::Value && matches!(lower.as_str(), "null" | "none") { before } else { Expect::Nothing }
    }
}

fn is_part(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.' | '@' | '+' | '/' | '%' | '~')
}

/// Whether a word may be shown, and how many bytes of `rest` it takes with it.
fn show(word: &str, rest: &str, state: Expect) -> (Shown, usize) {
    let scheme = matches!(word.to_ascii_lowercase().as_str(), "bearer" | "basic");
    if !scheme && matches!(state, Expect::Value | Expect::Scheme) {
        return (Shown::Masked, padded(rest, word.len()));
    }
    if let Some(length) = card(rest) {
        return (Shown::Masked, length);
    }
    // `https://user:password@host`: the word ends at the colon, and a host follows an `@`.
    if word.starts_with("//")
        && let Some((password, _)) = rest[word.len()..].strip_prefix(':').and_then(|rest| rest.split_once('@'))
        && !password.contains([' ', '/'])
    {
        return (Shown::Masked, word.len() + 1 + password.len());
    }
    let mail = word.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.'));
    let known = BEGINNINGS.iter().any(|start| word.starts_with(start) && word.len() >= start.len() + 10);
    if mail || known || word.split(['/', '.']).any(is_random) {
        return (Shown::Masked, padded(rest, word.len()));
    }
    (Shown::Plain, word.len())
}

/// The padding of base64 belongs to it.
fn padded(rest: &str, length: usize) -> usize {
    length + rest[length..].bytes().take_while(|&byte| byte == b'=').count()
}

fn is_random(word: &str) -> bool {
    let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let digits = count(u8::is_ascii_digit);
    let mixed = word.len() >= RANDOM && upper >= 3 && lower >= 3 && digits >= 3 && !word.contains('-');
    let hexadecimal = word.len() >= HEXADECIMAL && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    mixed || hexadecimal
}

/// The length of a card's number at the start of the text: 13 to 19 digits, perhaps in groups, that pass Luhn's check.
fn card(text: &str) -> Option<usize> {
    let mut digits = [0_u8; 20];
    let (mut count, mut end) = (0, 0);
    for (at, byte) in text.bytes().enumerate().take(24) {
        match byte {
            b'0'..=b'9' if count < 20 => {
                digits[count] = byte - b'0';
                count += 1;
                end = at + 1;
            }
            b' ' | b'-' if count > 0 && text.as_bytes()[at - 1].is_ascii_digit() => {}
            _ => break,
        }
    }
    let ends = text[end..].bytes().next().is_none_or(|byte| !byte.is_ascii_alphanumeric());
    if !(13..=19).contains(&count) || !ends || !matches!(digits[0], 3..=6) {
        return None;
    }
    let sum: u32 = digits[..count].iter().rev().enumerate().map(|(place, &digit)| luhn(place, digit)).sum();
    sum.is_multiple_of(10).then_some(end)
}

/// Four numbers with dots between.
fn is_address(word: &str) -> bool {
    let word = word.trim_matches(|letter: char| !letter.is_ascii_digit());
    word.split('.').count() == 4 && word.split('.').all(|part| part.parse::<u8>().is_ok())
}

fn luhn(place: usize, digit: u8) -> u32 {
    let digit = u32::from(digit) * if place % 2 == 1 { 2 } else { 1 };
    if digit > 9 { digit - 9 } else { digit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        for (text, expected) in [
            ("login password=hunter2 ok", "login password=*** ok"),
            ("{\"password\": \"hunter2\"}", "{\"password\": \"***\"}"),
            ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
            ("db_password: x1", "db_password: ***"),
            ("token eyJhbGciOiJIUzI1NiJ9.e30.abc refused", "token *** refused"),
            ("mail ana@example.org bounced", "mail *** bounced"),
            ("card 4111 1111 1111 1111 declined", "card *** declined"),
            ("card 4111-1111-1111-1111", "card ***"),
            ("GET https://ana:secret1@host/x", "GET https:***@host/x"),
            ("key AKIAIOSFODNN7EXAMPLE used", "key *** used"),
            ("blob Zm9vYmFyMTIzNDU2Nzg5MEFCQ0Q5x9 end", "blob *** end"),
            ("api_key=\"abc\" next", "api_key=\"***\" next"),
        ] {
            assert_eq!(redacted(text, 500, false), expected);
        }
    }

    #[test]
    fn what_people_need_stays() {
        for text in [
            "user 7f1f2c3a-0d3a-4c1e-9d4b-4f1e2d3c4b5a gone from 10.0.0.7",
            "order 4111 lost after 3000 ms at 1790000000000",
            "trace 00aa11bb22cc33dd44ee55ff66778899",
            "token of user 17 expires in 3 s",
            "com.shop.order.PriceService.apply(PriceService.java:118)",
            "password rejected",
            "",
        ] {
            assert_eq!(redacted(text, 500, false), text);
        }
    }

    #[test]
    fn addresses_are_masked_on_demand() {
        let text = "from 10.0.0.7:51234 and 1.2.3";
        assert_eq!(redacted(text, 500, false), text);
        assert_eq!(redacted(text, 500, true), "from ***:51234 and 1.2.3");
    }

    #[test]
    fn it_is_cut_between_characters() {
        assert_eq!(redacted("aéé", 2, false), "a");
        assert!(redacted(&"x ".repeat(10_000), 100, false).len() <= 100);
    }
}
