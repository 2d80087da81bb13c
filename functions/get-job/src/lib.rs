//! `GET /v1/bulk/jobs/{jobId}`: how far a job is, what came of it, and a fresh URL for its file; and
//! `GET /v1/bulk/jobs/{jobId}/files/{name}`: the stable link to one file.

use std::sync::Arc;
use std::time::Duration;

use api::{DOWNLOAD_LIFETIME, LINK_LIFETIME};
use http::{
    ApiError, Billing, Call, Endpoint, JobReport, Link, Reply, Request, RequestExt, StatusCode, job_id, moment,
};
use jiff::Timestamp;
use model::{
    Checkpoint, ExportCheckpoint, FileLayout, Job, JobResult, JobSpec, Principal, RecordFormat, Report, ResultFile,
    Scope, after,
};
use ports::{JobStore, UrlSigner};
use records::ResourceType;

/// The name under which the hashes of all files are found.
const HASHES: &str = "SHA256SUMS";

/// The endpoint.
pub struct GetJob {
    pub jobs: Arc<dyn JobStore>,
    pub signer: Arc<dyn UrlSigner>,
}

impl Endpoint for GetJob {
    const SCOPE: Scope = Scope::Read;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let id = job_id(request)?;
        let job = self.jobs.get(&call.principal.partition, &id, call.now).await?.ok_or_else(ApiError::not_found)?;
        match request.path_parameters_ref().and_then(|parameters| parameters.first("name")) {
            Some(name) => self.file(call, &job, name).await,
            None => self.status(call, &job).await,
        }
    }
}

impl GetJob {
    async fn status(&self, call: &Call, job: &Job) -> Result<Reply, ApiError> {
        let mut report = JobReport::new(job);
        if let Some(result) = job.result() {
            self.sign_all(&mut report, job, result, call.now).await?;
            audit(call, job, "links.issued", result.files());
        }
        let reply = Reply::new(StatusCode::OK, report, Billing::Afterwards)?;
        Ok(match retry_after(job, call.now) {
            Some(seconds) => reply.header("retry-after", seconds.to_string()),
            None => reply,
        })
    }

    /// Leads to a file, or answers with the hashes of all files in the form of `sha256sum -c`.
    async fn file(&self, call: &Call, job: &Job, name: &str) -> Result<Reply, ApiError> {
        let files = job.result().ok_or_else(ApiError::not_found)?.files();
        if name == HASHES {
            let lines = files.iter().map(|file| format!("{}  {}\n", file.sha256, file.name));
            return Ok(Reply::text(lines.collect::<Vec<_>>().concat(), Billing::Afterwards));
        }
        let file = files.iter().find(|file| file.name == name).ok_or_else(ApiError::not_found)?;
        let link = self.sign(job, file, call.now, LINK_LIFETIME).await?;
        audit(call, job, "link.issued", std::slice::from_ref(file));
        Ok(Reply::empty(StatusCode::TEMPORARY_REDIRECT, Billing::Nothing).header("location", link.url))
    }

    /// Fresh URLs of what the job has left behind.
    async fn sign_all(
        &self,
        report: &mut JobReport,
        job: &Job,
        result: &JobResult,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        match result {
            JobResult::Export { files, .. } => {
                // Beside the one file there may be one of deletions.
                if let JobSpec::Export(spec) = job.spec()
                    && spec.files == FileLayout::Single
                    && let Some(file) = files.iter().find(|file| file.has_records())
                {
                    report.download = Some(self.sign(job, file, now, DOWNLOAD_LIFETIME).await?);
                }
            }
            JobResult::Import { files, .. } => {
                for file in files {
                    let url = Some(self.sign(job, file, now, DOWNLOAD_LIFETIME).await?.url);
                    match Report::of_file_name(&file.name) {
                        Some(Report::Errors) => report.errors_url = url,
                        Some(Report::Rejected) => report.rejected_url = url,
                        Some(Report::Results) => report.results_url = url,
                        Some(Report::Losses) | None => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn sign(&self, job: &Job, file: &ResultFile, now: Timestamp, lifetime: Duration) -> Result<Link, ApiError> {
        // No longer than the file.
        let until = after(now, lifetime).min(job.expires_at());
        // Files of several jobs lie side by side where they are downloaded to.
        let id = job.id();
        let name = if file.name.starts_with(id.as_str()) { file.name.clone() } else { format!("{id}-{}", file.name) };
        let format = match job.spec() {
            // Deletions are of no type, and no resources.
            JobSpec::Export(spec) if file.resource_type.is_some() => spec.format,
            JobSpec::Export(_) | JobSpec::Import { .. } => RecordFormat::Flat,
        };
        let shown = (name.as_str(), format.media_type());
        let signed = self.signer.sign_download(job.partition(), &file.key, shown, now, until).await?;
        Ok(Link { url: signed.url, expires_at: moment(signed.expires_at) })
    }
}

fn audit(call: &Call, job: &Job, event: &'static str, files: &[ResultFile]) {
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    let Principal { partition, key_id, .. } = &call.principal;
    tracing::info!(audit = event, request_id = %call.request_id, tenant = %partition.tenant,
        environment = %partition.environment, key_id, job_id = %job.id(), job_type = job.job_type().as_str(),
        types = ResourceType::names(job.spec().resource_types()), records = job.progress().processed,
        links = names.join(","), "links issued");
}

/// When to ask again, in seconds: soon for small jobs, later the more work is left. `None` once ended.
fn retry_after(job: &Job, now: Timestamp) -> Option<u64> {
    if job.has_ended() {
        return None;
    }
    let progress = job.progress();
    let since = job.started_at().unwrap_or(job.created_at());
    let elapsed = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(0);
    let left = progress.total.saturating_sub(progress.processed);
    let milliseconds = match progress.processed {
        // Nothing is known of the speed yet: a little longer with every moment that passes.
        0 => elapsed / 4,
        processed => elapsed.saturating_mul(left) / processed,
    };
    // While a file is put together no record is read any more: that takes its time.
    let is_assembling = job.checkpoint().and_then(Checkpoint::export).is_some_and(ExportCheckpoint::is_assembling);
    Some((milliseconds / 1_000).clamp(if is_assembling { 5 } else { 1 }, 30))
}
