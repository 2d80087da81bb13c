//! Files in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use model::{KeyPrefix, MultipartId, ObjectKey, Partition};
use ports::{
    Fetched, FileRemover, MultipartStore, ObjectHead, ObjectStore, PortError, SignedUrl, UploadError, UploadedPart,
    UrlSigner,
};

use super::{Memory, defect};

pub(super) struct Multipart {
    key: ObjectKey,
    /// Each with an ETag of its own, whatever its bytes: as S3 has it with KMS.
    parts: BTreeMap<u32, (String, Bytes)>,
}

/// The size of the chunks in which an object is read: odd, so that lines are cut anywhere.
const CHUNK: usize = 1_021;

fn etag_of(content: &[u8]) -> String {
    format!("{:08x}", crc32fast::hash(content))
}

fn check(partition: &Partition, key: &ObjectKey) -> Result<(), PortError> {
    if key.belongs_to(partition) { Ok(()) } else { Err(defect("reach object", "key of another partition")) }
}

#[async_trait]
impl ObjectStore for Memory {
    async fn put(&self, partition: &Partition, key: &ObjectKey, content: Bytes) -> Result<(), PortError> {
        check(partition, key)?;
        self.lock().objects.insert(key.clone(), content);
        Ok(())
    }

    async fn get(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        pinned: Option<&str>,
        from: u64,
    ) -> Result<Fetched, PortError> {
        check(partition, key)?;
        let Some(mut content) = self.object(key) else { return Ok(Fetched::Missing) };
        let etag = etag_of(&content);
        if pinned.is_some_and(|pinned| pinned != etag) {
            return Ok(Fetched::Changed);
        }
        let size = content.len() as u64;
        let content = content.split_off(usize::try_from(from).unwrap_or(usize::MAX).min(content.len()));
        // As a body from a network, it must not be asked again after its end.
        let chunks = stream::unfold(content, |mut rest| async move {
            (!rest.is_empty()).then(|| (Ok(rest.split_to(CHUNK.min(rest.len()))), rest))
        });
        Ok(Fetched::Content { etag, size, body: chunks.boxed() })
    }

    async fn head(&self, partition: &Partition, key: &ObjectKey) -> Result<Option<ObjectHead>, PortError> {
        check(partition, key)?;
        Ok(self.object(key).map(|content| ObjectHead { size: content.len() as u64, etag: etag_of(&content) }))
    }
}

#[async_trait]
impl MultipartStore for Memory {
    async fn begin(&self, partition: &Partition, key: &ObjectKey) -> Result<MultipartId, PortError> {
        check(partition, key)?;
        let mut state = self.lock();
        state.multiparts_begun += 1;
        let id = format!("multipart-{}", state.multiparts_begun);
        state.multiparts.insert(id.clone(), Multipart { key: key.clone(), parts: BTreeMap::new() });
        Ok(MultipartId(id))
    }

    async fn copy_part(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        number: u32,
        from: &ObjectKey,
    ) -> Result<(), UploadError> {
        check(partition, key)?;
        check(partition, from)?;
        let mut state = self.lock();
        let content = state.objects.get(from).cloned();
        state.copies += 1;
        let etag = format!("copy-{}", state.copies);
        let multipart = state.multiparts.get_mut(&upload.0).filter(|multipart| multipart.key == *key);
        let multipart = multipart.ok_or(UploadError::Ended)?;
        multipart.parts.insert(number, (etag, content.ok_or(UploadError::SourceMissing)?));
        Ok(())
    }

    async fn list_parts(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
    ) -> Result<Vec<UploadedPart>, UploadError> {
        check(partition, key)?;
        let state = self.lock();
        let multipart = state.multiparts.get(&upload.0).filter(|multipart| multipart.key == *key);
        let parts = multipart.ok_or(UploadError::Ended)?.parts.iter();
        Ok(parts.map(|(number, (etag, _))| UploadedPart { number: *number, etag: etag.clone() }).collect())
    }

    async fn complete(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        upload: &MultipartId,
        parts: &[UploadedPart],
        size: u64,
    ) -> Result<(), UploadError> {
        check(partition, key)?;
        let mut state = self.lock();
        let least_part = usize::try_from(state.least_part).unwrap_or(usize::MAX);
        let multipart = state.multiparts.get(&upload.0).filter(|multipart| multipart.key == *key);
        let multipart = multipart.ok_or(UploadError::Ended)?;
        if !parts.is_sorted_by(|a, b| a.number < b.number) {
            return Err(defect("complete upload", "parts are not in order").into());
        }
        let mut content = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let found = multipart.parts.get(&part.number).filter(|(etag, _)| part.etag == *etag);
            let (_, bytes) = found.ok_or(UploadError::InvalidPart)?;
            if bytes.len() < least_part && index + 1 < parts.len() {
                return Err(defect("complete upload", "part is too small").into());
            }
            content.extend_from_slice(bytes);
        }
        if content.len() as u64 != size {
            return Err(defect("complete upload", "size differs").into());
        }
        state.multiparts.remove(&upload.0);
        state.objects.insert(key.clone(), content.into());
        Ok(())
    }
}

#[async_trait]
impl FileRemover for Memory {
    async fn remove(&self, partition: &Partition, prefix: &KeyPrefix, keep: &[ObjectKey]) -> Result<u64, PortError> {
        if !prefix.belongs_to(partition) {
            return Err(defect("remove files", "prefix of another partition"));
        }
        let mut state = self.lock();
        let before = state.objects.len() + state.multiparts.len();
        state.objects.retain(|key, _| !key.as_str().starts_with(prefix.as_str()) || keep.contains(key));
        state.multiparts.retain(|_, multipart| !multipart.key.as_str().starts_with(prefix.as_str()));
        Ok((before - state.objects.len() - state.multiparts.len()) as u64)
    }
}

#[async_trait]
impl UrlSigner for Memory {
    async fn sign_upload(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        bytes: u64,
        _now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError> {
        check(partition, key)?;
        Ok(SignedUrl { url: format!("memory:///{}?bytes={bytes}&expires={until}", key.as_str()), expires_at: until })
    }

    async fn sign_download(
        &self,
        partition: &Partition,
        key: &ObjectKey,
        (file_name, media_type): (&str, &str),
        _now: Timestamp,
        until: Timestamp,
    ) -> Result<SignedUrl, PortError> {
        check(partition, key)?;
        let of_type = if media_type == "application/x-ndjson" { String::new() } else { format!("&type={media_type}") };
        let url = format!("memory:///{}?filename={file_name}{of_type}&expires={until}", key.as_str());
        Ok(SignedUrl { url, expires_at: until })
    }
}
