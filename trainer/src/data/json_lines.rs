//! JSON lines: an object a line, one of whose fields is a text.

use core::fmt;
use std::borrow::Cow;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::DataError;
use super::sources::Sink;

/// Gives the text under `field` of every line of `bytes`, which are those of the file `path`, to
/// `sink`. Lines of white space are passed over.
pub(super) fn texts(
    path: &Path,
    bytes: &[u8],
    field: &str,
    sink: Sink<'_>,
) -> Result<(), DataError> {
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut json = serde_json::Deserializer::from_slice(line);
        let found = Field(field).deserialize(&mut json);
        let found = found.and_then(|found| json.end().map(|()| found));
        match found {
            Ok(Some(text)) => sink(&text)?,
            Ok(None) => {
                return Err(DataError::NoField {
                    path: path.to_owned(),
                    line: index + 1,
                    field: field.to_owned(),
                    known: known(line),
                });
            }
            Err(error) => {
                // It counts the lines of what it is given, which is one.
                let message = error.to_string();
                let message = message.replace(" at line 1 column ", " at column ");
                return Err(DataError::Json {
                    path: path.to_owned(),
                    line: index + 1,
                    message,
                });
            }
        }
    }
    Ok(())
}

/// The fields of an object and what they hold.
fn known(line: &[u8]) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
        return Vec::new();
    };
    let kind = |value: &Value| match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let field = |(name, value): (&String, &Value)| format!("{name} ({})", kind(value));
    match fields.is_empty() {
        true => vec!["none".to_owned()],
        false => fields.iter().map(field).collect(),
    }
}

/// Reads an object for the text under one name; the rest is checked and passed over.
struct Field<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name != self.0 {
                map.next_value::<IgnoredAny>()?;
            } else if let Value::String(text) = map.next_value()? {
                found = Some(Cow::Owned(text));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str, field: &str) -> Result<Vec<String>, DataError> {
        let mut found = Vec::new();
        texts(Path::new("a.jsonl"), lines.as_bytes(), field, &mut |text| {
            found.push(text.to_owned());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn every_line_gives_its_text() {
        let lines =
            "{\"id\": 1, \"text\": \"one\\n\\u00e9\"}\r\n\n  \n{\"text\": \"two\", \"more\": [{}]}";
        assert_eq!(read(lines, "text").unwrap(), ["one\né", "two"]);
        assert_eq!(read("{\"a\\u0062\": \"x\"}\n", "ab").unwrap(), ["x"]);
        assert!(read("", "text").unwrap().is_empty());
    }

    #[test]
    fn a_broken_line_is_named() {
        let cases = [
            (
                "{\"text\": \"a\"}\n\n{\"text\": \"b\"\n",
                "a.jsonl, line 3: EOF",
            ),
            (
                "{\"text\": \"a\"} x\n",
                "line 1: trailing characters at column 15",
            ),
            (
                "[1]\n",
                "line 1: invalid type: sequence, expected an object",
            ),
            (
                "{\"text\": \"a\"}\n{\"Text\": 1}\n",
                "line 2 has no text under text; there are Text (a number)",
            ),
            (
                "{\"text\": [1]}\n",
                "line 1 has no text under text; there are text (a list)",
            ),
            ("{}\n", "there are none"),
        ];
        for (lines, words) in cases {
            let error = read(lines, "text").unwrap_err();
            assert!(
                error.is_misuse() && error.to_string().contains(words),
                "{error}"
            );
        }
        let broken = texts(Path::new("a"), b"{\"text\": \"\xff\"}", "text", &mut |_| {
            Ok(())
        });
        assert!(matches!(broken, Err(DataError::Json { line: 1, .. })));
    }
}
