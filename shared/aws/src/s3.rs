//! Files in one bucket. Every call checks that the key is the partition's.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{Builder, StalledStreamProtectionConfig};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use model::{KeyPrefix, MultipartId, ObjectKey, Partition};
use ports::{
    Fetched, FileRemover, MultipartStore, ObjectHead, ObjectStore, PortError, SignedUrl, UploadError, UploadedPart,
    UrlSigner,
};

use crate::error::{NO_CODE, port_error, refusal, unreadable};

/// The media type of NDJSON.
const NDJSON: &str = "application/x-ndjson";

/// How long completing an upload may take: S3 may work on it for minutes, and sends spaces meanwhile
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).
const COMPLETE_TIMEOUT: Duration = Duration::from_mins(10);

/// How long copying a chunk may take.
const COPY_TIMEOUT: Duration = Duration::from_mins(2);

/// For calls that S3 may work on for long, and sends white space meanwhile: the SDK would take a silence of 5 s for a
/// broken connection. That is the time of all attempts together: a worker reserves no more of its own.
fn patient(timeout: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(timeout).operation_timeout(timeout).build();
    Builder::new().timeout_config(timeouts).stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

/// Files on S3.
pub struct S3Objects {
    pub(crate) client: Client,
    pub(crate) bucket: String,
}

/// How many bytes an object has, by the headers of an answer that begins with byte `from`; `None` when it begins
/// elsewhere.
fn whole_size(from: u64, content_range: Option<&str>, content_length: Option<i64>) -> Option<u64> {
    let Some(range) = content_range else {
        return content_length.filter(|_| from == 0).and_then(|length| u64::try_from(length).ok());
    };
    let (first, rest) = range.strip_prefix("bytes ")?.split_once('-')?;
    let (last, size) = rest.split_once('/')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first == from && last.checked_add(1) == Some(size)).then_some(size)
}

fn check(operation: &'static str, partition: &Partition, key: &ObjectKey) -> Result<(), PortError> {
    if key.belongs_to(partition) { Ok(()) } else { Err(unreadable(operation, "key of another partition")) }
}

/// A signature that works from now until then.
fn signing(
    operation: &'static str,
    now: Timestamp,
    until: Timestamp,
) -> Result<(PresigningConfig, Timestamp), PortError> {
    // S3 counts whole seconds.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let expires_at = Timestamp::from_second(until.as_second()).unwrap_or(until);
    let lifetime = SignedDuration::from_secs(expires_at.as_second() - now.as_second());
    let signing = PresigningConfig::builder()
        .start_time(SystemTime::from(now))
        .expires_in(Duration::try_from(lifetime).unwrap_or_default())
        .build()
        .map_err(|_| unreadable(operation, "request cannot be built"))?;
    Ok((signing, expires_at))
}

fn upload_error<E: ProvideErrorMetadata>(operation: &'static str, error: &SdkError<E>) -> UploadError {
    match error.code() {
        Some("NoSuchUpload") => UploadError::Ended,
        Some("NoSuchKey") => UploadError::SourceMissing,
        Some("InvalidPart") => UploadError::InvalidPart,
        _ => port_error(operation, error).into(),
    }
}

#[async_trait]
impl ObjectStore for S3Objects {
    async fn put(&self, partition: &Partition, key: &ObjectKey, content: Bytes) -> Result<(), PortError> {
        const OPERATION: &str = "write object";
        check(OPERATION, partition, key)?;
        let put = self.client.put_object().bucket(&self.bucket).key(key.as_str()).content_type(NDJSON);
        // S3 compares the checksum; a hash over every byte for the signature would say nothing new.
        let put = put.checksum_algorithm(ChecksumAlgorithm::Crc64Nvme).body(content.into()).customize();
        let sent = put.disable_payload_signing().send().await;
        sent.map(|_| ()).map_err(|error| port_error(OPERATION, &error))
    }

    async fn get(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        pinned: Option<&str>,
        from: u64,
    ) -> Result<Fetched, PortError> {
        const OPERATION: &str = "read object";
        check(OPERATION, partition, key)?;
        let get = self.client.get_object().bucket(&self.bucket).key(key.as_str());
        // A range of an empty object cannot be had.
        let range = (from > 0).then(|| format!("bytes={from}-"));
        match get.set_if_match(pinned.map(str::to_owned)).set_range(range).send().await {
            Ok(object) => {
                let size = whole_size(from, object.content_range.as_deref(), object.content_length)
                    .ok_or_else(|| PortError::unavailable(OPERATION, "answer has another range"))?;
                let etag = object.e_tag.ok_or_else(|| unreadable(OPERATION, "no ETag"))?;
                if pinned.is_some_and(|pinned| pinned != etag) {
                    return Err(PortError::unavailable(OPERATION, "answer has another ETag"));
                }
                let body = stream::unfold(Some(object.body), async |body| {
                    let mut body = body?;
                    match body.next().await? {
                        Ok(chunk) => Some((Ok(chunk), Some(body))),
                        Err(_) => Some((Err(PortError::unavailable(OPERATION, "connection broke")), None)),
                    }
                });
                Ok(Fetched::Content { etag, size, body: body.boxed() })
            }
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => Ok(Fetched::Missing),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(Fetched::Changed),
            Err(error) => Err(port_error(OPERATION, &error)),
        }
    }

    async fn head(&self, partition: &Partition, key: &ObjectKey) -> Result<Option<ObjectHead>, PortError> {
        const OPERATION: &str = "look at object";
        check(OPERATION, partition, key)?;
        match self.client.head_object().bucket(&self.bucket).key(key.as_str()).send().await {
            Ok(head) => {
                let size = u64::try_from(head.content_length().unwrap_or(0)).unwrap_or(0);
                let etag = head.e_tag.ok_or_else(|| unreadable(OPERATION, "no ETag"))?;
                Ok(Some(ObjectHead { size, etag }))
            }
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            Err(error) => Err(port_error(OPERATION, &error)),
        }
    }
}

#[async_trait]
impl MultipartStore for S3Objects {
    async fn begin(&self, partition: &Partition, key: &ObjectKey) -> Result<MultipartId, PortError> {
        const OPERATION: &str = "begin upload";
        check(OPERATION, partition, key)?;
        let begin = self.client.create_multipart_upload().bucket(&self.bucket).key(key.as_str());
        let begun = begin.content_type(NDJSON).send().await.map_err(|error| port_error(OPERATION, &error))?;
        begun.upload_id.map(MultipartId).ok_or_else(|| unreadable(OPERATION, "no upload id"))
    }

    async fn copy_part(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        number: u32,
        from: &ObjectKey,
    ) -> Result<(), UploadError> {
        const OPERATION: &str = "copy chunk";
        check(OPERATION, partition, key)?;
        check(OPERATION, partition, from)?;
        let copy = self
            .client
            .upload_part_copy()
            .bucket(&self.bucket)
            .key(key.as_str())
            .upload_id(&upload.0)
            .part_number(i32::try_from(number).unwrap_or(i32::MAX))
            // All characters of our keys stand for themselves in a URL.
            .copy_source(format!("{}/{}", self.bucket, from.as_str()));
        let copied = copy.customize().config_override(patient(COPY_TIMEOUT)).send().await;
        copied.map(|_| ()).map_err(|error| upload_error(OPERATION, &error))
    }

    async fn list_parts(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
    ) -> Result<Vec<UploadedPart>, UploadError> {
        const OPERATION: &str = "list parts";
        check(OPERATION, partition, key)?;
        let list = self.client.list_parts().bucket(&self.bucket).key(key.as_str()).upload_id(&upload.0);
        let mut pages = list.into_paginator().send();
        let mut parts = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(|error| upload_error(OPERATION, &error))? {
            for part in page.parts.unwrap_or_default() {
                let number = part.part_number.and_then(|number| u32::try_from(number).ok());
                let part = number.zip(part.e_tag).map(|(number, etag)| UploadedPart { number, etag });
                parts.push(part.ok_or_else(|| unreadable(OPERATION, "part cannot be read"))?);
            }
        }
        Ok(parts)
    }

    async fn complete(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<(), UploadError> {
        const OPERATION: &str = "complete upload";
        check(OPERATION, partition, key)?;
        let parts = parts.iter().map(|part| {
            let number = i32::try_from(part.number).unwrap_or(i32::MAX);
            CompletedPart::builder().part_number(number).e_tag(&part.etag).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let complete = self.client.complete_multipart_upload().bucket(&self.bucket).key(key.as_str());
        let complete = complete.upload_id(&upload.0).multipart_upload(parts);
        let complete = complete.mpu_object_size(i64::try_from(size).unwrap_or(i64::MAX));
        let complete = complete.customize().config_override(patient(COMPLETE_TIMEOUT));
        complete.send().await.map(|_| ()).map_err(|error| upload_error(OPERATION, &error))
    }
}

#[async_trait]
impl FileRemover for S3Objects {
    async fn remove(&self, partition: &Partition, prefix: &KeyPrefix, keep: &[ObjectKey]) -> Result<u64, PortError> {
        if !prefix.belongs_to(partition) {
            return Err(unreadable("remove files", "prefix of another partition"));
        }
        Ok(self.abort_all(prefix.as_str()).await? + self.delete_all(prefix.as_str(), keep).await?)
    }
}

impl S3Objects {
    /// Whether there is a file under this prefix.
    pub(crate) async fn has_any(&self, prefix: &KeyPrefix) -> Result<bool, PortError> {
        let list = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix.as_str()).max_keys(1);
        let found = list.send().await.map_err(|error| port_error("look for files", &error))?;
        Ok(!found.contents().is_empty())
    }

    async fn delete_all(&self, prefix: &str, keep: &[ObjectKey]) -> Result<u64, PortError> {
        const OPERATION: &str = "delete files";
        let is_kept = |key: &str| keep.iter().any(|kept| kept.as_str() == key);
        let mut pages = self.client.list_objects_v2().bucket(&self.bucket).prefix(prefix).into_paginator().send();
        let mut deleted = 0;
        while let Some(page) = pages.try_next().await.map_err(|error| port_error(OPERATION, &error))? {
            let keys = page.contents().iter().filter_map(|object| object.key()).filter(|key| !is_kept(key));
            let keys: Result<Vec<_>, _> = keys.map(|key| ObjectIdentifier::builder().key(key).build()).collect();
            let keys = keys.map_err(|_| unreadable(OPERATION, "request cannot be built"))?;
            if keys.is_empty() {
                continue;
            }
            deleted += keys.len() as u64;
            let delete = Delete::builder().set_objects(Some(keys)).quiet(true).build();
            let delete = delete.map_err(|_| unreadable(OPERATION, "request cannot be built"))?;
            let sent = self.client.delete_objects().bucket(&self.bucket).delete(delete).send().await;
            let sent = sent.map_err(|error| port_error(OPERATION, &error))?;
            if let Some(failed) = sent.errors().first() {
                return Err(refusal(OPERATION, failed.code().unwrap_or(NO_CODE), 200));
            }
        }
        Ok(deleted)
    }

    async fn abort_all(&self, prefix: &str) -> Result<u64, PortError> {
        const OPERATION: &str = "abort uploads";
        let (mut aborted, mut key_marker, mut id_marker) = (0, None, None);
        loop {
            let list = self.client.list_multipart_uploads().bucket(&self.bucket).prefix(prefix);
            let list = list.set_key_marker(key_marker).set_upload_id_marker(id_marker);
            let listed = list.send().await.map_err(|error| port_error(OPERATION, &error))?;
            for upload in listed.uploads() {
                let abort = self.client.abort_multipart_upload().bucket(&self.bucket);
                let abort = abort.set_key(upload.key.clone()).set_upload_id(upload.upload_id.clone());
                match abort.send().await {
                    Ok(_) => aborted += 1,
                    // Its worker was faster.
                    Err(error) if error.code() == Some("NoSuchUpload") => {}
                    Err(error) => return Err(port_error(OPERATION, &error)),
                }
            }
            // What was aborted may be listed for a while: go on after it.
            (key_marker, id_marker) = (listed.next_key_marker, listed.next_upload_id_marker);
            if listed.is_truncated != Some(true) || key_marker.is_none() {
                return Ok(aborted);
            }
        }
    }
}

#[async_trait]
impl UrlSigner for S3Objects {
    async fn sign_upload(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        bytes: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError> {
        const OPERATION: &str = "sign upload";
        check(OPERATION, partition, key)?;
        let (signing, expires_at) = signing(OPERATION, now, until)?;
        // The length is a signed header: S3 refuses any other. No content type, which clients choose as they like.
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        let put = self.client.put_object().bucket(&self.bucket).key(key.as_str()).content_length(length);
        let signed = put.presigned(signing).await.map_err(|error| port_error(OPERATION, &error))?;
        Ok(SignedUrl { url: signed.uri().to_owned(), expires_at })
    }

    async fn sign_download(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        (file_name, media_type): (&str, &str),
        now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError> {
        const OPERATION: &str = "sign download";
        check(OPERATION, partition, key)?;
        let (signing, expires_at) = signing(OPERATION, now, until)?;
        let signed = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(key.as_str())
            .response_content_type(media_type)
            .response_content_disposition(format!("attachment; filename=\"{file_name}\""))
            .presigned(signing)
            .await
            .map_err(|error| port_error(OPERATION, &error))?;
        Ok(SignedUrl { url: signed.uri().to_owned(), expires_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_of_the_range_that_was_asked_for() {
        assert_eq!(whole_size(0, None, Some(7)), Some(7));
        assert_eq!(whole_size(2, Some("bytes 2-6/7"), Some(5)), Some(7));
        for wrong in ["bytes 0-6/7", "bytes 3-6/7", "bytes 2-5/7", "bytes 2-6/*", "bytes */7", "2-6/7"] {
            assert_eq!(whole_size(2, Some(wrong), Some(5)), None, "{wrong}");
        }
        assert_eq!(whole_size(2, None, Some(7)), None, "the whole instead of a range");
    }
}
