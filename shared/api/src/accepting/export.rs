//! Starting exports.

use async_trait::async_trait;
use model::{ExportSpec, JobId, JobSpec, Label, Principal};
use ports::PortError;

use super::{AcceptJobError, Accepted, Draft, Drafter, Idempotency, JobAcceptor};

/// A valid call for an export.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    pub spec: ExportSpec,
    pub label: Option<Label>,
    pub idempotency: Idempotency,
}

/// Starts exports.
pub struct ExportStarter {
    pub acceptor: JobAcceptor,
}

impl ExportStarter {
    pub async fn start(&self, who: &Principal, request: &ExportRequest) -> Result<Accepted, AcceptJobError> {
        self.acceptor.accept(who, &request.idempotency, request).await
    }
}

#[async_trait]
impl Drafter for ExportRequest {
    async fn draft(&self, _job_id: &JobId, _month_limit: Option<u64>) -> Result<Draft, AcceptJobError> {
        let (spec, label) = (JobSpec::Export(self.spec.clone()), self.label.clone());
        Ok(Draft { spec, label, total: 0, requests: 1, upload: None })
    }

    async fn store_source(&self, _job_id: &JobId) -> Result<(), PortError> {
        Ok(())
    }
}
