//! Accepts a job, as the API functions do, in the stores that the environment names, and prints the
//! message that a processor gets: `prepare import <type> <file>` or `prepare export[-gzip] <type>
//! [<since>]`.
//! `prepare key <key>` makes a key of the tenant `bench` instead.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use jiff::SignedDuration;
use model::{
    ApiKey, Compression, ExportSpec, FileLayout, ImportSource, Job, JobId, JobMessage, JobSpec, Month, NewJob,
    ObjectKey, Partition, Plan, Pool, Reservation, Scope, StoredKey, Tenant, Window,
};
use ports::{Acceptance, AcceptanceStore, Clock, IdSource, KeyStore, ObjectStore, UsageStore};
use runtime::{SystemClock, SystemIds};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let aws = aws::Aws::from_env().await;
    let partition: Partition = "bench#live".parse()?;
    let (now, ids) = (SystemClock.now(), SystemIds);
    let id = JobId::new(now, ids.random());
    if let ["key", key] = arguments.as_slice() {
        let tenant = Tenant {
            id: partition.tenant.clone(),
            plan: Plan::Enterprise,
            bulk_operations_per_hour: 1_000,
            overage: true,
        };
        aws.usage(std::env::var("USAGE_TABLE")?, Arc::new(ids)).save_tenant(&tenant, None).await?;
        let key = StoredKey {
            id: "key_bench".to_owned(),
            hash: key.parse::<ApiKey>()?.hash(),
            partition,
            scopes: vec![Scope::All],
            created_at: now,
            expires_at: None,
            revoked_at: None,
        };
        aws.keys(std::env::var("API_KEYS_TABLE")?).save(&key, None).await?;
        return Ok(());
    }
    let (spec, total) = match arguments.as_slice() {
        ["import", resource_type, file] => {
            let data = std::fs::read(Path::new(file))?;
            let lines = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
            let key = ObjectKey::import(&partition, &id);
            aws.objects(std::env::var("BUCKET")?).put(&partition, &key, data.into()).await?;
            let source = ImportSource::Inline { key };
            (
                JobSpec::Import { resource_type: resource_type.parse()?, source, format: model::ImportFormat::Flat },
                u64::try_from(lines)?,
            )
        }
        [export @ ("export" | "export-gzip"), resource_type, since @ ..] => {
            let since = since.first().map(|since| since.parse()).transpose()?;
            let compression = if *export == "export" { Compression::None } else { Compression::Gzip };
            let (resource_types, files) = (vec![resource_type.parse()?], FileLayout::Single);
            (
                JobSpec::Export(ExportSpec {
                    resource_types,
                    since,
                    files,
                    compression,
                    format: model::RecordFormat::Flat,
                }),
                0,
            )
        }
        _ => return Err("usage: prepare import <type> <file> | prepare export[-gzip] <type> [<since>]".into()),
    };
    let job = Job::new(NewJob {
        label: None,
        partition: partition.clone(),
        id: id.clone(),
        spec,
        total,
        counted: true,
        reservation: Reservation { pool: Pool::Live, month: Month::of(now), requests: total },
        created_at: now,
        expires_at: now + SignedDuration::from_hours(168),
        due_at: now + SignedDuration::from_mins(5),
    });
    let acceptance = Acceptance {
        job,
        window: Window::default().admit(now, 5).ok_or("the window is full")?,
        month_limit: None,
        upload: None,
        idempotency: None,
        request_token: format!("{:032x}", ids.random()),
    };
    let (jobs, usage) = (std::env::var("JOBS_TABLE")?, std::env::var("USAGE_TABLE")?);
    aws.jobs(jobs, usage).accept(&partition, &acceptance).await?;
    writeln!(std::io::stdout(), "{}", JobMessage::new(partition, id).encode())?;
    Ok(())
}
