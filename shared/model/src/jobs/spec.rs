//! What a job is about.

use std::slice;

use fhir::Unmapped;
use jiff::Timestamp;
use records::ResourceType;
use serde::{Deserialize, Serialize};

use crate::files::{Compression, ObjectKey};
use crate::job_type::JobType;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobSpec {
    /// Read NDJSON of one type into the record store.
    Import {
        resource_type: ResourceType,
        source: ImportSource,
        #[serde(default)]
        format: ImportFormat,
    },
    Export(ExportSpec),
}

/// Which records are written to which files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportSpec {
    /// The types asked for, each once.
    pub resource_types: Vec<ResourceType>,
    /// Only what was created or updated at this moment or later.
    pub since: Option<Timestamp>,
    pub files: FileLayout,
    pub compression: Compression,
    #[serde(default)]
    pub format: RecordFormat,
}

/// What the records of a job's files look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RecordFormat {
    /// The service's own flat JSON.
    #[default]
    Flat,
    /// FHIR R4 resources, made by this version of the mapping.
    Fhir { mapping_version: u32 },
}

/// What the lines of a batch are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ImportFormat {
    /// The service's own flat JSON.
    #[default]
    Flat,
    /// FHIR R4 resources, and what becomes of elements that the flat record has no member for. The mapping is that of when the
    /// job was started: a worker of another version goes on with its own.
    Fhir { unmapped: Unmapped, mapping_version: u32 },
}

impl RecordFormat {
    /// The media type of a file with such records.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Flat => "application/x-ndjson",
            // https://hl7.org/fhir/uv/bulkdata/export.html
            Self::Fhir { .. } => "application/fhir+ndjson",
        }
    }
}

/// How an export's records are spread over files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FileLayout {
    /// One file.
    #[default]
    Single,
    /// One file for each type that has records.
    PerType,
}

impl JobSpec {
    #[must_use]
    pub fn job_type(&self) -> JobType {
        match self {
            Self::Import { .. } => JobType::Import,
            Self::Export(_) => JobType::Export,
        }
    }

    /// The types it is about.
    #[must_use]
    pub fn resource_types(&self) -> &[ResourceType] {
        match self {
            Self::Import { resource_type, .. } => slice::from_ref(resource_type),
            Self::Export(spec) => &spec.resource_types,
        }
    }
}

/// Where the NDJSON of an import is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ImportSource {
    /// It came with the call: its lines are counted and reserved.
    Inline { key: ObjectKey },
    /// The client has uploaded it: a processor counts its records and reserves them in the month.
    Upload {
        key: ObjectKey,
        /// The content that was there when the job was accepted; no other is read.
        etag: String,
        /// The month's limit that its records must fit, if any refuses.
        month_limit: Option<u64>,
    },
}

impl ImportSource {
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Inline { key } | Self::Upload { key, .. } => key,
        }
    }
}
