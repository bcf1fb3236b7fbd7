//! Keys as TLS wants them: Ed25519, shown to the peer as a raw public key (RFC 7250).

use super::join::{Key, Pin, Role};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;

/// Bytes of an Ed25519 seed.
pub(super) const SEED_BYTES: usize = 32;
/// What stands before the seed in PKCS #8 (RFC 8410, section 7).
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A key pair that can prove itself in a handshake.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// The key pair of this seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; SEED_BYTES]) -> Self {
        let der = [&PKCS8_HEAD[..], seed].concat();
        let key = rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(der))
            .expect("every 32 bytes are an Ed25519 seed");
        let spki = key.public_key().expect("an Ed25519 key knows its public half");
        let shown = CertificateDer::from(spki.as_ref().to_vec());
        Self { certified: Arc::new(CertifiedKey::new(vec![shown], key)) }
    }

    /// A new key pair, for as long as this process lives.
    #[must_use]
    pub fn draw() -> Self {
        let mut seed = [0; SEED_BYTES];
        SystemRandom::new().fill(&mut seed).expect("the kernel has random bytes");
        Self::from_seed(&seed)
    }

    /// The key pair that the holder of `key` proves itself with: HKDF-SHA256, bound to version, role and coordinator, so
    /// that no key serves anywhere else.
    #[must_use]
    pub fn derive(key: Key, role: Role, pin: Pin) -> Self {
        let letter = [role.letter() as u8];
        let info: [&[u8]; 3] = [b"plait1", &letter, &pin.0];
        let mut seed = [0; SEED_BYTES];
        Salt::new(HKDF_SHA256, &[])
            .extract(&key.0)
            .expand(&info, Seed)
            .and_then(|material| material.fill(&mut seed))
            .expect("32 bytes are less than HKDF gives at most");
        Self::from_seed(&seed)
    }

    /// The public key, as it is shown in a handshake (`SubjectPublicKeyInfo`).
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.certified.cert[0]
    }

    /// The fingerprint of the public key.
    #[must_use]
    pub fn pin(&self) -> Pin {
        pin_of(self.public_key())
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("pin", &self.pin()).finish_non_exhaustive()
    }
}

/// The fingerprint of a public key: 128 bits of its SHA-256.
pub(super) fn pin_of(public_key: &[u8]) -> Pin {
    let hash = digest(&SHA256, public_key);
    let (head, _) = hash.as_ref().split_first_chunk().expect("SHA-256 has 32 bytes");
    Pin(*head)
}

struct Seed;

impl KeyType for Seed {
    fn len(&self) -> usize {
        SEED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_differ_by_role_and_coordinator_and_never_change() {
        let derive = |role, pin| Identity::derive(Key([1; 16]), role, Pin([pin; 16])).pin();
        let worker = derive(Role::Worker, 2);
        assert_eq!(worker, derive(Role::Worker, 2));
        assert_ne!(worker, derive(Role::Client, 2));
        assert_ne!(worker, derive(Role::Worker, 3));
        assert_eq!(worker.to_string(), "etwxe5804jw9yss1h6p62cqq6w", "a derived key that changes locks every peer out");
    }

    #[test]
    fn the_public_key_is_an_ed25519_spki() {
        let identity = Identity::from_seed(&[1; SEED_BYTES]);
        assert_eq!((identity.public_key().len(), &identity.public_key()[..5]), (44, &[0x30, 0x2a, 0x30, 5, 6][..]));
        assert!(!format!("{identity:?}").contains("[1, 1"));
    }
}
