//! TLS to the database. `sslmode` means what it means to libpq: `disable` is plain text; `prefer` and `require` encrypt
//! without asking who answers; `verify-ca` and `verify-full` check certificate and name, against `sslrootcert` or the
//! machine's certificates. Production wants `verify-full`.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::pool::StorageConfigError;

/// Whether and against what the server's certificate is checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// Not at all.
    None,
    /// Fully, against this file or the machine's certificates.
    Full { root_certificates: Option<String> },
}

/// Takes out of the URL what the driver does not know: its own modes end at `require`.
pub(super) fn take_from_url(url: &str) -> Result<(String, Verification), StorageConfigError> {
    let Some((base, query)) = url.split_once('?') else {
        return Ok((url.to_owned(), Verification::None));
    };
    let mut kept = Vec::new();
    let mut verify = false;
    let mut root_certificates = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "verify-ca" | "verify-full")) => {
                verify = true;
                kept.push("sslmode=require".to_owned());
            }
            Some(("sslmode", "disable" | "prefer" | "require")) => kept.push(pair.to_owned()),
            Some(("sslmode", "allow")) => kept.push("sslmode=prefer".to_owned()),
            Some(("sslmode", _)) => return Err(StorageConfigError::SslMode),
            Some(("sslrootcert", path)) => {
                let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
                root_certificates = Some(path.into_owned());
            }
            _ => kept.push(pair.to_owned()),
        }
    }
    let url = if kept.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", kept.join("&"))
    };
    // As libpq has it: a given root certificate is there to be used, except where plain text was asked for.
    let verification = if verify {
        Verification::Full { root_certificates }
    } else {
        Verification::None
    };
    Ok((url, verification))
}

/// The connector for this verification.
pub(super) fn connector(verification: &Verification) -> Result<MakeRustlsConnect, StorageConfigError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match verification {
        Verification::None => Arc::new(Unverified(Arc::clone(&provider))),
        Verification::Full { root_certificates } => {
            let roots = Arc::new(roots(root_certificates.as_deref())?);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|error| StorageConfigError::Certificates(error.to_string()))?
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StorageConfigError::Certificates(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn roots(path: Option<&str>) -> Result<RootCertStore, StorageConfigError> {
    let certificates: Vec<CertificateDer<'static>> = match path {
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| StorageConfigError::Certificates(error.to_string()))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 {
        return Err(StorageConfigError::Certificates("there are none".into()));
    }
    Ok(roots)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sslmode_is_understood_as_libpq_does() {
        let taken = |url| take_from_url(url).unwrap();
        assert_eq!(
            taken("postgres://h/d"),
            ("postgres://h/d".into(), Verification::None)
        );
        assert_eq!(
            taken("postgres://h/d?sslmode=verify-full&sslrootcert=%2Fca.pem&connect_timeout=3"),
            (
                "postgres://h/d?sslmode=require&connect_timeout=3".into(),
                Verification::Full {
                    root_certificates: Some("/ca.pem".into())
                }
            )
        );
        assert!(take_from_url("postgres://h/d?sslmode=perhaps").is_err());
    }
}
