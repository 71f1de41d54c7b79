//! Fields that cost themselves: a value that another program writes its own way is left out, and nothing else is lost.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;

/// A field whose value is left out when it is not one of ours.
pub(crate) fn or_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// A list without those of its entries that are not ours; empty when it is no list.
pub(crate) fn list<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let entries: Vec<Value> = or_default(from)?;
    let known = entries.into_iter().map(serde_json::from_value);
    Ok(known.filter_map(Result::ok).collect())
}

/// JSON of a program that writes numbers which JSON does not have (`NaN`, `Infinity`, as Python does), with `null` in their
/// place; `None` when it has none.
pub(crate) fn without_nan(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut in_text, mut found) = (text, false, false);
    while let Some(c) = rest.chars().next() {
        let word = WORDS.iter().find(|word| rest.starts_with(**word));
        let taken = match (in_text, c, word) {
            (false, _, Some(word)) => {
                out.push_str("null");
                found = true;
                word.len()
            }
            // What is escaped ends no text.
            (true, '\\', _) => {
                let escaped = rest.chars().nth(1).map_or(0, char::len_utf8);
                out.push_str(&rest[..1 + escaped]);
                1 + escaped
            }
            (_, c, _) => {
                in_text ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_have_are_null_and_texts_that_name_them_stay() {
        let python = r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN \" NaN \\"}"#;
        let json = r#"{"a":null,"b":[null,null],"c":"NaN \" NaN \\"}"#;
        assert_eq!(without_nan(python).as_deref(), Some(json));
        assert_eq!(without_nan(json), None);
        assert_eq!(without_nan("\"\\"), None, "cut in an escape");
    }
}
