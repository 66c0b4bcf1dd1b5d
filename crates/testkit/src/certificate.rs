//! Certificates of a test's own.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use openssl::{
    asn1::Asn1Time,
    bn::BigNum,
    error::ErrorStack,
    hash::MessageDigest,
    pkey::{PKey, Private},
    rsa::Rsa,
    x509::{
        X509, X509NameBuilder,
        extension::{BasicConstraints, SubjectAlternativeName},
    },
};

/// A certificate that is valid today, and its key.
#[derive(Debug)]
pub struct Certificate {
    x509: X509,
    key: PKey<Private>,
}

impl Certificate {
    /// One for a host's name or address, which is its own authority.
    #[must_use]
    pub fn for_host(host: &str) -> Self {
        Self::make(host, None).expect("OpenSSL makes a certificate")
    }

    /// One for a host, whose authority this one is.
    #[must_use]
    pub fn sign(&self, host: &str) -> Self {
        Self::make(host, Some(self)).expect("OpenSSL makes a certificate")
    }

    fn make(host: &str, authority: Option<&Self>) -> Result<Self, ErrorStack> {
        let key = PKey::from_rsa(Rsa::generate(2048)?)?;
        // Each has a name and a number of its own: that is how a client finds the authority.
        let mut serial = BigNum::new()?;
        serial.pseudo_rand(64, openssl::bn::MsbOption::ONE, false)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", &serial.to_hex_str()?)?;
        let name = name.build();
        let issuer = authority.map_or(&*name, |it| it.x509.subject_name());
        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(issuer)?;
        builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(1)?)?;
        builder.set_pubkey(&key)?;
        if authority.is_none() {
            builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        }
        let mut names = SubjectAlternativeName::new();
        match host.parse::<IpAddr>() {
            Ok(_) => names.ip(host),
            Err(_) => names.dns(host),
        };
        builder.append_extension(names.build(&builder.x509v3_context(None, None))?)?;
        let signing = authority.map_or(&key, |it| &it.key);
        builder.sign(signing, MessageDigest::sha256())?;
        let x509 = builder.build();
        Ok(Self { x509, key })
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> Vec<u8> {
        self.x509.to_pem().expect("a certificate has a PEM")
    }

    /// The key as PEM of PKCS #8.
    #[must_use]
    pub fn key_pem(&self) -> Vec<u8> {
        self.key.private_key_to_pem_pkcs8().expect("so has a key")
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder, and gives their paths.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> [PathBuf; 2] {
        let files = ["pem", "key"].map(|extension| folder.join(name).with_extension(extension));
        fs::write(&files[0], self.pem()).expect("a file in a test's folder");
        fs::write(&files[1], self.key_pem()).expect("a file in a test's folder");
        files
    }
}
