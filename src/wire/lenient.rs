//! Fields that cost themselves: a value that another program writes its own way is left out, and nothing else is lost.

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde_json::Value;
use std::borrow::Cow;

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

/// Parses JSON. Text that is cut within a character costs that character only.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match whole_characters(text) {
        Cow::Owned(whole) => serde_json::from_str(&whole),
        Cow::Borrowed(_) => Err(error),
    })
}

/// JSON without halves of characters: a text that JavaScript cuts within an emoji, or that Python read with surrogates, is
/// written with one half of a pair of escapes, which no text has. U+FFFD stands in its place.
pub(crate) fn whole_characters(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = text[at..].find('\\') {
        at += found;
        match surrogate(&text[at..]) {
            Some(0xd800..=0xdbff) if is_low(surrogate(&text[at + ESCAPE..])) => at += 2 * ESCAPE,
            Some(_) => {
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += ESCAPE;
                copied = at;
            }
            None => {
                let escaped = text[at + 1..].chars().next();
                at += 1 + escaped.map_or(0, char::len_utf8);
            }
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The length of an escape like `\u00e9`, in bytes.
const ESCAPE: usize = 6;

/// The half of a pair with whose escape this text begins.
fn surrogate(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let half = u32::from_str_radix(digits, 16).ok()?;
    (0xd800..=0xdfff).contains(&half).then_some(half)
}

fn is_low(half: Option<u32>) -> bool {
    half.is_some_and(|half| half >= 0xdc00)
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
    fn half_a_character_is_replaced_and_whole_ones_and_escaped_backslashes_stay() {
        let cut = r#"["\ud83d a \uDE00 b \ud83d","\ud83d\ud83d\ude00","\\ud83d é\"\udce9"]"#;
        let texts: Vec<String> = parse(cut).unwrap();
        assert_eq!(
            texts,
            [
                "\u{fffd} a \u{fffd} b \u{fffd}",
                "\u{fffd}😀",
                "\\ud83d é\"\u{fffd}"
            ]
        );
        for whole in [r#""\ud83d\ude00 \\ud83d""#, "\"\\", r#""\ud8"#, "\"\\u"] {
            assert_eq!(whole_characters(whole), whole);
        }
    }

    #[test]
    fn numbers_that_json_does_not_have_are_null_and_texts_that_name_them_stay() {
        let python = r#"{"a":NaN,"b":[-Infinity,Infinity],"c":"NaN \" NaN \\"}"#;
        let json = r#"{"a":null,"b":[null,null],"c":"NaN \" NaN \\"}"#;
        assert_eq!(without_nan(python).as_deref(), Some(json));
        assert_eq!(without_nan(json), None);
        assert_eq!(without_nan("\"\\"), None, "cut in an escape");
    }
}
