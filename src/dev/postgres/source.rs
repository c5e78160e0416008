//! Which database development uses.

/// Where the database comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseSource {
    /// The developer's own, named by `DATABASE_URL`.
    Url(String),
    /// One that we start.
    Private,
}

impl DatabaseSource {
    /// `DATABASE_URL` if it says anything, else a private server.
    pub fn choose(database_url: Option<&str>) -> Self {
        match database_url.map(str::trim) {
            Some(url) if !url.is_empty() => Self::Url(url.to_owned()),
            _ => Self::Private,
        }
    }
}

/// The URL holds a password.
impl std::fmt::Debug for DatabaseSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Url(_) => "Url([redacted])",
            Self::Private => "Private",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_wins_and_an_empty_one_does_not_count() {
        let url = "postgres://db.example/x";
        assert_eq!(
            DatabaseSource::choose(Some(url)),
            DatabaseSource::Url(url.to_owned())
        );
        assert_eq!(DatabaseSource::choose(Some(" ")), DatabaseSource::Private);
        assert_eq!(DatabaseSource::choose(None), DatabaseSource::Private);
    }
}
