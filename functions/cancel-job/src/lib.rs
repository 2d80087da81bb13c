//! `POST /v1/bulk/jobs/{jobId}/cancel` and `DELETE /v1/bulk/jobs/{jobId}`: a job's end, by its owner.

use api::{JobManager, ManageJobError};
use http::{ApiError, Billing, Call, Endpoint, ErrorCode, JobReport, Method, Reply, Request, StatusCode, job_id};
use model::{Job, Principal, Scope};
use records::ResourceType;

/// The endpoint.
pub struct CancelJob {
    pub manager: JobManager,
}

impl Endpoint for CancelJob {
    const SCOPE: Scope = Scope::Write;

    async fn call(&self, call: &Call, request: &Request) -> Result<Reply, ApiError> {
        let id = job_id(request)?;
        let partition = &call.principal.partition;
        if *request.method() == Method::DELETE {
            let job = self.manager.delete(partition, &id).await.map_err(refusal)?;
            audit(call, "job.deleted", &job);
            return Ok(Reply::empty(StatusCode::NO_CONTENT, Billing::Afterwards));
        }
        let job = self.manager.cancel(partition, &id).await.map_err(refusal)?;
        audit(call, "job.cancelled", &job);
        Reply::new(StatusCode::OK, JobReport::new(&job), Billing::Afterwards)
    }
}

fn refusal(error: ManageJobError) -> ApiError {
    match error {
        ManageJobError::NotFound => ApiError::not_found(),
        ManageJobError::NotFinished => {
            ApiError::new(ErrorCode::JobNotFinished, "The job has not ended; cancel it first")
        }
        ManageJobError::Port(error) => error.into(),
    }
}

fn audit(call: &Call, event: &'static str, job: &Job) {
    let Principal { partition, key_id, .. } = &call.principal;
    tracing::info!(audit = event, request_id = %call.request_id, tenant = %partition.tenant,
        environment = %partition.environment, key_id, job_id = %job.id(), job_type = job.job_type().as_str(),
        types = ResourceType::names(job.spec().resource_types()), records = job.progress().processed,
        total = job.progress().total, charged = job.charged(), status = job.state().name(), "job ended by its owner");
}
