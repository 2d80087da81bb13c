//! `GET /v1/bulk/jobs/{jobId}`: how far a job is, what came of it, and a fresh URL for its file.

use std::sync::Arc;

use domain::ports::{JobStore, UrlSigner};
use domain::{
    FileLayout, Job, JobId, JobResult, JobSpec, JobState, LineViolation, Principal, Report, ResultFile, Scope,
    transaction_time,
};
use http::{ApiError, Billing, Call, Endpoint, Reply, Request, RequestExt, RequestLimitKind, StatusCode};
use jiff::Timestamp;
use records::ResourceType;

mod report;

use report::{Failure, JobError, JobReport, Link};

/// The endpoint.
pub struct GetJob {
    pub jobs: Arc<dyn JobStore>,
    pub signer: Arc<dyn UrlSigner>,
}

impl Endpoint for GetJob {
    const SCOPE: Scope = Scope::Read;
    const LIMIT: RequestLimitKind = RequestLimitKind::Minute;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let id: JobId = request
            .path_parameters_ref()
            .and_then(|parameters| parameters.first("jobId"))
            .and_then(|id| id.parse().ok())
            .ok_or_else(ApiError::not_found)?;
        let job = self.jobs.get(&call.principal.partition, &id, call.now).await?.ok_or_else(ApiError::not_found)?;
        let report = self.report(&job, call.now).await?;
        if let Some(result) = job.result() {
            let links: Vec<_> = result.files().iter().map(|file| file.name.as_str()).collect();
            let Principal { partition, key_id, .. } = &call.principal;
            tracing::info!(audit = "links.issued", request_id = %call.request_id, tenant = %partition.tenant,
                environment = %partition.environment, key_id, job_id = %job.id(), job_type = job.job_type().as_str(),
                types = ResourceType::names(job.spec().resource_types()), records = job.progress().processed,
                links = links.join(","), "links issued");
        }
        let reply = Reply::new(StatusCode::OK, report, Billing::Afterwards)?;
        Ok(match retry_after(&job, call.now) {
            Some(seconds) => reply.header("retry-after", seconds.to_string()),
            None => reply,
        })
    }
}

impl GetJob {
    async fn report(&self, job: &Job, now: Timestamp) -> Result<JobReport, ApiError> {
        let mut report = JobReport::new(job);
        match job.state() {
            JobState::Completed(JobResult::Export { started_at, files }) => {
                report.transaction_time = Some(transaction_time(*started_at));
                if let ([file], JobSpec::Export(spec)) = (files.as_slice(), job.spec())
                    && spec.files == FileLayout::Single
                {
                    report.download = Some(self.sign(job, file, &file.name, now).await?);
                }
            }
            JobState::Completed(JobResult::Import { violations, violation_count, files }) => {
                report.errors = violations.iter().map(job_error).collect();
                report.error_count = *violation_count;
                report.errors_truncated = *violation_count > violations.len() as u64;
                report.errors_url = self.sign_report(job, Report::Errors, files, now).await?;
                report.rejected_url = self.sign_report(job, Report::Rejected, files, now).await?;
                report.results_url = self.sign_report(job, Report::Results, files, now).await?;
            }
            JobState::Failed(reason) => {
                report.errors = vec![JobError::Fatal(Failure { code: reason.code(), message: reason.message() })];
                report.error_count = 1;
            }
            JobState::Pending | JobState::Processing { .. } => {}
        }
        Ok(report)
    }

    async fn sign(&self, job: &Job, file: &ResultFile, name: &str, now: Timestamp) -> Result<Link, ApiError> {
        let signed = self.signer.sign_download(job.partition(), &file.key, name, now, job.expires_at()).await?;
        Ok(Link { url: signed.url, expires_at: signed.expires_at })
    }

    /// A fresh URL of a report, where there is one.
    async fn sign_report(
        &self,
        job: &Job,
        report: Report,
        files: &[ResultFile],
        now: Timestamp,
    ) -> Result<Option<String>, ApiError> {
        let Some(file) = files.iter().find(|file| file.name == report.file_name()) else { return Ok(None) };
        let name = format!("{}-{}", job.id(), file.name);
        Ok(Some(self.sign(job, file, &name, now).await?.url))
    }
}

fn job_error(LineViolation { line, violation }: &LineViolation) -> JobError {
    JobError::OfLine { index: line - 1, line: *line, violation: violation.clone() }
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
    Some((milliseconds / 1_000).clamp(1, 30))
}
