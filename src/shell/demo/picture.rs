//! How the demo looks on a terminal: colours where they are welcome, curves in one line, boxes.
//!
//! Knows nothing of what it shows.

use std::io::IsTerminal;

/// Paints text, or leaves it plain where nobody could see the colours or somebody asked for none (`NO_COLOR`).
#[derive(Clone, Copy)]
pub struct Paint {
    colour: bool,
    /// Whether a person may be looking.
    pub terminal: bool,
}

#[derive(Clone, Copy)]
pub enum Ink {
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    Cyan,
}

impl Paint {
    pub fn for_stdout() -> Paint {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal();
        Paint { colour: terminal && !refused && !dumb, terminal }
    }

    #[cfg(test)]
    pub fn plain() -> Paint {
        Paint { colour: false, terminal: false }
    }

    pub fn ink(self, ink: Ink, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Red => "1;31",
            Ink::Yellow => "1;33",
            Ink::Green => "32",
            Ink::Cyan => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve of one character a value, from its lowest to its highest; a flat one stays at the bottom.
pub fn sparkline(values: &[f64]) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // From zero where it is near, so that noise on a level does not look like mountains.
    let floor = if low > 0.0 && low < 0.5 * high { 0.0 } else { low };
    let level = |value: f64| {
        let share = if high > floor { (value - floor) / (high - floor) } else { 0.0 };
        LEVELS[((share * 8.0) as usize).min(7)]
    };
    values.iter().map(|&value| level(value)).collect()
}

/// A number as people say it: three digits that matter.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 1_000_000.0 {
        format!("{:.2}M", value / 1e6)
    } else if size >= 10_000.0 {
        format!("{:.1}k", value / 1e3)
    } else if size >= 100.0 || value == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        let digits = (2.0 - size.log10().floor()).min(9.0) as usize;
        let text = format!("{value:.digits$}");
        text.trim_end_matches('0').to_owned()
    }
}

/// JSON with a line for each member, in the order it came; what fits on a short line stays on it.
pub fn indented(json: &str) -> String {
    const SHORT: usize = 90;
    let (mut text, mut depth, mut quoted, mut escaped) = (String::new(), 0_usize, false, false);
    let mut flat_until = 0;
    let line = |depth: usize| format!("\n{}", "  ".repeat(depth));
    for (place, sign) in json.char_indices() {
        let flat = place < flat_until;
        match sign {
            _ if quoted => {
                text.push(sign);
                quoted = escaped || sign != '"';
                escaped = sign == '\\' && !escaped;
            }
            '{' | '[' if !flat => {
                text.push(sign);
                match closing(&json[place..]) {
                    Some(length) if length <= SHORT => flat_until = place + length,
                    _ => {
                        depth += 1;
                        text.push_str(&line(depth));
                    }
                }
            }
            // The last sign of a flat stretch lies inside it.
            '}' | ']' if !flat => {
                depth = depth.saturating_sub(1);
                text.push_str(&line(depth));
                text.push(sign);
            }
            ',' => text.push_str(&if flat { ", ".to_owned() } else { format!(",{}", line(depth)) }),
            ':' => text.push_str(": "),
            _ => {
                quoted = sign == '"';
                text.push(sign);
            }
        }
    }
    text
}

/// How many bytes an object or array takes that begins here and holds no other object.
fn closing(json: &str) -> Option<usize> {
    let end = json.find(['}', ']'])?;
    (!json[1..end].contains(['{', '['])).then_some(end + 1)
}

/// A box with a title on its left and a word on its right, around lines that may carry colours.
pub fn framed(paint: Paint, ink: Ink, title: &str, word: &str, lines: &[String]) -> String {
    const WIDTH: usize = 100;
    let taken = title.chars().count() + word.chars().count() + 8;
    let rule = "─".repeat(WIDTH.saturating_sub(taken).max(3));
    let mut text = paint.ink(ink, &format!("┌─ {title} {rule} {word} ─┐"));
    for line in lines {
        text.push_str(&format!("\n{} {line}", paint.ink(ink, "│")));
    }
    text.push('\n');
    text.push_str(&paint.ink(ink, &format!("└{}┘", "─".repeat(WIDTH - 2))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves() {
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[2.0, 2.0]), "▁▁");
        assert_eq!(sparkline(&[0.0, 4.0, 8.0]), "▁▅█");
        assert_eq!(sparkline(&[0.0, 0.0, 0.0]), "▁▁▁");
        assert_eq!(sparkline(&[1.0, 10.0]), "▁█");
        assert_eq!(sparkline(&[90.0, 100.0]), "▁█");
    }

    #[test]
    fn numbers() {
        for (value, text) in [
            (0.0, "0"),
            (0.0031, "0.0031"),
            (0.013, "0.013"),
            (0.5, "0.5"),
            (1.0, "1.00"),
            (15.53, "15.5"),
            (842.3, "842"),
            (-12.0, "-12.0"),
            (12_345.0, "12.3k"),
            (2_500_000.0, "2.50M"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn json_keeps_its_order_and_its_texts() {
        let long = "a".repeat(100);
        let json = format!(r#"{{"b":1,"a":{{"x":[1,2],"y":"{{,}}:\"["}},"long":["{long}"],"c":[]}}"#);
        let json = json.as_str();
        let text = indented(json);
        assert!(
            text.starts_with("{\n  \"b\": 1,\n  \"a\": {\n    \"x\": [1, 2],\n    \"y\": \"{,}:\\\"[\"\n  },"),
            "{text}"
        );
        assert!(text.ends_with("\n  \"c\": []\n}"), "{text}");
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(parsed(&text), parsed(json));
    }

    #[test]
    fn plain_text_carries_no_escapes() {
        let text = framed(Paint::plain(), Ink::Red, "title", "word", &["line".to_owned()]);
        assert!(!text.contains('\x1b'));
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert_eq!(widths, [100, 6, 100]);
    }
}
