//! TLS 1.3 with raw public keys on both sides: who may speak at all.
//!
//! There is nothing else: no other version is compiled in, no certificate, no ticket, no early data, no switch. The
//! provider is passed explicitly, so nothing is installed in the host's process.

use super::identity::{Identity, pin_of};
use super::join::{JoinLine, Pin, Role};
use super::keys::Keyring;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as provider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    ServerConfig, SignatureScheme,
};
use std::sync::Arc;
use thiserror::Error as ThisError;

/// The one application protocol; versions are negotiated in the hello.
pub const ALPN: &[u8] = b"plait";

/// The other side's key is not the one that the join line pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("expected the key {expected}, found {got}")]
pub struct WrongPin {
    /// What the line says.
    pub expected: Pin,
    /// What is there.
    pub got: Pin,
}

/// AES-128-GCM first: both ends have it in hardware, and the server follows the client's order.
fn crypto() -> Arc<CryptoProvider> {
    use provider::{cipher_suite, kx_group};
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
        ],
        kx_groups: vec![kx_group::X25519],
        ..provider::default_provider()
    })
}

/// What a coordinator answers connections with.
#[must_use]
pub fn server_config(keyring: &Keyring) -> Arc<ServerConfig> {
    answering(keyring.identity(), Known::Roles(Roles::of(keyring)))
}

/// What a worker answers other workers with. It lets in whoever proves to have a key, and has to look up whose it is before
/// it reads anything: the word of an introduction may come later than the guest.
#[must_use]
pub(super) fn holder_config(identity: &Identity) -> Arc<ServerConfig> {
    answering(identity, Known::Proven)
}

fn answering(identity: &Identity, known: Known) -> Arc<ServerConfig> {
    let crypto = crypto();
    let verifier = GuestVerifier { known, signatures: Signatures(Arc::clone(&crypto)) };
    let shown = rustls::server::AlwaysResolvesServerRawPublicKeys::new(identity.certified());
    let mut config = ServerConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// What the holder of a line dials with.
#[must_use]
pub fn client_config(line: &JoinLine) -> Arc<ClientConfig> {
    client_config_as(&Identity::derive(line.key, line.role, line.pin), line.pin)
}

/// The same with any key pair: a worker's own among workers, a stranger's in tests.
#[must_use]
pub fn client_config_as(identity: &Identity, pin: Pin) -> Arc<ClientConfig> {
    let crypto = crypto();
    let verifier = PinVerifier { pin, signatures: Signatures(Arc::clone(&crypto)) };
    let shown = rustls::client::AlwaysResolvesClientRawPublicKeys::new(identity.certified());
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Arc::new(config)
}

/// The name that TLS asks for and nobody looks at: the pin says who it must be.
pub(super) fn server_name() -> ServerName<'static> {
    ServerName::try_from("plait").expect("plait is a name")
}

/// The keys that were given out, and what their holders may be.
#[derive(Debug)]
pub(super) struct Roles(Vec<(Box<[u8]>, Role)>);

impl Roles {
    pub(super) fn of(keyring: &Keyring) -> Self {
        Self([Role::Worker, Role::Client].map(|role| (keyring.derive(role).public_key().into(), role)).into())
    }

    /// Public keys are no secret: they may be compared in any time.
    pub(super) fn role(&self, public_key: &[u8]) -> Option<Role> {
        self.0.iter().find(|(known, _)| **known == *public_key).map(|(_, role)| *role)
    }
}

/// Finds the pinned mismatch in what a handshake ended with.
pub(super) fn wrong_pin(error: &Error) -> Option<WrongPin> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(other))) => other.downcast_ref().copied(),
        _ => None,
    }
}

/// Accepts the pinned key alone; asked before this side signs anything.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    signatures: Signatures,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        public_key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (expected, got) = (self.pin, pin_of(public_key));
        if got == expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(WrongPin { expected, got }))).into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        public_key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, public_key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Whose keys pass a handshake.
#[derive(Debug)]
enum Known {
    /// Those that were given out, one per role.
    Roles(Roles),
    /// Anybody's who proves to have one.
    Proven,
}

/// Accepts the keys that are known.
#[derive(Debug)]
struct GuestVerifier {
    known: Known,
    signatures: Signatures,
}

impl ClientCertVerifier for GuestVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        public_key: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match &self.known {
            Known::Roles(roles) if roles.role(public_key).is_none() => {
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Known::Roles(_) | Known::Proven => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOfferedOrEnabled.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        public_key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signatures.verify(message, public_key, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Checks that a peer holds the private half of the key that it showed.
#[derive(Debug)]
struct Signatures(Arc<CryptoProvider>);

impl Signatures {
    fn verify(
        &self,
        message: &[u8],
        public_key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(public_key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.0.signature_verification_algorithms)
    }
}
