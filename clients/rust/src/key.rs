//! API keys.

use secrecy::{ExposeSecret, SecretString};

/// A well-formed API key. It is never shown.
#[derive(Debug, Clone)]
pub struct Key(SecretString);

/// The text is no key. The text itself is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key is malformed: it begins with clk_test_ or clk_live_")]
pub struct InvalidKey;

impl Key {
    /// Reads a key as the service does: `clk_(live|test)_[A-Za-z0-9]{6,128}`, with white space around it.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = text.trim();
        let random = text.strip_prefix("clk_live_").or_else(|| text.strip_prefix("clk_test_"));
        let is_key = random.is_some_and(|random| {
            (6..=128).contains(&random.len()) && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if is_key { Ok(Self(SecretString::from(text))) } else { Err(InvalidKey) }
    }

    /// The key's text. It must not be printed or logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// `live` or `test`: records of one never meet those of the other.
    #[must_use]
    pub fn environment(&self) -> &'static str {
        if self.expose().starts_with("clk_live_") { "live" } else { "test" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_well_formed_and_never_shown() {
        let key = Key::parse("clk_test_abcdef\n").unwrap();
        assert_eq!(key.environment(), "test");
        assert!(!format!("{key:?}").contains("abcdef"));
        for bad in ["", "clk_test_", "clk_test_abc", "clk_prod_abcdef", "clk_test_abc-def"] {
            let error = Key::parse(bad).unwrap_err().to_string();
            assert!(bad.len() < 10 || !error.contains(bad), "{bad}");
        }
    }
}
