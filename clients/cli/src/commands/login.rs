//! Keeps a key.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use clinikapi::Key;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::cli::Global;
use crate::exit::usage;
use crate::output::Output;
use crate::settings::{self, Settings, profile};

pub(super) fn login(global: &Global, output: &Output) -> Result<()> {
    let url = match settings::given_url(global)? {
        // A new key for a known service.
        None => settings::profile_url(profile::load_if_any(&global.profile)?.as_ref(), global)?,
        given => given,
    };
    let (url, origin) = url.ok_or_else(|| usage("no base URL: give --url or set CLINIKAPI_BASE_URL"))?;
    let key = match settings::key_of_file(global)? {
        Some(key) => key,
        None if io::stdin().is_terminal() => {
            let typed = rpassword::prompt_password("API key: ").context("read key")?;
            Key::parse(secrecy::SecretString::from(typed).expose_secret())?
        }
        None => Key::parse(&settings::read_key_from(io::stdin().lock())?)?,
    };
    let settings = Settings { url: url.clone(), origin, key: key.clone() };
    let (limits, _) = settings.limits(&settings.client(output)?)?;
    let path = profile::store(&global.profile, &url, &key)?;
    if !files::is_private(&path)? {
        output.warn(&format!("others may read {}: its file system knows no modes", files::shown(&path)));
    }
    output.say(&format!(
        "profile {}: a {} key of plan {} and tenant {}, kept in {}",
        global.profile,
        limits.environment,
        limits.plan,
        limits.tenant_id,
        path.display()
    ));
    output.event_or_document(&json!({"event": "login", "profile": global.profile, "url": url,
        "tenantId": limits.tenant_id, "environment": limits.environment, "plan": limits.plan, "file": path}))
}
