//! Profiles: URLs and keys in a file that nobody else may read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clinikapi::Key;
use files::FolderLock;
use secrecy::SecretString;
use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, value};

use crate::exit::usage;
use crate::output::DEFAULT_PROFILE;

/// What a profile says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    pub(crate) url: Option<String>,
    pub(crate) key: Option<SecretString>,
    /// A shell command that prints the key.
    pub(crate) key_command: Option<String>,
}

/// The file of the profiles, in the XDG configuration folder.
pub(crate) fn path() -> Result<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    Ok(config.context("find the configuration folder: HOME is not set")?.join("clinik-bulk").join("profiles.toml"))
}

/// The text of the file of the profiles, if there is one.
fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => text.map(Some).with_context(|| format!("read {}", path.display())),
    }
}

fn no_profiles(path: &Path) -> anyhow::Error {
    usage(format!("{} is no file of profiles", path.display()))
}

/// The profile of that name. Only one that was not asked for by name may be absent.
pub(crate) fn load(name: &str) -> Result<Option<Profile>> {
    match load_if_any(name)? {
        None if name != DEFAULT_PROFILE => {
            Err(usage(format!("there is no profile {name}; `clinik-bulk login --profile {name}` makes it")))
        }
        found => Ok(found),
    }
}

/// The profile of that name, if there is one.
pub(crate) fn load_if_any(name: &str) -> Result<Option<Profile>> {
    let path = path()?;
    let Some(text) = read(&path)? else { return Ok(None) };
    // The parser's own message quotes the line, and a key may stand there.
    let mut profiles: BTreeMap<String, Profile> = toml::from_str(&text).map_err(|_| no_profiles(&path))?;
    let Some(profile) = profiles.remove(name) else { return Ok(None) };
    // A link leads to another file system.
    let knows_modes = || path.canonicalize().map_or(true, |path| path.parent().is_none_or(files::knows_modes));
    if profile.key.is_some() && !files::is_private(&path)? && knows_modes() {
        bail!("{} holds a key and others may read it: run chmod 600 on it", path.display());
    }
    Ok(Some(profile))
}

/// Keeps a key and its URL; the other profiles stay as they are.
pub(crate) fn store(name: &str, url: &str, key: &Key) -> Result<PathBuf> {
    let path = path()?;
    if let Some(folder) = path.parent() {
        files::create_private_folder(folder)?;
    }
    // A link leads to where somebody keeps such files, and stays one.
    let path = path.canonicalize().unwrap_or(path);
    // Two at once would each write the file without the other's profile.
    let _lock = FolderLock::wait_beside(&path)?;
    let text = read(&path)?.unwrap_or_default();
    let mut profiles: DocumentMut = text.parse().map_err(|_| no_profiles(&path))?;
    // What somebody has written beside it stays.
    let profile = profiles.entry(name).or_insert(Item::Table(Table::new()));
    let profile = profile.as_table_like_mut().ok_or_else(|| no_profiles(&path))?;
    profile.insert("url", value(url));
    profile.insert("key", value(key.expose()));
    profile.remove("key_command");
    files::replace(&path, profiles.to_string().as_bytes())?;
    Ok(path)
}
