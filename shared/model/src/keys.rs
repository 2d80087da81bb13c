//! API keys: what a client shows, what is stored of it, and who it stands for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ids::{Environment, InvalidText, Partition};
use crate::limits::Tenant;

/// A key as the client shows it: `clk_(live|test)_[A-Za-z0-9]{6,128}`. It can be neither printed nor
/// serialised; only its hash leaves this module.
#[derive(Clone)]
pub struct ApiKey {
    environment: Environment,
    secret: SecretString,
}

/// How many random characters a generated key has.
const GENERATED_LENGTH: usize = 32;

impl ApiKey {
    /// A new key, of 32 random characters drawn from `random`.
    pub fn generate(environment: Environment, mut random: impl FnMut() -> u128) -> Self {
        const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut key = format!("clk_{environment}_");
        let whole = key.len() + GENERATED_LENGTH;
        while key.len() < whole {
            // Six bits a character; the two values over the alphabet are drawn again, so none is likelier.
            for byte in random().to_le_bytes() {
                if let Some(character) = ALPHABET.get(usize::from(byte & 63)).filter(|_| key.len() < whole) {
                    key.push(char::from(*character));
                }
            }
        }
        Self { environment, secret: key.into() }
    }

    /// The environment that the key's prefix names.
    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// What is stored of the key, and what it is found by.
    #[must_use]
    pub fn hash(&self) -> ApiKeyHash {
        ApiKeyHash(base16ct::lower::encode_string(&Sha256::digest(self.secret.expose_secret().as_bytes())))
    }

    /// The key's text, to be shown once to the operator who made it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.secret.expose_secret()
    }
}

impl FromStr for ApiKey {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        const MALFORMED: InvalidText = InvalidText("an API key is clk_live_ or clk_test_ and 6 to 128 of A-Za-z0-9");
        let (environment, characters) = match text.split_at_checked(9) {
            Some(("clk_live_", characters)) => (Environment::Live, characters),
            Some(("clk_test_", characters)) => (Environment::Test, characters),
            _ => return Err(MALFORMED),
        };
        if (6..=128).contains(&characters.len()) && characters.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self { environment, secret: text.into() })
        } else {
            Err(MALFORMED)
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(…)")
    }
}

/// The SHA-256 of a key, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ApiKeyHash(String);

impl ApiKeyHash {
    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// GET.
    #[serde(rename = "read")]
    Read,
    /// POST and DELETE.
    #[serde(rename = "write")]
    Write,
    /// Everything.
    #[serde(rename = "*")]
    All,
}

impl FromStr for Scope {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Self, InvalidText> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "*" => Ok(Self::All),
            _ => Err(InvalidText("a scope is read, write or *")),
        }
    }
}

/// For how long a validated key is taken as it was: a revocation acts within this time.
pub const KEY_CACHE_TIME: Duration = Duration::from_mins(1);

/// What is stored of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredKey {
    /// Names the key where its secret must not be shown: `key_…`.
    pub id: String,
    /// What the key is found by.
    pub hash: ApiKeyHash,
    /// What the key opens.
    pub partition: Partition,
    /// What the key may do there.
    pub scopes: Vec<Scope>,
    /// When the key was made.
    pub created_at: Timestamp,
    /// From when on the key is refused, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// When the key was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// Who calls: all that a handler sees of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Where the caller may read and write.
    pub partition: Partition,
    /// What the caller may do there.
    pub scopes: Vec<Scope>,
    /// The tenant's plan and limits.
    pub tenant: Tenant,
    /// Which of the tenant's keys was shown.
    pub key_id: String,
}

impl Principal {
    /// Whether the caller may do what needs `scope`.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| *own == Scope::All || *own == scope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_contract_s_grammar() {
        for good in ["clk_test_abcDEF", "clk_live_000000", &format!("clk_live_{}", "a".repeat(128))] {
            assert!(good.parse::<ApiKey>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "clk_test_abcde",
            "clk_prod_abcdef",
            "clk_test_abc-ef",
            "clk_test_abcdé",
            "Clk_test_abcdef",
            &format!("clk_live_{}", "a".repeat(129)),
        ] {
            assert!(bad.parse::<ApiKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_cannot_be_printed() {
        let key: ApiKey = "clk_test_sesame1".parse().unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
    }

    #[test]
    fn the_hash_is_the_sha_256_of_the_whole_key() {
        // echo -n clk_test_abcdef | sha256sum
        let key: ApiKey = "clk_test_abcdef".parse().unwrap();
        assert_eq!(key.hash().as_str(), "f963844c9bae820c5db85f08eff7c28f91b5e0255ad4818db7dbb844c6ba50ed");
    }

    #[test]
    fn a_generated_key_parses_and_has_32_random_characters() {
        let mut state = 1u128;
        let key = ApiKey::generate(Environment::Live, || {
            state = state.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(1);
            state
        });
        assert_eq!(key.reveal().len(), "clk_live_".len() + 32);
        assert_eq!(key.reveal().parse::<ApiKey>().unwrap().environment(), Environment::Live);
    }
}
