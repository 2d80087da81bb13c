//! Where the API is, and which key is used: arguments, then the environment, then the profile.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clinikapi::{ApiError, BuildError, Client, Key, Limits, base_url};
use secrecy::ExposeSecret;
use serde_json::Value;
use transfer::Owner;

use crate::cli::Global;
use crate::exit::{KeyProblem, usage};
use crate::output::Output;

pub(crate) mod profile;

use profile::Profile;

/// What the service sees as `User-Agent`.
const PRODUCT: &str = concat!("clinik-bulk/", env!("CARGO_PKG_VERSION"));
/// The environment variable of the key.
const KEY_VARIABLE: &str = "CLINIKAPI_SECRET_KEY";
/// The environment variable of the base URL.
const URL_VARIABLE: &str = "CLINIKAPI_BASE_URL";

/// Where the API is, and who asks.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Without a slash at its end.
    pub(crate) url: String,
    /// Who has said so, for messages.
    pub(crate) origin: String,
    pub(crate) key: Key,
}

impl Settings {
    /// What the arguments, the environment and the profile say. The profile is looked at only if something is missing: where
    /// there is no home, it does not matter.
    pub(crate) fn resolve(global: &Global) -> Result<Self> {
        let (given, key) = (given_url(global)?, given_key(global)?);
        let profile = if given.is_some() && key.is_some() { None } else { profile::load(&global.profile)? };
        let url = match given {
            None => profile_url(profile.as_ref(), global)?,
            given => given,
        };
        let (url, origin) = url
            .ok_or_else(|| usage(format!("no base URL: give --url, set {URL_VARIABLE}, or run `clinik-bulk login`")))?;
        let key = match key {
            None => profile.map(profile_key).transpose()?.flatten(),
            given => given,
        };
        let key = key.ok_or_else(|| {
            KeyProblem(format!("no key: give --key-file, set {KEY_VARIABLE}, or run `clinik-bulk login`"))
        })?;
        Ok(Self { url, origin, key })
    }

    /// The limits of the key's tenant: the first call of most commands, so that a wrong address or key shows at once.
    pub(crate) fn limits(&self, client: &Client) -> Result<(Limits, Value)> {
        let Self { url, origin, .. } = self;
        client.limits().map_err(|error| {
            let is_absent = match &error {
                ApiError::NotTheApi(_) => true,
                ApiError::Refused(refused) => refused.status == 404,
                _ => false,
            };
            let context = match &error {
                _ if is_absent => format!("there is no bulk API at {url} ({origin})"),
                ApiError::Network(_) => format!("{url} ({origin})"),
                _ => return error.into(),
            };
            anyhow::Error::from(error).context(context)
        })
    }

    /// A client of the service. People hear of long waits between its tries.
    pub(crate) fn client(&self, output: &Output) -> Result<Client, BuildError> {
        let output = output.clone();
        let client = Client::new(&self.url, self.key.clone(), PRODUCT)?;
        Ok(client.on_wait(move |error, wait| output.say(&format!("{error}; trying again in {} s", wait.as_secs()))))
    }

    /// Whose records these settings are for, as the service says.
    pub(crate) fn owner(&self, limits: &Limits) -> Owner {
        let environment = self.key.environment().to_owned();
        Owner { url: self.url.clone(), tenant_id: limits.tenant_id.clone(), environment }
    }

    /// The settings, or `None` where nobody has said which.
    pub(crate) fn resolve_if_given(global: &Global) -> Result<Option<Self>> {
        let is_given = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let has_key = global.key_file.is_some() || is_given(KEY_VARIABLE);
        let has_url = global.url.is_some() || is_given(URL_VARIABLE);
        let is_enough = (has_key && has_url) || profile::load(&global.profile)?.is_some();
        if is_enough { Self::resolve(global).map(Some) } else { Ok(None) }
    }
}

/// The base URL of the arguments or the environment, and which of them it is from.
pub(crate) fn given_url(global: &Global) -> Result<Option<(String, String)>> {
    let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
    Ok(match (&global.url, from_environment()) {
        (Some(url), _) => Some((base_url(url)?, "from --url".to_owned())),
        (None, Some(url)) => Some((base_url(&url)?, format!("from {URL_VARIABLE}"))),
        (None, None) => None,
    })
}

/// The base URL of the profile, if it has one, and that it is from there.
pub(crate) fn profile_url(profile: Option<&Profile>, global: &Global) -> Result<Option<(String, String)>> {
    let Some(url) = profile.and_then(|profile| profile.url.as_deref()) else { return Ok(None) };
    Ok(Some((base_url(url)?, format!("from profile {}", global.profile))))
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
    Ok(Some(Key::parse(&text)?))
}

fn given_key(global: &Global) -> Result<Option<Key>> {
    if let Some(key) = key_of_file(global)? {
        return Ok(Some(key));
    }
    match std::env::var(KEY_VARIABLE) {
        Ok(text) if !text.is_empty() => Ok(Some(Key::parse(&text)?)),
        _ => Ok(None),
    }
}

/// The text of a key; a file that holds something else is not read to its end.
pub(crate) fn read_key_from(reader: impl Read) -> Result<String> {
    let mut text = String::new();
    reader.take(1024).read_to_string(&mut text).context("read key")?;
    Ok(text)
}

fn profile_key(profile: Profile) -> Result<Option<Key>> {
    if let Some(key) = profile.key {
        return Ok(Some(Key::parse(key.expose_secret())?));
    }
    let Some(command) = profile.key_command else { return Ok(None) };
    let ran = Command::new("sh").arg("-c").arg(&command).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let ran = ran.context("run the profile's key_command")?;
    if !ran.status.success() {
        return Err(KeyProblem("the profile's key_command failed".to_owned()).into());
    }
    Ok(Some(Key::parse(&String::from_utf8_lossy(&ran.stdout))?))
}
