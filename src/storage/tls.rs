//! TLS to the database: whose certificate is taken, and what is said of one that is not. `sslmode` means what it means to
//! libpq: `prefer` and `require` encrypt without asking who answers; `verify-ca` asks for a certificate of a trusted
//! authority; `verify-full` for one that names the host, too. Production wants `verify-full`.

use std::{error, io, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    database_url::{Roots, Tls, Verification},
    pool::StorageConfigError,
};

/// The connector for this.
pub(super) fn connector(tls: &Tls) -> Result<MakeRustlsConnect, StorageConfigError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match tls.verification {
        Verification::Nothing => Arc::new(Unverified(Arc::clone(&provider))),
        verification => Arc::new(Verified::new(verification, &tls.roots, &provider)?),
    };
    let unusable = |error: Error| StorageConfigError::Tls(error.to_string());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let config = match &tls.client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("sslcert", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable("sslkey", key, error))?;
            config.with_client_auth_cert(chain, key).map_err(unusable)?
        }
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, StorageConfigError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| unreadable(key, path, error))?;
    if found.is_empty() {
        return Err(unreadable(key, path, "it holds no certificate (PEM)"));
    }
    Ok(found)
}

fn unreadable(key: &'static str, path: &Path, problem: impl ToString) -> StorageConfigError {
    StorageConfigError::Certificates {
        key,
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// Asks who answers.
#[derive(Debug)]
struct Verified {
    authorities: Arc<WebPkiServerVerifier>,
    verification: Verification,
    /// What is trusted by itself: a file may hold the server's own certificate instead of an authority's.
    trusted: Vec<CertificateDer<'static>>,
}

impl Verified {
    fn new(
        verification: Verification,
        roots: &Roots,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, StorageConfigError> {
        let trusted = match roots {
            Roots::File(path) => certificates("sslrootcert", path)?,
            Roots::Machine => rustls_native_certs::load_native_certs().certs,
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(trusted.iter().cloned());
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider))
            .build()
            .map_err(|_| StorageConfigError::NoAuthorities)?;
        let trusted = match roots {
            Roots::File(_) => trusted,
            Roots::Machine => Vec::new(),
        };
        Ok(Self {
            authorities,
            verification,
            trusted,
        })
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged =
            self.authorities
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match judged {
            // The name is looked at last: everything else was right.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verification == Verification::Authority => Ok(ServerCertVerified::assertion()),
            // Signed by itself and marked as an authority, as `openssl req -x509` makes them: it is the very certificate that
            // is trusted, and its time was looked at first.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.trusted.contains(end_entity) =>
            {
                if self.verification == Verification::Full {
                    verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Encrypts without asking who answers: keeps out who only listens. Signatures are still checked.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What is wrong with the server's TLS and how to mend it, if that is why there is no connection.
pub(super) fn refusal(error: &tokio_postgres::Error) -> Option<String> {
    let cause = error::Error::source(error)?;
    if cause.to_string() == "server does not support TLS" {
        return Some(
            "the database does not speak TLS, and sslmode asks for it: switch ssl on there, or ask for less"
                .into(),
        );
    }
    let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
    match inner.downcast_ref::<Error>()? {
        Error::InvalidCertificate(problem) => Some(of_certificate(problem)),
        other => Some(format!("TLS to the database fails: {other}")),
    }
}

fn of_certificate(problem: &CertificateError) -> String {
    let day = |time: &UnixTime| {
        let second = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_second(second).map_or_else(|_| "?".to_owned(), |time| time.to_string())
    };
    match problem {
        // The second: of one that only has the name of one that is trusted, as after it was made anew.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "the database's certificate is of an authority that is not trusted: name a file                                             with that authority's certificate in sslrootcert"
            .into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the database's certificate has expired, at {}: renew it there", day(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "the database's certificate is not valid before {}: look at the clocks, or renew it there",
            day(not_before)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "the database's certificate names {} and not {}: write the host as the certificate has it (subjectAltName), renew \
             the certificate, or ask for sslmode=verify-ca",
            if presented.is_empty() { "no host".to_owned() } else { presented.join(", ") },
            expected.to_str()
        ),
        other => format!("the database's certificate cannot be verified: {other:?}"),
    }
}
