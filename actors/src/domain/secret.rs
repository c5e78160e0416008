//! Secrets in clear, as they live in memory: wiped when the last copy goes, never printed, never serialised. What is
//! stored is [`super::sealed::Sealed`].

use std::{fmt, sync::Arc};

use zeroize::Zeroizing;

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Cloning shares one buffer, wiped when the last clone is dropped. `Debug` is redacted; there is neither
        /// `Display` nor `Serialize`: [`expose`](Self::expose) is the only way to the value, and easy to search for.
        #[derive(Clone)]
        pub struct $name(Arc<Zeroizing<String>>);

        impl $name {
            /// Takes a value in.
            pub fn new(value: impl Into<String>) -> Self {
                Self(Arc::new(Zeroizing::new(value.into())))
            }

            /// The value in clear: for the wire, for sealing, for hashing; never for a log.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "([redacted])"))
            }
        }
    };
}

secret!(
    /// RFC 6749 1.4.
    AccessToken
);
secret!(
    /// RFC 6749 1.5.
    RefreshToken
);
secret!(
    /// RFC 6749 1.3.1.
    AuthorizationCode
);
secret!(
    /// RFC 7636 4.1: 43 to 128 unreserved characters.
    PkceVerifier
);
secret!(
    /// RFC 6749 4.1.1 `state`: binds the callback to one stored flow; only its digest is stored.
    State
);
secret!(
    /// The random part of a `/connect/{handle}` link; only its digest is stored.
    ConnectHandle
);
secret!(
    /// The value of the cookie that binds a flow to the browser which opened it.
    BrowserBinding
);
secret!(
    /// The one-time value with which the application confirms that the finishing user is the starting one.
    Confirmation
);
secret!(
    /// A service client's credential (`oms_…`).
    ServiceCredential
);
secret!(
    /// The one-time value in a session link, or the value of a session cookie.
    SessionToken
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_kind_and_nothing_else() {
        let token = AccessToken::new("ya29.very-secret");
        assert_eq!(
            format!("{token:?} {:#?}", Some(token.clone())),
            "AccessToken([redacted]) Some(\n    AccessToken([redacted]),\n)"
        );
        assert_eq!(token.expose(), "ya29.very-secret");
    }
}
