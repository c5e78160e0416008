//! Where a provider's token answers differ from RFC 6749 5.1 in names and places only: declared by its operator, and turned
//! here into the one form that everything else reads.

use serde_json::Value;

use super::declaration::Object;

/// The value that ties an ID token to the authorization it was asked for with (OpenID Connect Core 3.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nonce {
    /// An ID token without it is refused.
    #[default]
    Required,
    /// For a provider that does not repeat it.
    Optional,
}

/// What an operator declares about token answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenResponse {
    /// Further words for Bearer.
    pub token_types: Vec<String>,
    /// The tokens are in an object below (RFC 6901). An answer that has nothing there is read as usual.
    pub token_pointer: Option<String>,
    /// The provider's names for members, each behind the standard one.
    pub members: Vec<(&'static str, String)>,
    /// Whether the ID token must repeat the nonce it was asked for with. One that repeats another is refused in any case.
    pub nonce: Nonce,
}

impl TokenResponse {
    /// The object that holds the tokens, its members under their usual names, and only those that say something: an empty
    /// text and null are what is absent.
    pub(super) fn tokens_of(&self, root: Object) -> Object {
        let root = Value::Object(root);
        let below = self.token_pointer.as_deref();
        let found = below
            .and_then(|pointer| root.pointer(pointer))
            .and_then(Value::as_object);
        let mut tokens = match (found, &root) {
            (Some(found), _) => found.clone(),
            (None, Value::Object(root)) => root.clone(),
            (None, _) => Object::new(),
        };
        tokens.retain(|_, value| says_something(value));
        for (usual, theirs) in &self.members {
            if let Some(value) = tokens.remove(theirs.as_str()) {
                tokens.insert((*usual).to_owned(), value);
            }
        }
        tokens
    }

    /// Whether this word means Bearer here. RFC 6749 7.1: compared without case.
    pub(super) fn is_bearer(&self, token_type: &str) -> bool {
        let means = |word: &str| word.trim().eq_ignore_ascii_case(token_type.trim());
        means("bearer") || self.token_types.iter().any(|word| means(word))
    }

    /// What the provider calls this member.
    pub(super) fn name_of<'a>(&'a self, usual: &'a str) -> &'a str {
        let theirs = self.members.iter().find(|(name, _)| *name == usual);
        theirs.map_or(usual, |(_, theirs)| theirs)
    }

    /// The member below which the tokens are.
    pub(super) fn holder(&self) -> Option<&str> {
        self.token_pointer.as_deref()?.rsplit('/').next()
    }
}

/// Whether a member is there: null and blank texts are how some leave it out.
pub(super) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.trim().is_empty(),
        _ => true,
    }
}
