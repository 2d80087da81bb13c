//! The lines of an export's files: as they are stored, or as FHIR resources. A function of the line alone, so that it does
//! not matter who goes on with a file.

use model::RecordFormat;
use ports::PortError;

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
        let (RecordFormat::Fhir { .. }, FileContent::OneType(of)) = (self.format, self.content) else {
            return Ok(line);
        };
        self.line.clear();
        fhir::write_fhir(of, line, &mut self.line)
            .map_err(|_| PortError::defect("write resource", "a stored line is no record"))?;
        Ok(&self.line)
    }
}

#[cfg(test)]
mod tests {
    use records::ResourceType;

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
        assert!(made(fhir, of_patients, "[]").is_err());
    }
}
