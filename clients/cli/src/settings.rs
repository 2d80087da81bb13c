//! Where the API is, and which key is used: arguments, then the environment, then the profile.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use secrecy::{ExposeSecret, SecretString};

use crate::cli::Global;
use crate::exit::{Failure, usage};

pub(crate) mod profile;

/// The environment variable of the key.
const KEY_VARIABLE: &str = "CLINIKAPI_SECRET_KEY";
/// The environment variable of the base URL.
const URL_VARIABLE: &str = "CLINIKAPI_BASE_URL";

/// Where the API is, and who asks.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Without a slash at its end.
    pub(crate) url: String,
    pub(crate) key: Key,
}

/// A well-formed API key. It is never shown.
#[derive(Debug, Clone)]
pub(crate) struct Key(SecretString);

impl Key {
    /// Reads a key as the service does: `clk_(live|test)_[A-Za-z0-9]{6,128}`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let random = text.strip_prefix("clk_live_").or_else(|| text.strip_prefix("clk_test_"));
        let is_key = random.is_some_and(|random| {
            (6..=128).contains(&random.len()) && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        });
        if is_key {
            Ok(Self(SecretString::from(text)))
        } else {
            Err(Failure::Key("the key is malformed: it begins with clk_test_ or clk_live_".to_owned()).into())
        }
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// `live` or `test`: records of one never meet those of the other.
    pub(crate) fn environment(&self) -> &'static str {
        if self.expose().starts_with("clk_live_") { "live" } else { "test" }
    }
}

impl Settings {
    /// What the arguments, the environment and the profile say.
    pub(crate) fn resolve(global: &Global) -> Result<Self> {
        let profile = profile::load(&global.profile)?;
        let url = match given_url(global)? {
            Some(url) => url,
            None => match profile.as_ref().and_then(|profile| profile.url.as_deref()) {
                Some(url) => checked_url(url)?,
                None => {
                    return Err(usage(format!(
                        "no base URL: give --url, set {URL_VARIABLE}, or run `clinik-bulk login`"
                    )));
                }
            },
        };
        let key = match given_key(global)? {
            Some(key) => key,
            None => match profile.map(profile_key).transpose()?.flatten() {
                Some(key) => key,
                None => {
                    let message = format!("no key: give --key-file, set {KEY_VARIABLE}, or run `clinik-bulk login`");
                    return Err(Failure::Key(message).into());
                }
            },
        };
        Ok(Self { url, key })
    }

    /// The settings, or `None` where nobody has said which.
    pub(crate) fn resolve_if_given(global: &Global) -> Result<Option<Self>> {
        let is_given = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let has_profile = profile::load(&global.profile)?.is_some();
        let has_key = global.key_file.is_some() || is_given(KEY_VARIABLE) || has_profile;
        let has_url = global.url.is_some() || is_given(URL_VARIABLE) || has_profile;
        if has_key && has_url { Self::resolve(global).map(Some) } else { Ok(None) }
    }
}

/// The base URL of the arguments or the environment.
pub(crate) fn given_url(global: &Global) -> Result<Option<String>> {
    let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
    global.url.clone().or_else(from_environment).map(|url| checked_url(&url)).transpose()
}

/// An `https` URL with a host, or an `http` one of this machine: a key must not travel in the clear.
pub(crate) fn checked_url(url: &str) -> Result<String> {
    let uri: ureq::http::Uri = url.parse().map_err(|_| usage("the base URL is not a URL: it begins with https://"))?;
    let host = uri.host().unwrap_or_default();
    let is_local = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
    match uri.scheme_str() {
        _ if host.is_empty() || uri.query().is_some() => {
            Err(usage("the base URL needs https:// and a host, and no query"))
        }
        Some("https") => Ok(url.trim_end_matches('/').to_owned()),
        Some("http") if is_local => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(usage("the base URL begins with https://, or with http:// where the service runs on this machine")),
    }
}

/// The key of `--key-file`.
pub(crate) fn key_of_file(global: &Global) -> Result<Option<Key>> {
    let Some(file) = &global.key_file else { return Ok(None) };
    let text = if file == Path::new("-") {
        read_key_from(std::io::stdin().lock())?
    } else {
        let file = std::fs::File::open(file).with_context(|| format!("open key file {}", file.display()))?;
        read_key_from(file)?
    };
    Key::parse(&text).map(Some)
}

fn given_key(global: &Global) -> Result<Option<Key>> {
    if let Some(key) = key_of_file(global)? {
        return Ok(Some(key));
    }
    match std::env::var(KEY_VARIABLE) {
        Ok(text) if !text.is_empty() => Key::parse(&text).map(Some),
        _ => Ok(None),
    }
}

/// The text of a key; a file that holds something else is not read to its end.
pub(crate) fn read_key_from(reader: impl Read) -> Result<String> {
    let mut text = String::new();
    reader.take(1024).read_to_string(&mut text).context("read key")?;
    Ok(text)
}

fn profile_key(profile: profile::Profile) -> Result<Option<Key>> {
    if let Some(key) = profile.key {
        return Key::parse(key.expose_secret()).map(Some);
    }
    let Some(command) = profile.key_command else { return Ok(None) };
    let ran = Command::new("sh").arg("-c").arg(&command).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let ran = ran.context("run the profile's key_command")?;
    if !ran.status.success() {
        return Err(Failure::Key("the profile's key_command failed".to_owned()).into());
    }
    Key::parse(&String::from_utf8_lossy(&ran.stdout)).map(Some)
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

    #[test]
    fn a_key_never_travels_in_the_clear() {
        assert_eq!(checked_url("https://api.example/base/").unwrap(), "https://api.example/base");
        assert!(checked_url("http://127.0.0.1:4566/_aws/execute-api/x/$default").is_ok());
        for bad in [
            "http://api.example",
            "ftp://api.example",
            "api.example",
            "https://",
            "https://a/?b=c",
            "http://127.example@evil",
        ] {
            assert!(checked_url(bad).is_err(), "{bad}");
        }
    }
}
