//! Join lines: all that a worker or a client needs to reach a coordinator and to be believed there.
//!
//! ```text
//! plait1w-<pin, 26>-<key, 26>-<check, 4>@host:port[,host:port]
//! ```
//!
//! The pin is the start of the SHA-256 of the coordinator's public key, the key a secret from which the peer's own key is
//! derived, the check a checksum that finds a mistyped line before anything is sent. A line is a secret: no error and no
//! `Debug` shows its key.

use super::base32;
use plait_core::limits;
use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;
use thiserror::Error;

/// The version of line and key derivation; the wire has its own.
const PREFIX: &str = "plait1";
/// Bytes of the checksum that are looked at: four characters of it.
const CHECK_LENGTH: usize = 4;

/// What the holder of a line may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A worker.
    Worker,
    /// A client.
    Client,
}

impl Role {
    /// Its letter in a line.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::Worker => 'w',
            Self::Client => 'c',
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Worker => "worker",
            Self::Client => "client",
        })
    }
}

/// The fingerprint of a coordinator's public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub [u8; 16]);

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base32::encode(&self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// The secret of a role. It never crosses the wire.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u8; 16]);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// Where a coordinator may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an address; IPv6 without brackets.
    pub host: Box<str>,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A join line, read. Its `Display` is the line itself and therefore a secret; its `Debug` is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLine {
    /// What its holder may be.
    pub role: Role,
    /// Whom it must find.
    pub pin: Pin,
    /// Its secret.
    pub key: Key,
    /// Where, in the order in which to try; at least one.
    pub addresses: Vec<Address>,
}

/// What is wrong with a line, without any of its secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinError {
    /// Something else altogether.
    #[error(
        "not a join line: a coordinator's address looks like plait1c-…-…-…@host:8000 (plait1w-… for workers); \
         `plait coordinator` prints both"
    )]
    NotALine,
    /// The line of another version of plait.
    #[error("this join line is of another version of plait: this one reads lines that begin with plait1")]
    OtherVersion,
    /// A role that this version does not know.
    #[error("this join line is for an unknown role: plait1w- is for workers, plait1c- for clients")]
    UnknownRole,
    /// The part before the address does not have its four pieces.
    #[error("this join line is incomplete: plait1{0}- is followed by three groups of 26, 26 and 4 characters", .role.letter())]
    Incomplete {
        /// The role that could be read.
        role: Role,
    },
    /// A piece with too many or too few characters.
    #[error("the {part} of this join line has {found} characters instead of {expected}: was it cut while copying?")]
    Length {
        /// Which piece.
        part: JoinPart,
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },
    /// A character that cannot be there.
    #[error("the {part} of this join line cannot have its character number {position}")]
    Character {
        /// Which piece.
        part: JoinPart,
        /// Which character, from 1.
        position: usize,
    },
    /// The checksum does not fit.
    #[error("this join line is mistyped: its check does not fit; copy it again, whole")]
    Check,
    /// Nothing behind the `@`.
    #[error("this join line names no address: it ends with @host:port")]
    NoAddress,
    /// An address that is none.
    #[error("`{0}` is no address: it looks like host:8000, 10.0.0.5:8000 or [::1]:8000")]
    Address(Box<str>),
    /// More addresses than anyone tries.
    #[error("this join line names more than {} addresses", limits::JOIN_ADDRESSES)]
    TooManyAddresses,
}

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinPart {
    /// The coordinator's fingerprint.
    Pin,
    /// The secret.
    Key,
    /// The checksum.
    Check,
}

impl fmt::Display for JoinPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pin => "first group",
            Self::Key => "second group",
            Self::Check => "third group",
        })
    }
}

impl fmt::Display for JoinLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let check = check(self.role, self.pin, self.key);
        write!(f, "{PREFIX}{}-{}-{}-{check}@", self.role.letter(), self.pin, base32::encode(&self.key.0))?;
        for (n, address) in self.addresses.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

impl FromStr for JoinLine {
    type Err = JoinError;

    fn from_str(text: &str) -> Result<Self, JoinError> {
        let text = text.trim();
        let rest = text.strip_prefix("plait").ok_or(JoinError::NotALine)?;
        let (head, addresses) = rest.split_once('@').unwrap_or((rest, ""));
        let mut pieces = head.split('-');
        let role = role(pieces.next().unwrap_or_default())?;
        let (Some(pin), Some(key), Some(given), None) = (pieces.next(), pieces.next(), pieces.next(), pieces.next())
        else {
            return Err(JoinError::Incomplete { role });
        };
        let pin = Pin(piece(JoinPart::Pin, pin)?);
        let key = Key(piece(JoinPart::Key, key)?);
        expect_length(JoinPart::Check, given, CHECK_LENGTH)?;
        // A check is compared as characters of the alphabet, so that either case will do.
        if canonical(given) != check(role, pin, key) {
            return Err(JoinError::Check);
        }
        Ok(Self { role, pin, key, addresses: parse_addresses(addresses)? })
    }
}

/// Reads what stands between `plait` and the first dash: `1w`.
fn role(text: &str) -> Result<Role, JoinError> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    match (digits, &text[digits.len()..]) {
        ("1", "w") => Ok(Role::Worker),
        ("1", "c") => Ok(Role::Client),
        ("1", _) => Err(JoinError::UnknownRole),
        ("", _) => Err(JoinError::NotALine),
        _ => Err(JoinError::OtherVersion),
    }
}

fn piece<const N: usize>(part: JoinPart, text: &str) -> Result<[u8; N], JoinError> {
    expect_length(part, text, base32::length(N))?;
    base32::decode(text).map_err(|at| JoinError::Character { part, position: at + 1 })
}

fn expect_length(part: JoinPart, text: &str, expected: usize) -> Result<(), JoinError> {
    let found = text.chars().count();
    if found == expected { Ok(()) } else { Err(JoinError::Length { part, found, expected }) }
}

fn canonical(check: &str) -> String {
    check.to_ascii_lowercase().replace('o', "0").replace(['i', 'l'], "1")
}

/// The checksum over all but the addresses: those may be edited (a tunnel, another name), and a wrong one tells itself.
fn check(role: Role, pin: Pin, key: Key) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(PREFIX.as_bytes());
    context.update(&[role.letter() as u8]);
    context.update(&pin.0);
    context.update(&key.0);
    let mut text = base32::encode(context.finish().as_ref());
    text.truncate(CHECK_LENGTH);
    text
}

fn parse_addresses(text: &str) -> Result<Vec<Address>, JoinError> {
    if text.is_empty() {
        return Err(JoinError::NoAddress);
    }
    if text.split(',').count() > limits::JOIN_ADDRESSES {
        return Err(JoinError::TooManyAddresses);
    }
    text.split(',').map(str::parse).collect()
}

impl FromStr for Address {
    type Err = JoinError;

    fn from_str(text: &str) -> Result<Self, JoinError> {
        let wrong = || JoinError::Address(text.chars().take(limits::NAME_BYTES).collect());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let digits = port.bytes().all(|c| c.is_ascii_digit());
        let port = port.parse().ok().filter(|port| digits && *port > 0).ok_or_else(wrong)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => Some(inner).filter(|host| is_ipv6(host)),
            None => Some(host).filter(|host| is_name(host)),
        };
        Ok(Self { host: host.ok_or_else(wrong)?.into(), port })
    }
}

/// An IPv6 address, with the interface that a link-local one needs.
fn is_ipv6(host: &str) -> bool {
    let (address, zone) = host.split_once('%').unwrap_or((host, "z"));
    address.parse::<Ipv6Addr>().is_ok() && is_name(zone)
}

fn is_name(host: &str) -> bool {
    (1..=limits::NAME_BYTES).contains(&host.len())
        && host.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line() -> JoinLine {
        let addresses = ["10.0.0.5:8000", "[fe80::1%eth0]:1", "a-b.example:65535"];
        JoinLine {
            role: Role::Worker,
            pin: Pin([7; 16]),
            key: Key([9; 16]),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_printed() {
        let text = line().to_string();
        assert_eq!(text.parse(), Ok(line()));
        assert_eq!(format!(" {text}\n").parse(), Ok(line()), "blanks around it do not matter");
        let (head, addresses) = text.split_once('@').unwrap();
        let shouted = format!("plait1w{}@{addresses}", head.strip_prefix("plait1w").unwrap().to_uppercase());
        assert_eq!(shouted.parse(), Ok(line()));
    }

    #[test]
    fn the_printed_form_does_not_change() {
        assert_eq!(
            line().to_string(),
            "plait1w-0w3ge1r70w3ge1r70w3ge1r70w-144gj289144gj289144gj28914-rscv@10.0.0.5:8000,[fe80::1%eth0]:1,a-b.example:65535"
        );
    }

    #[test]
    fn any_single_mistyped_character_is_found() {
        let text = line().to_string();
        let end = text.find('@').unwrap();
        for at in 0..end {
            for other in "0123456789abcdefghjkmnpqrstvwxyz-@!é".chars() {
                let mut mistyped: Vec<char> = text.chars().collect();
                if mistyped[at] == other || canonical(&other.to_string()) == canonical(&mistyped[at].to_string()) {
                    continue;
                }
                mistyped[at] = other;
                let mistyped: String = mistyped.into_iter().collect();
                assert!(mistyped.parse::<JoinLine>().is_err(), "{mistyped}");
            }
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let text = line().to_string();
        let (head, _) = text.split_once('@').unwrap();
        let error = |text: &str| text.parse::<JoinLine>().unwrap_err();
        assert_eq!(error("nonsense"), JoinError::NotALine);
        assert_eq!(error("plaits are nice"), JoinError::NotALine);
        assert_eq!(error(""), JoinError::NotALine);
        assert_eq!(error(&text.replace("plait1", "plait2")), JoinError::OtherVersion);
        assert_eq!(error(&text.replace("plait1w", "plait1v")), JoinError::UnknownRole);
        assert_eq!(error("plait1w-abc"), JoinError::Incomplete { role: Role::Worker });
        assert_eq!(error(&text.replace("plait1w", "plait1c")), JoinError::Check, "the role is checked too");
        assert_eq!(error(head), JoinError::NoAddress);
        for address in ["host", "host:", "host:0", "host:70000", ":8000", "a b:1", "[::1:8000", "::1:8000", "h:+1"] {
            assert_eq!(error(&format!("{head}@{address}")), JoinError::Address(address.into()));
        }
        let many = vec!["a:1"; limits::JOIN_ADDRESSES + 1].join(",");
        assert_eq!(error(&format!("{head}@{many}")), JoinError::TooManyAddresses);
    }

    proptest! {
        #[test]
        fn lines_come_back(pin: [u8; 16], key: [u8; 16], worker: bool, host in "[a-z0-9.-]{1,40}", port in 1_u16..) {
            let role = if worker { Role::Worker } else { Role::Client };
            let line = JoinLine { role, pin: Pin(pin), key: Key(key), addresses: vec![Address { host: host.into(), port }] };
            prop_assert_eq!(line.to_string().parse(), Ok(line));
        }

        #[test]
        fn no_text_panics_and_no_error_shows_a_key(key: [u8; 16], cut in 0_usize..80, tail in ".{0,40}") {
            let text = JoinLine { key: Key(key), ..line() }.to_string();
            let secret = base32::encode(&key);
            let cut = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
            if let Err(error) = format!("{}{tail}", &text[..cut]).parse::<JoinLine>() {
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains(&secret[..8]), "{}", shown);
            }
            let shown = format!("{:?}", text.parse::<JoinLine>());
            prop_assert!(!shown.contains(&secret[..8]));
        }
    }
}
