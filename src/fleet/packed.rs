//! An activity as it is kept of each agent: its JSON, in which what nearly every activity has is one byte each. So it takes a
//! third, of a hundred thousand agents twelve megabytes less.
//!
//! Intuition: JSON has no control characters, so they are free to stand for phrases. Each phrase has a quote that no backslash
//! precedes, so that none is found within a text.

use crate::wire::beat::view::ActivityView;
use crate::wire::beat::{Activity, Verdict};
use std::borrow::Cow;

/// The phrases: the place of each is its byte. Of two that begin alike the longer one stands first.
const PHRASES: [&str; 26] = [
    r#"{"verdict":"working","since":"#,
    r#"{"verdict":"waiting_model","since":"#,
    r#"{"verdict":"waiting_input","since":"#,
    r#"{"verdict":"idle","since":"#,
    r#"{"verdict":"sleeping","since":"#,
    r#"{"verdict":""#,
    r#"","since":"#,
    r#","cause":"progress","confidence":"none""#,
    r#","cause":""#,
    r#"","confidence":"none","evidence":["#,
    r#"","confidence":"none""#,
    r#"","confidence":"suspicion""#,
    r#"","confidence":"proof""#,
    r#","confidence":"none""#,
    SENTENCE,
    r#"","evidence":[{"signal":""#,
    r#"","evidence":["#,
    r#","evidence":[{"signal":"tcp.bytes_received","value":""#,
    r#","evidence":[{"signal":""#,
    r#","evidence":["#,
    r#"","value":""#,
    r#"","source":"observed"}]}"#,
    r#"","source":"observed"},{"signal":""#,
    r#"","source":"observed"}"#,
    r#"","source":"reported"}"#,
    r#"{"signal":""#,
];
/// What stands before a sentence.
const SENTENCE: &str = r#","sentence":""#;
const SENTENCE_CODE: u8 = 14;
/// So many bytes of the beginning tell most phrases apart.
const HEAD: usize = 4;

/// An activity, packed.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// One of the verdicts.
    pub verdict: Verdict,
    text: &'a str,
}

/// Packs an activity as this version encodes it.
pub(super) fn pack(json: &str) -> String {
    let mut packed = String::with_capacity(json.len());
    let (mut taken, mut at) = (0, 0);
    while let Some(next) = json.as_bytes().get(at..).and_then(phrase_start) {
        at += next;
        match phrase(&json[at..]) {
            Some(code) => {
                packed.push_str(&json[taken..at]);
                packed.push(char::from(code));
                at += PHRASES[usize::from(code)].len();
                taken = at;
            }
            None => at += 1,
        }
    }
    packed.push_str(&json[taken..]);
    packed
}

/// Where a phrase may begin.
fn phrase_start(bytes: &[u8]) -> Option<usize> {
    let begins = |byte: &u8| matches!(byte, b'"' | b',' | b'{');
    bytes.iter().position(begins)
}

/// The code of the phrase that the text begins with.
fn phrase(text: &str) -> Option<u8> {
    let bytes = text.as_bytes();
    let head = bytes.first_chunk::<HEAD>()?;
    let fits = |phrase: &&str| {
        phrase.as_bytes().first_chunk() == Some(head) && bytes.starts_with(phrase.as_bytes())
    };
    let place = PHRASES.iter().position(fits)?;
    u8::try_from(place).ok()
}

fn is_code(byte: u8) -> bool {
    usize::from(byte) < PHRASES.len()
}

impl<'a> Packed<'a> {
    pub(super) fn new(verdict: Verdict, text: &'a str) -> Self {
        Self { verdict, text }
    }

    /// Adds the JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut rest = self.text.as_bytes();
        while let Some(at) = rest.iter().position(|byte| is_code(*byte)) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(PHRASES[usize::from(rest[at])].as_bytes());
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    }

    /// The JSON.
    pub fn json(&self) -> String {
        let mut json = Vec::new();
        self.write(&mut json);
        String::from_utf8(json).unwrap_or_default()
    }

    /// The activity as a value.
    pub fn decode(&self) -> Option<Activity> {
        let (verdict, json) = (self.verdict, self.json());
        ActivityView {
            verdict,
            json: &json,
        }
        .decode()
    }

    /// The sentence, if it has one.
    pub(super) fn sentence(&self) -> Option<Cow<'a, str>> {
        let (_, rest) = self.text.split_once(char::from(SENTENCE_CODE))?;
        let ends = |byte: u8| is_code(byte) || byte == b'"' || byte == b'\\';
        let end = rest.bytes().position(ends)?;
        if rest.as_bytes()[end] == b'\\' {
            return self.decode().map(|activity| activity.sentence.into());
        }
        Some(Cow::Borrowed(&rest[..end]))
    }

    /// Since when the verdict holds, Unix milliseconds of the sender: the first number, for no verdict has a digit in its name.
    pub(super) fn since(&self) -> Option<u64> {
        let start = self.text.find(|c: char| c.is_ascii_digit())?;
        let since = &self.text[start..];
        let end = since.find(|c: char| !c.is_ascii_digit());
        since.get(..end?)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::activity::{Cause, Confidence};
    use crate::wire::beat::{Evidence, Source};

    fn activity(verdict: Verdict, sentence: &str) -> Activity {
        Activity {
            verdict,
            since: 12,
            cause: Some(Cause::known("progress")),
            confidence: Some(verdict.confidence()),
            sentence: sentence.to_owned(),
            evidence: Vec::new(),
        }
    }

    fn evidence(signal: &str, value: &str, source: Source) -> Evidence {
        Evidence {
            signal: signal.to_owned(),
            value: value.to_owned(),
            source,
        }
    }

    /// The activity comes out as it went in; the length of what is kept.
    fn kept(activity: &Activity) -> usize {
        let json = serde_json::to_string(activity).unwrap();
        let text = pack(&json);
        let packed = Packed::new(activity.verdict, &text);
        assert_eq!(packed.json(), json);
        assert_eq!(packed.decode().as_ref(), Some(activity));
        assert_eq!(packed.since(), Some(activity.since), "{json}");
        let sentence = Some(activity.sentence.as_str()).filter(|text| !text.is_empty());
        assert_eq!(packed.sentence().as_deref(), sentence, "{json}");
        text.len()
    }

    #[test]
    fn an_activity_comes_out_as_it_went_in() {
        let texts = ["", "It works.", r#"It says "\ä", and"#, "\n", "\u{1}", "7"];
        let of = [Source::Observed, Source::Reported];
        for verdict in Verdict::ALL {
            for (text, source) in texts.into_iter().flat_map(|text| of.map(|of| (text, of))) {
                let mut one = activity(verdict, text);
                kept(&one);
                for signal in ["tcp.bytes_received", r#"","value":""#, SENTENCE] {
                    one.evidence.push(evidence(signal, text, source));
                    kept(&one);
                }
                one.confidence = None;
                kept(&one);
                one.cause = None;
                kept(&one);
                one.confidence = Some(Confidence::None);
                kept(&one);
            }
        }
    }

    #[test]
    fn an_activity_takes_a_third_of_its_json() {
        let mut one = activity(Verdict::Working, "");
        let value = "18 kB in 30 s";
        one.since = 1_763_999_990_000;
        one.evidence
            .push(evidence("tcp.bytes_received", value, Source::Observed));
        assert_eq!(kept(&one), 4 + 13 + value.len());
    }

    #[test]
    fn no_phrase_hides_behind_a_shorter_one_and_none_is_found_within_a_text() {
        for (place, phrase) in PHRASES.iter().enumerate() {
            assert!(phrase.len() > HEAD && place < usize::from(b' '));
            let earlier = PHRASES[..place].iter();
            assert!(earlier.into_iter().all(|one| !phrase.starts_with(one)));
            let quotes = phrase.match_indices('"').filter(|(at, _)| *at > 0);
            let mut bare = quotes.filter(|(at, _)| phrase.as_bytes()[at - 1] != b'\\');
            assert!(bare.next().is_some(), "{phrase}");
        }
        assert_eq!(PHRASES[usize::from(SENTENCE_CODE)], SENTENCE);
    }
}
