//! The layers: a TOML file below, the environment above, merged into one tree of values.
//!
//! What the values mean is not known here. A variable `REGRESSD__KAFKA__GROUP` sets `kafka.group`; names are taken in
//! lower case, so nothing whose case matters may be a key.

use super::{Mistakes, mask};
use config::{Environment, File, FileFormat, Source, Value};
use std::collections::BTreeMap;
use std::ffi::OsString;

/// What the library calls the origin of a value that a variable gave.
pub const ENVIRONMENT: &str = "the environment";

const PREFIX: &str = "REGRESSD";
const SEPARATOR: &str = "__";

/// The variable that sets a path.
pub fn variable(path: &str) -> String {
    format!("{PREFIX}{SEPARATOR}{}", path.to_ascii_uppercase().replace('.', SEPARATOR))
}

/// Merges the layers. Fails where the text is no TOML, or a variable no text.
pub fn merge(
    text: &str,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<BTreeMap<String, Value>, Mistakes> {
    let mut mistakes = Vec::new();
    let variables = variables(environment, &mut mistakes);
    // Each layer is parsed by itself first: what `build` says of a failure may quote the line, and a line may hold a
    // secret.
    let file = File::from_str(text, FileFormat::Toml);
    if let Err(error) = file.collect() {
        mistakes.push(syntax(&error.to_string()));
        return Err(Mistakes(mistakes));
    }
    let mut builder = config::Config::builder().add_source(file);
    // Longest names first: a section's name set to a text then replaces the section, which is told as a mistake; the
    // other way round the section would replace the text, and nobody would know.
    for (name, value) in variables.into_iter().rev() {
        let one = Environment::with_prefix(PREFIX).separator(SEPARATOR).source(Some([(name, value)].into()));
        builder = builder.add_source(one);
    }
    match builder.build().and_then(|merged| merged.collect()) {
        Ok(tree) if mistakes.is_empty() => Ok(tree.into_iter().collect()),
        Ok(_) => Err(Mistakes(mistakes)),
        Err(_) => {
            mistakes.push("the file and the environment do not fit together".to_owned());
            Err(Mistakes(mistakes))
        }
    }
}

fn variables(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    mistakes: &mut Vec<String>,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let prefix = format!("{PREFIX}{SEPARATOR}");
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(&prefix)) else { continue };
        let parts = name[prefix.len()..].split(SEPARATOR);
        let is_path = parts.clone().all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        });
        match value.to_str() {
            _ if !is_path => mistakes.push(format!("{name}: expected a name such as {}", variable("kafka.brokers"))),
            Some(value) => drop(variables.insert(name.to_owned(), value.to_owned())),
            None => mistakes.push(format!("{name}: expected UTF-8; found {}", mask::MASK)),
        }
    }
    variables
}

/// The place and the reason, without the line itself.
fn syntax(error: &str) -> String {
    let place = error.lines().find_map(|line| line.split_once("at line ").map(|(_, rest)| rest.trim()));
    let reason = error.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.contains('|')).unwrap_or(error);
    match place {
        Some(place) => format!("line {place}: not valid TOML: {reason}"),
        None => format!("not valid TOML: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_says_where_but_never_quotes_the_line() {
        let text = "[kafka]\ngroup = \"a\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\n";
        let Err(Mistakes(lines)) = merge(text, []) else { panic!("half a string is no TOML") };
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("line 4, column "), "{lines:?}");
        assert!(lines[0].contains("not valid TOML: "), "{lines:?}");
        assert!(!lines[0].contains("hunter2"), "{lines:?}");
    }

    #[test]
    fn names_that_are_no_path_are_told() {
        let environment = [("REGRESSD__", "1"), ("REGRESSD__A____B", "1"), ("REGRESSD_PORT", "tcp://10.0.0.1:80")];
        let Err(Mistakes(lines)) = merge("", environment.map(|(k, v)| (k.into(), v.into()))) else {
            panic!("two of the names are no path")
        };
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
}
