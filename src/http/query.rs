//! Parameters of a query or a form: each known and given once, or the request is refused.

use std::borrow::Cow;

use oauth_manager_actors::domain::{
    error::ServiceError,
    ids::Subject,
    page::{PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, PageRequest},
};

use super::problem::Problem;

/// More parameters than any route knows.
const PARAMETERS_MAX: usize = 128;
/// Longest cursor; ours are far shorter.
const CURSOR_CHARS_MAX: usize = 512;

/// Decoded parameters in the order they came. Values may be secrets: `Debug` shows none.
#[derive(Default)]
pub(crate) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl std::fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parameters({} given)", self.0.len())
    }
}

impl<'a> Parameters<'a> {
    /// Reads `a=1&b=2`.
    pub(crate) fn read(raw: &'a [u8]) -> Result<Self, Problem> {
        let pairs: Vec<_> = url::form_urlencoded::parse(raw)
            .take(PARAMETERS_MAX + 1)
            .collect();
        if pairs.len() > PARAMETERS_MAX {
            return Err(Problem::invalid(format!("more than {PARAMETERS_MAX} parameters")));
        }
        Ok(Self(pairs))
    }

    /// Refuses names that are not among these, and any that came twice unless it is among `repeatable`.
    pub(crate) fn only(self, known: &[&str], repeatable: &[&str]) -> Result<Self, Problem> {
        for (index, (name, _)) in self.0.iter().enumerate() {
            if repeatable.contains(&&**name) {
                continue;
            }
            if !known.contains(&&**name) {
                return Err(ServiceError::InvalidRequest {
                    detail: "a parameter of this name does not exist here".into(),
                    known: known.iter().chain(repeatable).map(ToString::to_string).collect(),
                }
                .into());
            }
            if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Problem::invalid(format!("{name} was given more than once")));
            }
        }
        Ok(self)
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every value of this name.
    pub(crate) fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = &str> + use<'_, 'a, 'n> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| &**value)
    }

    /// The same, independent of what they were read from.
    pub(crate) fn into_owned(self) -> Parameters<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let pairs = self
            .0
            .into_iter()
            .map(|(name, value)| (owned(name), owned(value)));
        Parameters(pairs.collect())
    }

    /// `user`, if given.
    pub(crate) fn user(&self) -> Result<Option<Subject>, Problem> {
        self.get("user").map(subject).transpose()
    }

    /// `limit` and `after`.
    pub(crate) fn page(&self) -> Result<PageRequest, Problem> {
        let limit = match self.get("limit") {
            None => PAGE_LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_LIMIT_MAX).contains(limit))
                .ok_or_else(|| Problem::invalid(format!("limit is a number from 1 to {PAGE_LIMIT_MAX}")))?,
        };
        let after = self.get("after").filter(|after| !after.is_empty());
        if after.is_some_and(|after| after.len() > CURSOR_CHARS_MAX) {
            return Err(Problem::invalid(
                "after is not a cursor of ours: pass the next of the page before",
            ));
        }
        Ok(PageRequest {
            limit,
            after: after.map(str::to_owned),
        })
    }
}

/// The application's name of a user.
pub(crate) fn subject(text: &str) -> Result<Subject, Problem> {
    text.parse()
        .map_err(|_| Problem::invalid("user is 1 to 255 characters without control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &str) -> Parameters<'_> {
        Parameters::read(raw.as_bytes()).unwrap()
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(read("a=1&b=2").only(&["a", "b"], &[]).is_ok());
        assert!(read("a=1&c=2").only(&["a", "b"], &[]).is_err());
        assert!(read("a=1&a=1").only(&["a", "b"], &[]).is_err());
        assert!(read("a=1&a=1").only(&[], &["a"]).is_ok());
        assert!(Parameters::read("a&".repeat(PARAMETERS_MAX + 1).as_bytes()).is_err());
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_exist() {
        let Err(Problem::Service(ServiceError::InvalidRequest { known, detail })) =
            read("secret-name=1").only(&["a"], &[])
        else {
            panic!("accepted");
        };
        assert_eq!(known, ["a"]);
        assert!(!detail.contains("secret-name"));
    }

    #[test]
    fn values_are_decoded() {
        let query = read("user=auth0%7C1&x=a+b");
        assert_eq!(query.user().unwrap().unwrap().as_str(), "auth0|1");
        assert_eq!(query.get("x"), Some("a b"));
        assert!(read("user=%0a").user().is_err());
        assert!(read("user=").user().is_err());
    }

    #[test]
    fn a_page_has_bounds() {
        assert_eq!(read("").page().unwrap(), PageRequest::default());
        assert_eq!(
            read("limit=200&after=x").page().unwrap().after.as_deref(),
            Some("x")
        );
        for raw in ["limit=0", "limit=201", "limit=-1", "limit=x", "limit="] {
            assert!(read(raw).page().is_err(), "{raw}");
        }
    }
}
