//! What an error answer says, in one form for all providers.
//!
//! Codes stand in many places and spellings; every one of them is compared, and only a short word is ever repeated.
//! Descriptions are compared and never kept: they hold whatever the provider likes.

use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::transport::Answer;

/// Longest error code taken over, and the most digits in one: a code is a word, a token is not.
const CODE_MAX_CHARS: usize = 48;
const CODE_MAX_DIGITS: usize = 4;
/// Longer text is neither a code nor one of the sentences that are known.
const COMPARED_MAX_CHARS: usize = 2_048;
/// Shorter pieces of a request occur in codes by chance, and give nothing away.
const ECHO_MIN_CHARS: usize = 6;
const UNRECOGNISED: &str = "unrecognised_error";

/// Where a code stands: RFC 6749 5.2 first, then Google and Facebook, Notion, Okta, Fitbit, HubSpot.
const CODE_POINTERS: [&str; 8] = [
    "/error",
    "/error/status",
    "/error/code",
    "/code",
    "/errorCode",
    "/errors/0/errorType",
    "/errors/0/code",
    "/status",
];
/// Where there are words that are compared, and not repeated.
const WORD_POINTERS: [&str; 2] = ["/error/errors/0/reason", "/reason"];
/// Numbers of providers that have no words.
const NUMBER_KEYS: [&str; 2] = ["errcode", "error_code"];
/// A larger one is no code.
const NUMBER_MAX: u64 = 9_999_999;
const SENTENCE_POINTERS: [&str; 8] = [
    "/error_description",
    "/message",
    "/error_message",
    "/reason",
    "/errorSummary",
    "/error/message",
    "/errors/0/message",
    "/error",
];

/// An error answer.
pub(super) struct ErrorAnswer {
    pub(super) status: u16,
    /// The first of the codes, lower-case, fit to be repeated.
    pub(super) code: Option<String>,
    /// Every code, in the form of [`word`].
    pub(super) words: Vec<String>,
    /// `error_subtype` (Google) or `suberror` (Microsoft).
    pub(super) subcode: Option<String>,
    /// `error_codes` (Microsoft), or what the description holds in their place.
    pub(super) numbers: Vec<u32>,
    pub(super) is_html: bool,
    /// Every description, in the form of [`sentence`].
    sentences: Vec<String>,
    body: Value,
}

impl ErrorAnswer {
    /// Reads an answer by its content: JSON, else a form, else only the status counts.
    pub(super) fn read(answer: &Answer) -> Self {
        let body = answer.body.trim_ascii();
        let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
        let is_html = body.first() == Some(&b'<');
        let value = match serde_json::from_slice::<Value>(body) {
            Ok(value) => value,
            Err(_) if is_html => Value::Null,
            Err(_) => form_urlencoded::parse(body)
                .map(|(key, value)| (key.into_owned(), Value::String(value.into_owned())))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        };
        let texts = |pointers: &[&str]| -> Vec<String> {
            let found = pointers
                .iter()
                .filter_map(|pointer| value.pointer(pointer)?.as_str());
            found.filter(|text| !text.is_empty()).map(str::to_owned).collect()
        };
        let codes = texts(&CODE_POINTERS);
        let mut error = Self {
            status: answer.status.as_u16(),
            code: codes
                .first()
                .map(|code| as_code(code))
                .or_else(|| number_code(&value)),
            words: codes
                .iter()
                .chain(&texts(&WORD_POINTERS))
                .filter_map(|code| word(code))
                .collect(),
            subcode: texts(&["/error_subtype", "/suberror"])
                .first()
                .map(|code| as_code(code)),
            numbers: numbers(&value),
            is_html,
            sentences: texts(&SENTENCE_POINTERS)
                .iter()
                .filter_map(|text| sentence(text))
                .collect(),
            body: value,
        };
        error.forget_echoes(&answer.sent);
        error
    }

    /// What stands at a JSON pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.body.pointer(pointer)
    }

    /// The word of this table that one of the codes is.
    pub(super) fn word_of(&self, table: &[&'static str]) -> Option<&'static str> {
        let mut words = self.words.iter();
        words.find_map(|word| table.iter().copied().find(|known| known == word))
    }

    /// Whether a description is one of these sentences.
    pub(super) fn says_one_of(&self, table: &[&str]) -> bool {
        self.sentences.iter().any(|said| table.contains(&said.as_str()))
    }

    /// Whether a description holds these words.
    pub(super) fn mentions(&self, words: &str) -> bool {
        self.sentences.iter().any(|said| said.contains(words))
    }

    /// The code, or the status where there is none.
    pub(super) fn reason(&self) -> String {
        match &self.code {
            Some(code) => code.clone(),
            None => format!("http_{}", self.status),
        }
    }

    /// A code that was part of what we sent is no code but perhaps a piece of a secret.
    fn forget_echoes(&mut self, sent: &[u8]) {
        let sent = Zeroizing::new(sent.to_ascii_lowercase());
        let is_echo = |code: &str| {
            code.len() >= ECHO_MIN_CHARS && sent.windows(code.len()).any(|window| window == code.as_bytes())
        };
        for code in [&mut self.code, &mut self.subcode].into_iter().flatten() {
            if is_echo(code) {
                UNRECOGNISED.clone_into(code);
            }
        }
        self.words.retain(|word| !is_echo(word));
    }
}

/// A code as it is compared: `Invalid Client ID` is `invalid_client_id`.
pub(super) fn word(text: &str) -> Option<String> {
    joined(text, '_')
}

/// A description as it is compared: `refresh_token is invalid.` is `refresh token is invalid`.
fn sentence(text: &str) -> Option<String> {
    joined(text, ' ')
}

fn joined(text: &str, separator: char) -> Option<String> {
    if text.chars().count() > COMPARED_MAX_CHARS {
        return None;
    }
    let mut joined = String::with_capacity(text.len());
    for part in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|part| !part.is_empty())
    {
        if !joined.is_empty() {
            joined.push(separator);
        }
        joined.push_str(&part.to_lowercase());
    }
    (!joined.is_empty()).then_some(joined)
}

/// A code is a short word; anything else is not repeated, because it might be what we sent.
pub(super) fn as_code(text: &str) -> String {
    let is_word = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let one_case =
        !text.bytes().any(|b| b.is_ascii_lowercase()) || !text.bytes().any(|b| b.is_ascii_uppercase());
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if !text.is_empty() && is_word && one_case && digits <= CODE_MAX_DIGITS && text.len() <= CODE_MAX_CHARS {
        text.to_ascii_lowercase()
    } else {
        UNRECOGNISED.to_owned()
    }
}

fn number_code(value: &Value) -> Option<String> {
    let found = NUMBER_KEYS
        .into_iter()
        .find_map(|key| Some((key, value.get(key)?.as_u64()?)));
    let (key, number) = found.filter(|(_, number)| (1..=NUMBER_MAX).contains(number))?;
    Some(format!("{key}_{number}"))
}

fn numbers(value: &Value) -> Vec<u32> {
    if let Some(listed) = value.get("error_codes").and_then(Value::as_array) {
        let listed = listed.iter().filter_map(Value::as_u64);
        return listed.filter_map(|number| u32::try_from(number).ok()).collect();
    }
    let said = value.get("error_description").and_then(Value::as_str);
    let parts = said.unwrap_or_default().split("AADSTS").skip(1);
    parts
        .filter_map(|part| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().ok()
        })
        .collect()
}
