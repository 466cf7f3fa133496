//! A certificate authority for one cluster. In: names. Out: certificates for servers and clients, and the key that
//! signs service accounts' tokens, as PEM. They are good in this cluster only, and gone with it.

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

/// It, with its key.
#[derive(Debug)]
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both PEM.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = name("podsweep-test", None);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = parameters.self_signed(&key).context("cannot sign a certificate")?.pem();
        Ok(Self { certificate, issuer: Issuer::new(parameters, key) })
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for the server at these addresses (names or IP addresses), which may be a client as well:
    /// Kubernetes takes the user from the common name, one of its groups from the organisation.
    pub fn issue(&self, user: &str, group: Option<&str>, addresses: &[&str]) -> Result<Credentials> {
        let addresses: Vec<String> = addresses.iter().map(|address| (*address).to_owned()).collect();
        let mut parameters = CertificateParams::new(addresses).context("no address for a certificate")?;
        parameters.distinguished_name = name(user, group);
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = parameters.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Credentials { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// A private key for tokens, and its public half: both PEM.
pub fn token_keys() -> Result<(String, String)> {
    let key = KeyPair::generate().context("cannot make a key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

fn name(user: &str, group: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user);
    name
}
