//! Makes certificates of every kind.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;

/// An authority that signs certificates, and the directory that they are in.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
    directory: TempDir,
}

/// The files of a certificate and of its private key.
pub struct Certificate {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    pub fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let pem = params.self_signed(&key).unwrap().pem();
        let authority =
            Authority { issuer: Issuer::new(params, key), pem, directory: tempfile::tempdir().unwrap() };
        std::fs::write(authority.file(), &authority.pem).unwrap();
        authority
    }

    /// The file of its certificate.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for these names and addresses.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.signed(names, |_| {})
    }

    /// One whose time is over.
    pub fn issue_expired(&self, names: &[&str]) -> Certificate {
        self.signed(names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn signed(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a server or a client of the tests");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let count = std::fs::read_dir(self.directory.path()).unwrap().count();
        let path = |kind: &str| self.directory.path().join(format!("{count}-{kind}.pem"));
        let files = Certificate { cert: path("cert"), key: path("key") };
        std::fs::write(&files.cert, pem).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

impl Certificate {
    /// The `tls` block of a server that shows this certificate; `more` is the rest of it. By itself a server
    /// would give up after 2 seconds on a client that does not go on.
    pub fn tls_block(&self, more: &str) -> String {
        format!("tls {{ cert_file: {:?}, key_file: {:?}, timeout: 60, {more} }}", self.cert, self.key)
    }
}

/// A path as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().unwrap()
}
