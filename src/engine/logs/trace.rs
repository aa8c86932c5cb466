//! Stack traces: one event, with the kind of exception and the frame it came from.
//!
//! Java, Python, Go, Node and Rust are known by how their traces look. A shipper may send a trace as one message or
//! each of its lines as a message: `goes_on` knows a line that belongs to the one before. Nothing is parsed beyond the
//! first line, the kind and the top frame.

/// Lines of a trace that are looked at; a recursion without end has thousands.
const LINES_MAX: usize = 400;
/// Bytes of a kind or a frame that are kept.
const NAME_MAX: usize = 120;

/// What a trace says beside its first line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace<'a> {
    /// The line that says what happened.
    pub head: &'a str,
    /// `NullPointerException`, `ValueError`, `panic`.
    pub exception: Option<&'a str>,
    /// `PriceService.apply`, `checkout in pay.py`, `main.handler`.
    pub frame: Option<&'a str>,
}

/// Reads a whole message.
pub fn read(message: &str) -> Trace<'_> {
    let message = message.trim_start_matches(['\n', '\r']);
    let first = message.lines().next().unwrap_or_default();
    let mut trace = Trace { head: first, exception: exception(first), frame: None };
    if first.len() == message.len() {
        return trace;
    }
    let python = first.starts_with("Traceback (most recent call last)");
    let panicked = first.starts_with("panic: ") || first.starts_with("fatal error: ");
    for line in message.lines().skip(1).take(LINES_MAX) {
        if python && !line.starts_with([' ', '\t']) && exception(line).is_some() {
            trace.head = line;
            trace.exception = exception(line);
        } else if let Some(cause) = line.trim_start().strip_prefix("Caused by: ") {
            // The last cause is the first thing that went wrong; its frame is the one to look at.
            trace.exception = exception(cause).or(trace.exception);
            trace.frame = None;
        } else if let Some(frame) = frame(line, panicked)
            && (trace.frame.is_none() || python)
        {
            trace.frame = Some(frame);
        }
        if trace.exception.is_none() && !python {
            trace.exception = exception(line).filter(|_| !line.starts_with([' ', '\t']));
        }
    }
    trace
}

/// Whether a message is a further line of the event before it.
pub fn goes_on(message: &str) -> bool {
    let text = message.trim_start();
    let indented = message.starts_with('\t') || message.starts_with("  ");
    let begins = ["at ", "... ", "File \"", "Caused by: ", "Suppressed: "].iter().any(|start| text.starts_with(start));
    indented || (begins && (message.starts_with(' ') || text.starts_with("Caused by: "))) || {
        text.starts_with("goroutine ") && text.ends_with(']') || text.starts_with("note: run with `RUST_BACKTRACE")
    }
}

/// The frame that a line of a trace names, without its line number: that changes with every release.
pub fn frame(line: &str, panicked: bool) -> Option<&str> {
    let text = line.trim();
    if let Some(rest) = text.strip_prefix("at ") {
        // `com.shop.PriceService.apply(PriceService.java:118)` and `apply (/app/price.js:1:2)`.
        let name = rest.split([' ', '(']).next().filter(|name| !name.is_empty())?;
        return Some(shortened(last_parts(name, 2)));
    }
    if let Some(rest) = text.strip_prefix("File \"") {
        let (file, rest) = rest.split_once('"')?;
        let function = rest.rsplit_once(" in ").map(|(_, function)| function.trim());
        return function.filter(|name| *name != "<module>").or(file.rsplit('/').next()).map(shortened);
    }
    let call = panicked && !line.starts_with([' ', '\t']) && text.ends_with(')');
    if call && !["panic(", "runtime.", "testing."].iter().any(|own| text.starts_with(own)) {
        return Some(shortened(last_parts(text.split('(').next()?.rsplit('/').next()?, 2)));
    }
    None
}

/// The kind of exception that a line names, without its package.
pub fn exception(line: &str) -> Option<&str> {
    if line.starts_with("panic: ") || line.contains("' panicked at ") {
        return Some("panic");
    }
    for word in line.split([' ', ':', ',', '[', ']', '(', ')', '"']).take(40) {
        // Hardly any word of any line goes on from here.
        if !["Exception", "Error", "Throwable"].iter().any(|end| word.ends_with(end) && word.len() > end.len()) {
            continue;
        }
        let named = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$'));
        let kind = word.rsplit(['.', '$']).next().unwrap_or(word);
        if named && kind.starts_with(|first: char| first.is_ascii_uppercase()) {
            return Some(shortened(kind));
        }
    }
    None
}

/// The last so many parts of a dotted name.
fn last_parts(name: &str, parts: usize) -> &str {
    let start = name.rmatch_indices('.').nth(parts - 1).map_or(0, |(at, _)| at + 1);
    &name[start..]
}

fn shortened(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(message: &str) -> (&str, Option<&str>, Option<&str>) {
        let Trace { head, exception, frame } = read(message);
        (head, exception, frame)
    }

    #[test]
    fn traces_of_five_languages() {
        let java = "java.lang.NullPointerException: x is null\n\
                    \tat com.shop.PriceService.apply(PriceService.java:118)\n\t... 12 more";
        let head = "java.lang.NullPointerException: x is null";
        assert_eq!(told(java), (head, Some("NullPointerException"), Some("PriceService.apply")));
        let caused = "order failed\ncom.shop.OrderException: no\n\tat com.shop.Order.create(Order.java:1)\n\
                      Caused by: java.io.IOException: gone\n\tat com.shop.Store.read(Store.java:9)";
        assert_eq!(told(caused), ("order failed", Some("IOException"), Some("Store.read")));
        let python = "Traceback (most recent call last):\n  File \"/app/pay.py\", line 10, in main\n    pay()\n  \
                      File \"/app/pay.py\", line 3, in pay\n    int(x)\nValueError: invalid literal";
        assert_eq!(told(python), ("ValueError: invalid literal", Some("ValueError"), Some("pay")));
        let go = "panic: runtime error: index out of range [5] with length 4\n\ngoroutine 1 [running]:\n\
                  main.handler(0x1)\n\t/app/main.go:12 +0x1";
        let head = "panic: runtime error: index out of range [5] with length 4";
        assert_eq!(told(go), (head, Some("panic"), Some("main.handler")));
        let node = "TypeError: x is not a function\n    at render (/app/view.js:10:5)\n    at main (/app/a.js:1:1)";
        assert_eq!(told(node), ("TypeError: x is not a function", Some("TypeError"), Some("render")));
        let rust = "thread 'main' panicked at src/main.rs:10:5:\nno route";
        assert_eq!(told(rust).1, Some("panic"));
    }

    #[test]
    fn plain_lines_have_no_trace() {
        assert_eq!(told("payment declined"), ("payment declined", None, None));
        assert_eq!(told("an Error occurred"), ("an Error occurred", None, None));
        assert_eq!(told(""), ("", None, None));
    }

    #[test]
    fn frames_sent_alone_go_on() {
        for line in ["\tat a.B.c(B.java:1)", "    at x (y.js:1:1)", "Caused by: a.BException: c", "\t... 12 more"] {
            assert!(goes_on(line), "{line}");
        }
        for line in ["at last it works", "order lost", "Files left", ""] {
            assert!(!goes_on(line), "{line}");
        }
    }
}
