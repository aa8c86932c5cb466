//! Masks: what a log line says, without what it says it about.
//!
//! One pass over the first line of a message, by hand: numbers, ids, hashes, addresses, paths, dates, durations and
//! quoted names become `<*>`, what is left is constant words and their punctuation. Neighbouring masks run together, so
//! that a list of three numbers and one of five are one shape. The mask of a line depends on that line alone. Whether
//! a constant word is in truth a variable is not asked here.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

pub const MASK: &str = "<*>";

/// Bytes of a message's first line that are looked at; what stands behind them tells no kinds of line apart.
const LOOKED_AT: usize = 1_024;
/// Bytes kept of a masked line.
pub const TEXT_MAX: usize = 400;
/// Words and masks told apart in one line; further ones are punctuation. A set of them fits in 64 bits.
pub const WORDS_MAX: usize = 48;
/// A quotation longer than this is prose.
const QUOTED_MAX: usize = 120;

/// The symbol of a mask.
pub const VARIABLE: u32 = 0;

/// The bit of a symbol that a word has which tells what was done or how something stands: `started`, `closing`,
/// `DELETE`, `FAILED`.
pub const TELLING: u32 = 2;
/// A number with one of these behind it is one quantity, in whatever unit it was told.
const UNITS: [&str; 26] = [
    "ms", "s", "sec", "secs", "second", "seconds", "msec", "us", "ns", "min", "mins", "minute", "minutes", "h", "hour",
    "hours", "B", "KB", "kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB",
];

/// A masked line, and where its words and masks stand.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masked {
    pub text: String,
    /// Byte ranges in `text`, in order.
    pub words: Vec<(u16, u16)>,
}

impl Masked {
    /// The same in every build: what a template's id is made of.
    pub fn id(&self) -> u64 {
        xxh3_64(self.text.as_bytes())
    }

    /// Of the punctuation and the masks, whatever the words: only lines of one shape can be one template.
    pub fn shape(&self) -> u64 {
        let mut hash = Xxh3::new();
        let mut from = 0;
        for &(start, end) in &self.words {
            hash.update(&self.text.as_bytes()[from..start.into()]);
            hash.update(&[0]);
            from = end.into();
        }
        hash.update(&self.text.as_bytes()[from..]);
        hash.digest()
    }

    /// A number for each word; `VARIABLE` for each mask.
    pub fn symbols(&self) -> Box<[u32]> {
        let words = self.words.iter().map(|&(start, end)| &self.text[start.into()..end.into()]);
        let symbol = |word: &str| {
            let telling = if tells(word) { TELLING } else { 0 };
            if word == MASK { VARIABLE } else { xxh3_64(word.as_bytes()) as u32 & !TELLING | telling | 1 }
        };
        words.map(symbol).collect()
    }

    /// The line with the words at these places masked too, one bit for each.
    pub fn without(&self, blanks: u64) -> String {
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for (place, &(start, end)) in self.words.iter().enumerate() {
            if blanks & (1 << place) == 0 {
                continue;
            }
            text.push_str(&self.text[from..start.into()]);
            text.push_str(MASK);
            from = end.into();
        }
        text.push_str(&self.text[from..]);
        text
    }
}

/// Masks one line.
pub fn mask(line: &str) -> Masked {
    let line = line.trim_start();
    let line = &line[..line.floor_char_boundary(LOOKED_AT)];
    let mut out =
        Scribe { masked: Masked { text: String::with_capacity(line.len().min(TEXT_MAX)), words: Vec::new() } };
    let bytes = line.as_bytes();
    let mut at = 0;
    while at < bytes.len() && out.masked.text.len() < TEXT_MAX {
        at = step(line, bytes, at, &mut out);
    }
    // Only our own spaces: others are part of the word they stand in, and its place is noted.
    let length = out.masked.text.trim_end_matches(' ').len();
    out.masked.text.truncate(length);
    out.masked
}

/// Takes what begins at `at`; where the next thing begins.
fn step(line: &str, bytes: &[u8], at: usize, out: &mut Scribe) -> usize {
    let byte = bytes[at];
    let before = at.checked_sub(1).map(|before| bytes[before]);
    let fresh = before.is_none_or(|byte| !is_word(byte));
    if byte.is_ascii_whitespace() {
        out.space();
        return at + 1;
    }
    if byte.is_ascii_control() {
        return at + 1;
    }
    if (byte == b'"' || byte == b'\'')
        && fresh
        && let Some(end) = quoted_name(bytes, at)
    {
        out.variable();
        return end;
    }
    if fresh && let Some(end) = path(bytes, at) {
        out.variable();
        return end;
    }
    let signed = matches!(byte, b'-' | b'+' | b'<') && fresh && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
    if !is_word(byte) && !signed {
        out.mark(byte);
        return at + 1;
    }
    let end = end_of_word(bytes, at + usize::from(signed));
    if fresh
        && end - at <= 4
        && bytes.get(end) == Some(&b':')
        && let Some(end) = groups_of_hex(bytes, at)
    {
        out.variable();
        return end;
    }
    let (word, after) = (&line[at..end], &bytes[end..]);
    if is_variable(word, before, after) || is_part_of_date(word, after) {
        out.variable();
        return end + unit(after);
    }
    out.word(word);
    end
}

/// How many bytes of what follows a number are its unit.
fn unit(after: &[u8]) -> usize {
    let Some(rest) = after.strip_prefix(b" ") else { return 0 };
    let length = rest.iter().take(8).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let ends = rest.get(length).is_none_or(|&byte| !is_word(byte));
    let is_unit = || UNITS.iter().any(|unit| unit.as_bytes() == &rest[..length]);
    if (1..=7).contains(&length) && ends && is_unit() { length + 1 } else { 0 }
}

struct Scribe {
    masked: Masked,
}

impl Scribe {
    fn space(&mut self) {
        if !self.masked.text.is_empty() && !self.masked.text.ends_with(' ') {
            self.masked.text.push(' ');
        }
    }

    fn mark(&mut self, byte: u8) {
        self.masked.text.push(char::from(byte));
        if byte == b')' {
            self.close();
        }
    }

    /// What stands in brackets behind a variable or a size, and is one itself, the name of a host or nothing, says the
    /// same once more.
    fn close(&mut self) {
        let text = &mut self.masked.text;
        let within = text.len() - 1;
        let Some(open) = text.as_bytes()[..within].iter().rposition(|&byte| byte == b'(') else { return };
        let (rest, inside) = (&text[..open], &text[open + 1..within]);
        let masked = inside == MASK;
        let host = || {
            let letters = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'.' | b'-');
            inside.contains('.') && inside.bytes().all(letters)
        };
        if (rest.ends_with("<*> ") && (masked || inside.is_empty() || host())) || (masked && rest.ends_with("bytes ")) {
            let length = rest.len() - 1;
            text.truncate(length);
            self.masked.words.retain(|word| usize::from(word.1) <= length);
        }
    }

    fn word(&mut self, word: &str) {
        let room = TEXT_MAX - self.masked.text.len().min(TEXT_MAX);
        self.place(&word[..word.floor_char_boundary(room)]);
    }

    /// Neighbouring masks run together.
    fn variable(&mut self) {
        let text = &mut self.masked.text;
        for between in [", ", " ", ",", ":", ".", "-", "/", ""] {
            if let Some(rest) = text.strip_suffix(between)
                && rest.ends_with(MASK)
            {
                let length = rest.len();
                text.truncate(length);
                return;
            }
        }
        self.place(MASK);
    }

    fn place(&mut self, word: &str) {
        let text = &mut self.masked.text;
        let start = text.len();
        text.push_str(word);
        if self.masked.words.len() < WORDS_MAX && !word.is_empty() {
            self.masked.words.push((start as u16, text.len() as u16));
        }
    }
}

/// Everything beyond ASCII is a letter of somebody's.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

fn end_of_word(bytes: &[u8], from: usize) -> usize {
    let mut end = from;
    while end < bytes.len() {
        let joins = match bytes[end] {
            b'-' | b'.' | b'@' => bytes.get(end + 1).copied().is_some_and(is_word),
            b'~' => end > from && bytes.get(end + 1).is_some_and(|&byte| is_word(byte) || byte == b'~'),
            b'\'' => bytes.get(end + 1).is_some_and(u8::is_ascii_alphabetic),
            _ => false,
        };
        if !is_word(bytes[end]) && !joins {
            break;
        }
        end += 1;
    }
    end
}

fn is_variable(word: &str, before: Option<u8>, after: &[u8]) -> bool {
    let bytes = word.as_bytes();
    if bytes.iter().any(u8::is_ascii_digit) {
        // The name of a function is no id, whatever digits it has.
        let called = after.first() == Some(&b'(') && bytes[0].is_ascii_alphabetic() && !word.contains(['-', '@']);
        return !called;
    }
    let dotted = word.contains('.');
    let port = after.first() == Some(&b':') && after.get(1).is_some_and(u8::is_ascii_digit);
    let hexadecimal = bytes.len() >= 8 && bytes.iter().all(|byte| matches!(byte, b'a'..=b'f') || *byte == b'-');
    hexadecimal || word.contains('@') || (dotted && (port || before == Some(b'='))) || (bytes.len() > 64 && !dotted)
}

/// Whether a word tells what was done or how something stands. Short ones in capitals may as well be codes: `EUR`.
fn tells(word: &str) -> bool {
    word.ends_with("ed")
        || word.ends_with("ing")
        || (word.len() >= 4 && word.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-')))
}

/// Where an address of hardware or of the sixth version of IP ends that begins at `at`: hexadecimal groups between
/// colons, of which not all are names.
fn groups_of_hex(bytes: &[u8], at: usize) -> Option<usize> {
    let (mut end, mut groups, mut digits, mut gap) = (at, 0, false, false);
    loop {
        let length = bytes[end..].iter().take(5).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if length == 5 || (length == 0 && groups == 0) {
            return None;
        }
        digits |= bytes[end..end + length].iter().any(u8::is_ascii_digit);
        gap |= length == 0;
        groups += 1;
        end += length;
        if bytes.get(end) != Some(&b':')
            || !bytes.get(end + 1).is_some_and(|&byte| byte == b':' || byte.is_ascii_hexdigit())
        {
            break;
        }
        end += 1;
    }
    let ends = bytes.get(end).is_none_or(|&byte| !is_word(byte));
    (ends && digits && (groups >= 4 || (gap && groups >= 3))).then_some(end)
}

/// Names of months and days, where a number or another such name follows.
fn is_part_of_date(word: &str, after: &[u8]) -> bool {
    const NAMES: [&str; 19] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Mon", "Tue", "Wed", "Thu",
        "Fri", "Sat", "Sun",
    ];
    // Hardly any word goes on from here.
    if word.len() != 3 || !NAMES.contains(&word) {
        return false;
    }
    let next = after.iter().position(|byte| !matches!(byte, b' ' | b',')).unwrap_or(0);
    let rest = &after[next..];
    let number = rest.first().is_some_and(u8::is_ascii_digit);
    let name = rest.get(..3).is_some_and(|rest| NAMES.iter().any(|name| name.as_bytes() == rest));
    next > 0 && (number || name)
}

/// Where a quoted name ends that begins at `at`. What has spaces in it is prose and is read like the rest; what a
/// colon follows is a key.
fn quoted_name(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let length = bytes[at + 1..].iter().take(QUOTED_MAX).position(|&byte| byte == quote)?;
    let inside = &bytes[at + 1..at + 1 + length];
    let end = at + length + 2;
    let after = bytes.get(end).copied();
    let closes = after.is_none_or(|byte| !is_word(byte));
    (closes && after != Some(b':') && !inside.iter().any(u8::is_ascii_whitespace)).then_some(end)
}

/// Where a path or an address of the web ends that begins at `at`.
fn path(bytes: &[u8], at: usize) -> Option<usize> {
    let drive = bytes[at].is_ascii_alphabetic() && bytes.get(at + 1..at + 3) == Some(b":\\");
    let relative = bytes[at] == b'.' && (bytes[at..].starts_with(b"./") || bytes[at..].starts_with(b"../"));
    if !(bytes[at] == b'/' || is_word(bytes[at]) || drive || relative) {
        return None;
    }
    let (mut slashes, mut dotted) = (0, false);
    let mut end = at;
    while end < bytes.len() && end - at < LOOKED_AT {
        match bytes[end] {
            b'/' => slashes += 1,
            b'\\' if drive => slashes += 2,
            b':' | b'%' | b'?' | b'=' | b'&' | b'+' | b'~' | b'#' | b'@' | b'.' | b'-' | b'*' if slashes > 0 => {}
            b':' if bytes.get(end + 1..end + 3) == Some(b"//") => {}
            b':' if drive => {}
            b'.' => dotted = true,
            b'-' => {}
            byte if is_word(byte) => {}
            _ => break,
        }
        end += 1;
    }
    while end > at && matches!(bytes[end - 1], b'.' | b':' | b'?' | b'=' | b'-') {
        end -= 1;
    }
    let follows = |at: usize| bytes.get(at).is_some_and(|&byte| is_word(byte) || byte == b'.');
    let rooted = bytes[at] == b'/' && end - at > 1 && follows(at + 1);
    // A dotted name with a slash behind it is that of a host, a package or a bucket, and of something in it.
    let inside = dotted && slashes == 1 && end - at > 3;
    (rooted || relative || inside || slashes >= 2).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_of_another_kind_at_the_end_is_part_of_its_word() {
        for space in ["\u{a0}", "\u{2000}", "\u{3000}", "\u{2028}"] {
            let masked = mask(&format!("payment declined{space}"));
            assert_eq!(masked.symbols().len(), 2, "{}", masked.text.escape_debug());
            assert!(masked.words.iter().all(|&(_, end)| usize::from(end) <= masked.text.len()));
        }
    }

    #[test]
    fn what_varies_is_masked() {
        for (line, expected) in [
            (
                "payment 8813 declined: upstream timeout after 3000 ms",
                "payment <*> declined: upstream timeout after <*>",
            ),
            ("user 7f1f2c3a-0d3a-4c1e-9d4b-4f1e2d3c4b5a gone", "user <*> gone"),
            ("connection from 10.0.0.7:51234 reset", "connection from <*> reset"),
            ("open /var/lib/app/data.db: no such file", "open <*>: no such file"),
            ("GET https://a.example/x?y=1 failed", "GET <*> failed"),
            ("proxy.example.org:5070 open through proxy", "<*> open through proxy"),
            ("at 2026-11-23T12:41:41.123Z took 12ms", "at <*> took <*>"),
            ("Mon Nov 23 12:41:41 done", "<*> done"),
            ("Unknown column 'discount_code' in 'field list'", "Unknown column <*> in 'field list'"),
            ("jk2_init() Can't find child 17 in scoreboard", "jk2_init() Can't find child <*> in scoreboard"),
            ("sizes [1, 22, 333] of -4", "sizes [<*>] of <*>"),
            ("mail to ana@example.org bounced", "mail to <*> bounced"),
            ("o.s.OrderServiceImpl#68 TraceID: 00aa11bb", "o.s.OrderServiceImpl#<*> TraceID: <*>"),
            ("restart:true and read/write", "restart:true and read/write"),
            ("digest deadbeefcafe", "digest <*>"),
            ("sent 1165 bytes (1.13 KB), lifetime <1 sec", "sent <*> bytes, lifetime <*>"),
            ("from 10.0.0.7 (host8.example.net) and 10.0.0.8 ()", "from <*> and <*>"),
            ("C:\\Program\\x.exe started", "<*> started"),
            ("{\"level\":\"error\"}", "{\"level\":<*>}"),
            ("lease of 5c:50:15:4c:ab:fe lost", "lease of <*> lost"),
            ("route to fe80::c6b3:1ff:fecd:467f via FE80:0000:D8A5:90FF", "route to <*> via <*>"),
            ("dead:beef:bad:cafe std::fmt a:b:c:d", "dead:beef:bad:cafe std::fmt a:b:c:d"),
            ("package for_KB2718704~31bf~amd64~~6.1 and foo-bar~31bf~en-US~6.1", "package <*> and <*>"),
            ("started ./run and ../bin/go, not ... or . /", "started <*> and <*>, not ... or . /"),
            ("pull registry.example/shop and com.shop.app/.Main", "pull <*> and <*>"),
            ("from 10.0.0.7 (proxy.example.org) at once (or not)", "from <*> at once (or not)"),
            ("attempt 3 (java.io.IOException)", "attempt <*> (java.io.IOException)"),
            ("", ""),
        ] {
            assert_eq!(mask(line).text, expected, "{line}");
        }
    }

    #[test]
    fn any_bytes_have_a_mask() {
        for line in
            ["\u{0}\u{1}\u{7f}", "\"'\"'\"", "////", "日本語 1 テスト", "a".repeat(5_000).as_str(), "=:=-+-.", "'"]
        {
            let masked = mask(line);
            assert!(masked.text.len() <= TEXT_MAX + MASK.len(), "{}", masked.text.len());
            assert_eq!(masked.without(0), masked.text);
        }
    }

    #[test]
    fn words_stand_where_they_are_said_to() {
        let masked = mask("order 5 lost: no route");
        let words: Vec<_> = masked.words.iter().map(|&(from, to)| &masked.text[from.into()..to.into()]).collect();
        assert_eq!(words, ["order", MASK, "lost", "no", "route"]);
        assert_eq!(masked.without(0b10001), "<*> <*> lost: no <*>");
        assert_eq!(masked.shape(), mask("offer 7 kept: my goods").shape());
    }
}
