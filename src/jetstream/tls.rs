//! TLS 1.2 or newer: trusted authorities, client certificates, and errors as messages. Opens no connection.
//!
//! Without certificates of our own, the client library uses the system's authorities wherever the server or the URL's
//! scheme asks for TLS. It loads them too when it is given a configuration, and fails when it cannot. It does neither when
//! it is given a file of authorities. So on a system without authorities, those that were named are given by such a file.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use async_nats::rustls::crypto::ring;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{self, CertificateError, ClientConfig, RootCertStore};
use secrecy::ExposeSecret;
use tempfile::{NamedTempFile, TempPath};

use super::connection::{SourcedText, Tls};
use super::error::Error;
use super::tls_fault::TlsFault;
use crate::names::Printable;

/// How the client library is told what `tls` asks for.
pub(super) enum Setup {
    /// Its own way will do.
    Usual,
    /// By a configuration.
    Configured(Box<ClientConfig>),
    /// By a file of authorities, which has to be there as long as connections are made.
    Authorities(TempPath),
}

/// What `tls` asks for, checked.
pub(super) fn setup(tls: &Tls) -> Result<Setup, Error> {
    let Some(config) = config(tls)? else { return Ok(Setup::Usual) };
    match &tls.ca {
        Some(ca) if tls.client.is_none() && system_fault().is_some() => {
            let file = NamedTempFile::new().and_then(|mut file| {
                file.write_all(ca.text.expose_secret().as_bytes())?;
                Ok(file.into_temp_path())
            });
            let file =
                file.map_err(|e| Error::Unusable(format!("{}: cannot be written to a file: {e}", ca.from)))?;
            Ok(Setup::Authorities(file))
        }
        _ => Ok(Setup::Configured(Box::new(config))),
    }
}

/// Why the authorities of this system cannot be read, where they cannot.
pub(super) fn system_fault() -> Option<TlsFault> {
    let errors = rustls_native_certs::load_native_certs().errors;
    let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| TlsFault::NoSystem(Printable::new(&words.join("; ")).to_string()))
}

/// The configuration that `tls` asks for; `None` where the library's own will do.
fn config(tls: &Tls) -> Result<Option<ClientConfig>, Error> {
    if tls.ca.is_none() && tls.client.is_none() {
        return Ok(None);
    }
    let unusable = |from: &str, what: &dyn fmt::Display| Error::Unusable(format!("{from}: {what}"));
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|e| unusable(&ca.from, &e))?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable("TLS", &e))?
        .with_root_certificates(roots);
    Ok(Some(match &tls.client {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let pem = key.text.expose_secret().as_bytes();
            let private = PrivateKeyDer::from_pem_slice(pem)
                .map_err(|_| unusable(&key.from, &"holds no private key in PEM, or an encrypted one"))?;
            config.with_client_auth_cert(chain, private).map_err(|_| {
                unusable(
                    &key.from,
                    &format!("is not the private key of the certificate in {}", certificate.from),
                )
            })?
        }
    }))
}

fn certificates(pem: &SourcedText) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pem.text.expose_secret().as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::Unusable(format!("{}: holds no certificate in PEM", pem.from))),
    }
}

/// What TLS has to do with a failed connection, if it has.
pub(super) fn fault(error: &(dyn StdError + 'static)) -> Option<TlsFault> {
    let mut cause = Some(error);
    while let Some(this) = cause {
        // An I/O error hides what it wraps from its chain of sources.
        let wrapped = this.downcast_ref::<io::Error>().and_then(|e| e.get_ref());
        if let Some(error) = wrapped.and_then(|e| e.downcast_ref()).or_else(|| this.downcast_ref()) {
            return Some(of_rustls(error));
        }
        if let Some(wrapped) = wrapped.filter(|wrapped| !wrapped.is::<rustls::Error>())
            && let Some(found) = fault(wrapped)
        {
            return Some(found);
        }
        cause = this.source();
    }
    None
}

fn of_rustls(error: &rustls::Error) -> TlsFault {
    use rustls::AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::Untrusted,
            CertificateError::NotValidForName => TlsFault::OtherName(String::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                TlsFault::OtherName(Printable::new(&presented.join(", ")).to_string())
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => TlsFault::OutOfTime,
            other => TlsFault::Other(other.to_string()),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied => TlsFault::WantsCertificate(format!("{alert:?}")),
            other => TlsFault::Other(format!("the server ended the handshake: {other:?}")),
        },
        rustls::Error::InvalidMessage(_) => TlsFault::NotTls,
        other => TlsFault::Other(other.to_string()),
    }
}
