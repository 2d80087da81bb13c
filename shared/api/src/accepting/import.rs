//! Starting imports.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::{
    ImportFormat, ImportSource, JobId, JobSpec, Label, MAX_UPLOAD_BYTES, ObjectKey, Principal, Upload, UploadId,
};
use ports::{ObjectHead, ObjectStore, PortError};
use records::ResourceType;

use super::{AcceptJobError, Accepted, Draft, Drafter, Idempotency, JobAcceptor};

/// A valid call for an import.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The type of every record.
    pub resource_type: ResourceType,
    pub data: ImportData,
    pub format: ImportFormat,
    pub label: Option<Label>,
    pub idempotency: Idempotency,
}

/// The NDJSON to import.
#[derive(Debug, Clone)]
pub enum ImportData {
    /// It came with the call, and has so many lines.
    Inline { ndjson: Bytes, lines: u64 },
    /// It was uploaded before.
    Upload(UploadId),
}

/// Starts imports.
pub struct ImportStarter {
    pub acceptor: JobAcceptor,
    /// Where the NDJSON goes, or was uploaded to.
    pub objects: Arc<dyn ObjectStore>,
}

impl ImportStarter {
    pub async fn start(&self, who: &Principal, request: &ImportRequest) -> Result<Accepted, AcceptJobError> {
        self.acceptor.accept(who, &request.idempotency, &ImportDrafter { starter: self, who, request }).await
    }

    /// What has been uploaded.
    async fn check_upload(&self, who: &Principal, upload: &UploadId) -> Result<ObjectHead, AcceptJobError> {
        match self.acceptor.usage.upload(&who.partition, upload).await? {
            None => return Err(AcceptJobError::UploadUnknown),
            Some(Upload { used_by: Some(job), .. }) => return Err(AcceptJobError::UploadUsed(job)),
            Some(known) if known.expires_at <= self.acceptor.clock.now() => return Err(AcceptJobError::UploadExpired),
            Some(_) => {}
        }
        let head = self.objects.head(&who.partition, &ObjectKey::upload(&who.partition, upload)).await?;
        match head {
            None | Some(ObjectHead { size: 0, .. }) => Err(AcceptJobError::UploadEmpty),
            Some(head) if head.size > MAX_UPLOAD_BYTES => Err(AcceptJobError::UploadTooLarge),
            Some(head) => Ok(head),
        }
    }
}

struct ImportDrafter<'a> {
    starter: &'a ImportStarter,
    who: &'a Principal,
    request: &'a ImportRequest,
}

#[async_trait]
impl Drafter for ImportDrafter<'_> {
    async fn draft(&self, job_id: &JobId, month_limit: Option<u64>) -> Result<Draft, AcceptJobError> {
        let (who, ImportRequest { resource_type, data, format, label, .. }) = (self.who, self.request);
        let (resource_type, format, label) = (*resource_type, *format, label.clone());
        match data {
            ImportData::Inline { lines, .. } => {
                let source = ImportSource::Inline { key: ObjectKey::import(&who.partition, job_id) };
                let spec = JobSpec::Import { resource_type, source, format };
                Ok(Draft { spec, label, total: *lines, requests: *lines, upload: None })
            }
            ImportData::Upload(upload) => {
                let ObjectHead { etag, .. } = self.starter.check_upload(who, upload).await?;
                let key = ObjectKey::upload(&who.partition, upload);
                let source = ImportSource::Upload { key, etag, month_limit };
                let spec = JobSpec::Import { resource_type, source, format };
                Ok(Draft { spec, label, total: 0, requests: 0, upload: Some(upload.clone()) })
            }
        }
    }

    /// Puts the NDJSON where the processor finds it. What a refused call leaves there goes with the bucket's
    /// lifecycle.
    async fn store_source(&self, job_id: &JobId) -> Result<(), PortError> {
        match &self.request.data {
            ImportData::Inline { ndjson, .. } => {
                let key = ObjectKey::import(&self.who.partition, job_id);
                self.starter.objects.put(&self.who.partition, &key, ndjson.clone()).await
            }
            ImportData::Upload(_) => Ok(()),
        }
    }
}
