//! `clinik-bulk-admin check`: what of a stack was changed by hand, or left out of a restore.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context, Result, bail};
use aws::{StackResource, TableSettings};
use jiff::Timestamp;
use ports::UsageStore;
use serde::Serialize;

use crate::output::OutputFormat;
use crate::stores::{PARTS, Stores};

/// Each table's output, and the attribute that its items expire by.
const TABLES: [(&str, &str); 4] = [
    ("JOBS_TABLE", "expiresAt"),
    ("RECORDS_TABLE", "e"),
    ("API_KEYS_TABLE", "expiresAt"),
    ("USAGE_TABLE", "expiresAt"),
];

/// The alias that everything calls.
const ALIAS: &str = "live";

/// Something that is not as the template and the runbook have it.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    about: String,
    /// What is wrong, and what to do.
    finding: String,
}

fn finding(about: &str, finding: impl Into<String>) -> Finding {
    Finding { about: about.to_owned(), finding: finding.into() }
}

pub(crate) async fn run(stack: Option<&str>, stores: &Stores, output: OutputFormat) -> Result<()> {
    let stack = stack.context("check needs --stack")?;
    let mut findings = Vec::new();
    // First what stops work.
    let enabled = stores.aws().enabled_event_sources().await?;
    for resource in stores.aws().stack_resources(stack).await? {
        findings.extend(of_resource(&resource, &enabled, stores).await?);
    }
    let mut tables = Vec::new();
    for (part, attribute) in TABLES {
        let name = stores.part(part)?;
        let settings = stores.aws().table_settings(&name).await?;
        findings.extend(of_table(&name, &settings, attribute));
        tables.push((name, settings));
    }
    findings.extend(of_restores(&tables));
    let keys = stores.keys()?.all().await?;
    let keys_table = stores.part("API_KEYS_TABLE")?;
    if let Some((_, settings)) = tables.iter().find(|(name, _)| *name == keys_table) {
        findings.extend(of_keys(settings, keys.iter().map(|key| (key.id.as_str(), key.created_at))));
    }
    let tenants: BTreeSet<_> = keys.iter().map(|key| &key.partition.tenant).collect();
    for tenant in tenants {
        if stores.usage()?.tenant(tenant).await?.is_none() {
            let what = format!("tenant {tenant}");
            findings.push(finding(
                &what,
                "has keys and no plan: the tables of keys and of usage are not of the same moment, or the plan was \
                 deleted; create the tenant again, or revoke its keys",
            ));
        }
    }
    output.print(&findings)?;
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings", findings.len());
}

/// What a restore forgets, and a hand may switch off.
fn of_table(name: &str, settings: &TableSettings, attribute: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut add = |text: String| findings.push(finding(name, text));
    match settings.expires_by.as_deref() {
        Some(found) if found == attribute => {}
        Some(found) => add(format!("time to live goes by {found} instead of {attribute}: nothing expires")),
        None => add(format!("no time to live: switch it on, by {attribute}, or nothing expires")),
    }
    if !settings.has_recovery {
        add("no point-in-time recovery: switch it on; what is lost before that cannot be restored".to_owned());
    }
    if !settings.is_protected {
        add("no deletion protection: deploy with DeletionProtection=true, or switch it on".to_owned());
    }
    findings
}

/// All four are of one stack's life: either none was restored, or all to the same moment.
fn of_restores(tables: &[(String, TableSettings)]) -> Vec<Finding> {
    let moments: BTreeSet<_> = tables.iter().map(|(_, settings)| settings.restored_to).collect();
    if moments.len() <= 1 {
        return Vec::new();
    }
    let is_in_part = moments.iter().any(Option::is_none);
    let others = if is_in_part { "other tables were not" } else { "other tables to another moment" };
    let told = |(name, settings): &(String, TableSettings)| match settings.restored_to {
        Some(moment) => {
            finding(name, format!("was restored to {moment}, and {others}: restore all four to one moment"))
        }
        None => finding(name, "was not restored, and other tables were: restore all four to one moment"),
    };
    tables.iter().map(told).collect()
}

/// A restored table holds no key that was made between the moment it was restored to and its own creation: such a key comes
/// from somewhere else, and so may keys that were revoked meanwhile.
fn of_keys<'a>(settings: &TableSettings, keys: impl Iterator<Item = (&'a str, Timestamp)>) -> Vec<Finding> {
    let Some(restored_to) = settings.restored_to else { return Vec::new() };
    let is_newer = |(_, created): &(&str, Timestamp)| *created > restored_to && *created < settings.created_at;
    let told = |(id, created): (&str, Timestamp)| {
        let text =
            format!("was made at {created}, after the moment that its table was restored to: see who put it there");
        finding(&format!("key {id}"), text)
    };
    keys.filter(is_newer).map(told).collect()
}

async fn of_resource(resource: &StackResource, enabled: &BTreeSet<String>, stores: &Stores) -> Result<Option<Finding>> {
    let StackResource { logical_id, kind, physical_id } = resource;
    Ok(match kind.as_str() {
        "AWS::Lambda::EventSourceMapping" if !enabled.contains(physical_id) => {
            Some(finding(logical_id, "is not enabled: its queue is not read; deploy with Processing=on, or enable it"))
        }
        "AWS::Lambda::Function" => match stores.aws().settings_of(physical_id, ALIAS).await? {
            None => Some(finding(
                logical_id,
                format!(
                    "its alias {ALIAS} is gone or names a version that is gone: calls fail; point it at a version that is there"
                ),
            )),
            Some(settings) => of_settings(logical_id, &settings, |name| stores.part(name).ok()),
        },
        _ => None,
    })
}

/// A version that is live works on the stack's own parts.
fn of_settings(
    function: &str,
    settings: &HashMap<String, String>,
    part: impl Fn(&'static str) -> Option<String>,
) -> Option<Finding> {
    PARTS.iter().find_map(|(name, _)| {
        let (set, own) = (settings.get(*name)?, part(name)?);
        let text = format!("its live version has {set} as {name}, and the stack has {own}: roll back, or deploy again");
        (*set != own).then(|| finding(function, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + minute * 60).unwrap()
    }

    fn settings(restored_to: Option<Timestamp>) -> TableSettings {
        let expires_by = Some("expiresAt".to_owned());
        TableSettings { created_at: at(60), restored_to, has_recovery: true, is_protected: true, expires_by }
    }

    #[test]
    fn a_table_as_the_template_has_it_is_no_finding() {
        assert_eq!(of_table("jobs", &settings(None), "expiresAt"), []);
        let forgotten =
            TableSettings { has_recovery: false, is_protected: false, expires_by: None, ..settings(Some(at(0))) };
        assert_eq!(of_table("jobs", &forgotten, "expiresAt").len(), 3);
        let [wrong] = &of_table("records", &settings(None), "e")[..] else { panic!("one finding") };
        assert!(wrong.finding.contains("expiresAt instead of e"));
    }

    #[test]
    fn a_live_version_names_the_stack_s_parts() {
        let part = |name| (name == "JOBS_TABLE").then(|| "stack-jobs".to_owned());
        let settings = |table: &str| HashMap::from([("JOBS_TABLE".to_owned(), table.to_owned())]);
        assert_eq!(of_settings("RunExport", &settings("stack-jobs"), part), None);
        assert_eq!(of_settings("RunExport", &HashMap::new(), part), None);
        let wrong = of_settings("RunExport", &settings("stack-jobz"), part).unwrap();
        assert!(wrong.finding.contains("stack-jobz as JOBS_TABLE, and the stack has stack-jobs"), "{}", wrong.finding);
    }

    #[test]
    fn tables_are_restored_together() {
        let tables = |moments: [Option<i64>; 4]| moments.map(|minute| ("t".to_owned(), settings(minute.map(at))));
        assert_eq!(of_restores(&tables([None; 4])), []);
        assert_eq!(of_restores(&tables([Some(1); 4])), []);
        let told = |moments| of_restores(&tables(moments)).into_iter().map(|told| told.finding).collect::<Vec<_>>();
        let in_part = told([Some(1), Some(1), None, Some(1)]);
        assert_eq!(in_part.len(), 4);
        assert!(in_part[0].contains(", and other tables were not:"), "{in_part:?}");
        assert!(in_part[2].starts_with("was not restored, and other tables were:"), "{in_part:?}");
        let apart = told([Some(1), Some(2), Some(1), Some(1)]);
        assert_eq!(apart.len(), 4);
        assert!(apart.iter().all(|told| told.contains(", and other tables to another moment:")), "{apart:?}");
    }

    #[test]
    fn a_key_newer_than_its_restored_table_is_a_finding() {
        let keys = [("key_before", at(-1)), ("key_between", at(30)), ("key_after", at(61))];
        assert_eq!(of_keys(&settings(None), keys.into_iter()), []);
        let [between] = &of_keys(&settings(Some(at(0))), keys.into_iter())[..] else { panic!("one finding") };
        assert_eq!(between.about, "key key_between");
    }
}
