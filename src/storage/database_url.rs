//! What a database URL asks for: where to connect, and how TLS is to be. The driver's own modes end at `require`, so its
//! part of the URL is told from ours here and nowhere else. Both of libpq's forms are read: `postgres://…?key=value`, with
//! several hosts if need be, and `key=value key='value'`.

use std::path::PathBuf;

use tokio_postgres::Config;

use super::pool::StorageConfigError;

/// Keys that are read here: the driver does not know them, or not all of their values.
const TLS_KEYS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];

/// A database URL, read.
#[derive(Debug)]
pub(super) struct DatabaseUrl {
    pub(super) config: Config,
    pub(super) tls: Tls,
}

/// How the server's certificate is checked, and which one we show.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) verification: Verification,
    pub(super) roots: Roots,
    /// Our certificate and its key, as files.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// What of the server's certificate is checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nothing.
    #[default]
    Nothing,
    /// That it is of a trusted authority.
    Authority,
    /// That it is, and is for this very host.
    Full,
}

/// Whose certificates are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Roots {
    /// The machine's.
    #[default]
    Machine,
    /// Those of this file.
    File(PathBuf),
}

impl DatabaseUrl {
    pub(super) fn read(text: &str) -> Result<Self, StorageConfigError> {
        let url = ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme));
        let (driver, given) = if url { split_url(text) } else { split_pairs(text)? };
        let found = |key: &str| {
            let last = given.iter().rev().find(|(known, _)| known == key);
            last.map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        let (mode, root) = (found("sslmode"), found("sslrootcert"));
        if let Some(weak) = mode.filter(|mode| root == Some("system") && *mode != "verify-full") {
            return Err(StorageConfigError::WeakSslMode(weak.to_owned()));
        }
        let (driver_mode, verification) = match mode {
            Some("disable") => ("disable", Verification::Nothing),
            Some("allow" | "prefer") => ("prefer", Verification::Nothing),
            // Whoever names an authority wants it asked, as libpq has it for `require`.
            Some("require") if root.is_some() => ("require", Verification::Authority),
            Some("require") => ("require", Verification::Nothing),
            Some("verify-ca") => ("require", Verification::Authority),
            Some("verify-full") => ("require", Verification::Full),
            Some(_) => return Err(StorageConfigError::SslMode),
            None if root == Some("system") => ("require", Verification::Full),
            None if root.is_some() => ("require", Verification::Authority),
            None => ("prefer", Verification::Nothing),
        };
        let client = match (found("sslcert"), found("sslkey")) {
            (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
            (None, None) => None,
            _ => return Err(StorageConfigError::HalfAClient),
        };
        let roots = match root {
            Some("system") | None => Roots::Machine,
            Some(file) => Roots::File(file.into()),
        };
        Ok(Self {
            config: parse(&driver, &join(&driver, "sslmode", driver_mode, url))?,
            tls: Tls {
                verification,
                roots,
                client,
            },
        })
    }
}

/// The driver's part of a URL, and ours.
fn split_url(text: &str) -> (String, Vec<(String, String)>) {
    let Some((base, query)) = text.split_once('?') else {
        return (text.to_owned(), Vec::new());
    };
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let (mut kept, mut ours) = (Vec::new(), Vec::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((key, value)) if TLS_KEYS.contains(&key) => ours.push((key.to_owned(), decoded(value))),
            _ => kept.push(pair),
        }
    }
    let driver = if kept.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", kept.join("&"))
    };
    (driver, ours)
}

/// The driver's part of `key=value` pairs, and ours. A value may stand in single quotes; a backslash takes the next letter
/// as it is.
fn split_pairs(text: &str) -> Result<(String, Vec<(String, String)>), StorageConfigError> {
    let (mut kept, mut ours) = (Vec::new(), Vec::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, value) = rest.split_once('=').ok_or(StorageConfigError::Url)?;
        let key = key.trim();
        let mut letters = value.trim_start().char_indices();
        let start = value.len() - value.trim_start().len();
        let quoted = value[start..].starts_with('\'');
        if quoted {
            letters.next();
        }
        let (mut plain, mut end) = (String::new(), None);
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => plain.extend(letters.next().map(|(_, letter)| letter)),
                '\'' if quoted => end = Some(at + 1),
                space if !quoted && space.is_whitespace() => end = Some(at),
                other => plain.push(other),
            }
            if end.is_some() {
                break;
            }
        }
        if quoted && end.is_none() {
            return Err(StorageConfigError::Url);
        }
        let end = start + end.unwrap_or(value.len() - start);
        if TLS_KEYS.contains(&key) {
            ours.push((key.to_owned(), plain));
        } else {
            kept.push(format!("{key}={}", &value[start..end]));
        }
        rest = value[end..].trim_start();
    }
    Ok((kept.join(" "), ours))
}

fn join(driver: &str, key: &str, value: &str, url: bool) -> String {
    match (url, driver.contains('?')) {
        (true, false) => format!("{driver}?{key}={value}"),
        (true, true) => format!("{driver}&{key}={value}"),
        (false, _) => format!("{driver} {key}={value}"),
    }
}

/// The driver's reading. Its words are left out: they may quote the password. Which key it does not know is found by trying
/// each alone.
fn parse(driver: &str, whole: &str) -> Result<Config, StorageConfigError> {
    whole.parse::<Config>().map_err(|_| {
        let query = driver.split_once('?').map_or("", |(_, query)| query);
        let unknown = query.split('&').filter(|pair| !pair.is_empty()).find(|pair| {
            format!("postgres://host/database?{pair}")
                .parse::<Config>()
                .is_err()
        });
        match unknown.and_then(|pair| pair.split('=').next()) {
            Some(key) => StorageConfigError::Parameter(key.to_owned()),
            None => StorageConfigError::Url,
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::{Host, SslMode};

    use super::*;

    fn read(text: &str) -> DatabaseUrl {
        DatabaseUrl::read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn sslmode_is_understood_as_libpq_does() {
        let file = || Roots::File("/ca.pem".into());
        for (query, mode, verification, roots) in [
            ("", SslMode::Prefer, Verification::Nothing, Roots::Machine),
            (
                "?sslmode=disable",
                SslMode::Disable,
                Verification::Nothing,
                Roots::Machine,
            ),
            (
                "?sslmode=allow",
                SslMode::Prefer,
                Verification::Nothing,
                Roots::Machine,
            ),
            (
                "?sslmode=require",
                SslMode::Require,
                Verification::Nothing,
                Roots::Machine,
            ),
            (
                "?sslmode=verify-ca",
                SslMode::Require,
                Verification::Authority,
                Roots::Machine,
            ),
            (
                "?sslmode=verify-full",
                SslMode::Require,
                Verification::Full,
                Roots::Machine,
            ),
            (
                "?sslmode=require&sslrootcert=/ca.pem",
                SslMode::Require,
                Verification::Authority,
                file(),
            ),
            (
                "?sslrootcert=%2Fca.pem",
                SslMode::Require,
                Verification::Authority,
                file(),
            ),
            (
                "?sslrootcert=system",
                SslMode::Require,
                Verification::Full,
                Roots::Machine,
            ),
            (
                "?connect_timeout=3&sslmode=verify-full&sslrootcert=%2Fca.pem",
                SslMode::Require,
                Verification::Full,
                file(),
            ),
        ] {
            let url = read(&format!("postgres://u:p@h/d{query}"));
            assert_eq!(url.config.get_ssl_mode(), mode, "{query}");
            assert_eq!(
                (url.tls.verification, url.tls.roots),
                (verification, roots),
                "{query}"
            );
        }
    }

    #[test]
    fn several_hosts_and_the_form_without_a_scheme_are_read_with_tls() {
        let url = read(
            "postgresql://u:p%3F@one:5433,two:5434/d?sslmode=verify-full&target_session_attrs=read-write",
        );
        assert_eq!(
            url.config.get_hosts(),
            [Host::Tcp("one".into()), Host::Tcp("two".into())]
        );
        assert_eq!(url.config.get_ports(), [5433, 5434]);
        assert_eq!(url.config.get_password(), Some(&b"p?"[..]));
        let pairs = read(
            r"host=db port = 5433 user=u password='it\'s a \\ secret' dbname=d sslmode=verify-ca sslrootcert='/a b/ca.pem'",
        );
        assert_eq!(pairs.config.get_password(), Some(&br"it's a \ secret"[..]));
        assert_eq!(
            (pairs.config.get_dbname(), pairs.config.get_ports()),
            (Some("d"), &[5433][..])
        );
        assert_eq!(pairs.tls.roots, Roots::File("/a b/ca.pem".into()));
        assert_eq!(pairs.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(
            read("host=db user=u").config.get_hosts(),
            [Host::Tcp("db".into())]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_named_without_the_password() {
        for (text, said) in [
            ("mysql://u:pw-marker@h/d", "postgres://"),
            ("postgres://u:pw-marker@h/d?sslmode=perhaps", "sslmode"),
            (
                "postgres://u:pw-marker@h/d?sslmode=require&sslrootcert=system",
                "verify-full",
            ),
            ("postgres://u:pw-marker@h/d?sslcert=/c.pem", "sslkey"),
            (
                "postgres://u:pw-marker@h/d?sslmode=verify-full&gssencmode=disable",
                "gssencmode",
            ),
            ("host=h password='pw-marker", "postgres://"),
        ] {
            let error = DatabaseUrl::read(text).unwrap_err().to_string();
            assert!(
                error.contains(said) && !error.contains("pw-marker"),
                "{text}: {error}"
            );
        }
    }
}
