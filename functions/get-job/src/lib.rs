//! `GET /v1/bulk/jobs/{jobId}`: how far a job is, what came of it, and a fresh URL for its file.

use std::sync::Arc;

use domain::ports::{JobStore, ObjectStore};
use domain::{
    Job, JobId, JobResult, JobStatus, LineFault, ObjectKey, Principal, Progress, Report, Scope, overall_progress,
    transaction_time,
};
use edge::http::{ApiError, Call, Counted, Endpoint, Governor, Reply, Request, RequestExt, StatusCode};
use jiff::Timestamp;
use records::ResourceType;

mod report;

use report::{Failure, Fault, JobReport, Link};

/// The endpoint.
pub struct GetJob {
    /// Where jobs are kept.
    pub jobs: Arc<dyn JobStore>,
    /// Where their files are kept.
    pub objects: Arc<dyn ObjectStore>,
}

impl Endpoint for GetJob {
    const SCOPE: Scope = Scope::Read;
    const GOVERNOR: Governor = Governor::Minute;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let id: JobId = request
            .path_parameters_ref()
            .and_then(|parameters| parameters.first("jobId"))
            .and_then(|id| id.parse().ok())
            .ok_or_else(ApiError::not_found)?;
        let stored = self.jobs.with_segments(&call.principal.partition, &id, call.now).await?;
        let (job, segments) = stored.ok_or_else(ApiError::not_found)?;
        let progress = overall_progress(&job, &segments);
        let report = self.report(&job, progress, call.now).await?;
        if let Some(result) = job.result() {
            let links = match result {
                JobResult::Export { .. } => "file",
                JobResult::Import { rejected: None, .. } => "results",
                JobResult::Import { .. } => "results,errors,rejected",
            };
            let Principal { partition, key_id, .. } = &call.principal;
            tracing::info!(audit = "links.issued", request_id = %call.request_id, tenant = %partition.tenant,
                environment = %partition.environment, key_id, job_id = %job.id(), job_type = job.job_type().as_str(),
                types = ResourceType::names(job.spec().resource_types()), records = progress.processed, links, "links issued");
        }
        let reply = Reply::new(StatusCode::OK, report, Counted::Afterwards)?;
        Ok(match retry_after(&job, progress, call.now) {
            Some(seconds) => reply.header("retry-after", seconds.to_string()),
            None => reply,
        })
    }
}

impl GetJob {
    async fn report(&self, job: &Job, progress: Progress, now: Timestamp) -> Result<JobReport, ApiError> {
        let mut report = JobReport::new(job, progress);
        match job.result() {
            Some(JobResult::Export { file, started_reading_at }) => {
                let name = format!("{}.ndjson", job.id());
                let signed = self.objects.sign_download(job.partition(), file, &name, now, job.expires_at()).await?;
                report.download = Some(Link { url: signed.url, expires_at: signed.expires_at });
                report.transaction_time = Some(transaction_time(*started_reading_at));
            }
            Some(JobResult::Import { faults, fault_count, errors, rejected, results }) => {
                report.errors = faults.iter().map(fault).collect();
                report.error_count = *fault_count;
                report.errors_truncated = *fault_count > faults.len() as u64;
                report.errors_url = self.sign(job, Report::Errors, errors.as_ref(), now).await?;
                report.rejected_url = self.sign(job, Report::Rejected, rejected.as_ref(), now).await?;
                report.results_url = self.sign(job, Report::Results, Some(results), now).await?;
            }
            None => {}
        }
        if let JobStatus::Failed(reason) = job.status() {
            report.errors = vec![Fault::Fatal(Failure { code: reason.code(), message: reason.message() })];
            report.error_count = 1;
        }
        Ok(report)
    }
}

impl GetJob {
    /// A fresh URL of a report, where there is one.
    async fn sign(
        &self,
        job: &Job,
        report: Report,
        key: Option<&ObjectKey>,
        now: Timestamp,
    ) -> Result<Option<String>, ApiError> {
        let Some(key) = key else { return Ok(None) };
        let name = format!("{}-{}.ndjson", job.id(), report.as_str());
        let signed = self.objects.sign_download(job.partition(), key, &name, now, job.expires_at()).await?;
        Ok(Some(signed.url))
    }
}

fn fault(LineFault { line, fault }: &LineFault) -> Fault {
    Fault::OfLine { index: line - 1, line: *line, fault: fault.clone() }
}

/// When to ask again, in seconds: soon for small jobs, later the more work is left. `None` once ended.
fn retry_after(job: &Job, progress: Progress, now: Timestamp) -> Option<u64> {
    if job.has_ended() {
        return None;
    }
    let elapsed = job.started_at().map_or(0, |started| now.duration_since(started).as_millis());
    let elapsed = u64::try_from(elapsed).unwrap_or(0);
    let left = progress.total.saturating_sub(progress.processed);
    let milliseconds = match progress.processed {
        // Nothing is known of the speed yet: a little longer with every moment that passes.
        0 => elapsed / 4,
        processed => elapsed.saturating_mul(left) / processed,
    };
    Some((milliseconds / 1_000).clamp(1, 30))
}
