//! Why the listener sent a connection away: one line for its log.

use super::greeting::{HelloError, tls_error};
use super::join::Role;
use plait_core::protocol::hello::{PROTOCOL, PROTOCOL_OLDEST};
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use std::{fmt, io};
use thiserror::Error;

/// A cause.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("it does not speak TLS (a browser, a port scan?)")]
    NotTls,
    #[error("it does not speak TLS 1.3 with raw public keys: no plait")]
    NotPlait,
    #[error("it showed no key: no plait")]
    NoKey,
    #[error("its key is not of this cluster: its join line is mistyped or older than the keys here")]
    UnknownKey,
    #[error("it looks for another coordinator: its join line is not of this cluster")]
    OtherCoordinator,
    #[error("the TLS handshake failed: {0}")]
    Tls(rustls::Error),
    #[error("it did not finish {0} in time")]
    Slow(Stage),
    #[error("it sent no hello but something else: {0}")]
    NoHello(HelloError),
    #[error(
        "it speaks protocol {protocol} (plait {version}), this coordinator {PROTOCOL_OLDEST} to {PROTOCOL}: \
         install the same plait on both sides"
    )]
    Version { protocol: u16, version: Box<str> },
    #[error("it says that it is a {said}, with the key of a {key}")]
    WrongRole { key: Role, said: Role },
    #[error("it closed the connection: {0}")]
    Gone(io::Error),
    #[error("too many connections wait to say who they are; it was the oldest")]
    Crowded,
    #[error("too many connections from there failed; it has to slow down")]
    TooFast,
}

/// How far a connection got.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Tls,
    Hello,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "the TLS handshake",
            Self::Hello => "its hello",
        })
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        use rustls::Error as Tls;
        match tls_error(&error) {
            None => Self::Gone(error),
            Some(Tls::InvalidMessage(_)) => Self::NotTls,
            Some(Tls::PeerIncompatible(
                PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::IncorrectCertificateTypeExtension
                | PeerIncompatible::UnsolicitedCertificateTypeExtension,
            )) => Self::NotPlait,
            Some(Tls::NoCertificatesPresented) => Self::NoKey,
            Some(Tls::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => Self::UnknownKey,
            Some(Tls::AlertReceived(AlertDescription::CertificateUnknown)) => Self::OtherCoordinator,
            Some(other) => Self::Tls(other.clone()),
        }
    }
}

impl From<HelloError> for Refusal {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Io(error) => error.into(),
            other => Self::NoHello(other),
        }
    }
}
