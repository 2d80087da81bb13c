//! The lines of an export's files: as they are stored, or as FHIR resources. A function of the line alone, so that it does
//! not matter who goes on with a file.

use fhir::NotJson;
use model::RecordFormat;
use ports::PortError;
use records::ResourceType;
use serde_json::value::RawValue;

use super::plan::FileContent;

/// Makes the lines of a file.
pub(super) struct Formatter {
    format: RecordFormat,
    content: FileContent,
    line: Vec<u8>,
}

impl Formatter {
    pub(super) fn new(format: RecordFormat, content: FileContent) -> Self {
        Self { format, content, line: Vec::new() }
    }

    /// The line of the file for a line that was read.
    pub(super) fn format<'a>(&'a mut self, line: &'a [u8]) -> Result<&'a [u8], PortError> {
        self.line.clear();
        let made = match (self.format, self.content) {
            (RecordFormat::Flat, _) | (RecordFormat::Fhir { .. }, FileContent::AllTypes) => return Ok(line),
            (RecordFormat::Fhir { .. }, FileContent::OneType(resource_type)) => {
                fhir::write_fhir(resource_type, line, &mut self.line)
            }
            (RecordFormat::Fhir { .. }, FileContent::Deletions) => deletion(line, &mut self.line),
        };
        made.map_err(|_| PortError::defect("write resource", "a stored line is no record"))?;
        Ok(&self.line)
    }
}

/// A deletion with the id that the resource had.
fn deletion(line: &[u8], out: &mut Vec<u8>) -> Result<(), NotJson> {
    #[derive(serde::Deserialize, serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Deletion<'a> {
        resource_type: ResourceType,
        id: String,
        #[serde(borrow)]
        deleted_at: &'a RawValue,
    }
    let deletion: Deletion<'_> = serde_json::from_slice(line).map_err(|_| NotJson)?;
    let deletion = Deletion { id: fhir::id_to_fhir(&deletion.id), ..deletion };
    serde_json::to_writer(out, &deletion).map_err(|_| NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_the_file_holds() {
        let fhir = RecordFormat::Fhir { mapping_version: fhir::MAPPING_VERSION };
        let made = |format, content, line: &str| {
            let mut formatter = Formatter::new(format, content);
            formatter.format(line.as_bytes()).map(|line| String::from_utf8(line.to_vec()).unwrap())
        };
        let patient = r#"{"resourceType":"Patient","id":"a_b","firstName":"Jane","lastName":"Doe"}"#;
        let of_patients = FileContent::OneType(ResourceType::Patient);
        assert_eq!(made(RecordFormat::Flat, of_patients, patient).unwrap(), patient);
        let resource = made(fhir, of_patients, patient).unwrap();
        assert!(
            resource.starts_with(r#"{"resourceType":"Patient","id":"a.-b""#) && resource.contains("\"family\":\"Doe\""),
            "{resource}"
        );
        let deletion = r#"{"resourceType":"Patient","id":"a_b","deletedAt":"2026-01-01T00:00:00.000Z"}"#;
        assert_eq!(made(fhir, FileContent::Deletions, deletion).unwrap(), deletion.replace("a_b", "a.-b"));
        assert!(made(fhir, of_patients, "[]").is_err());
    }
}
