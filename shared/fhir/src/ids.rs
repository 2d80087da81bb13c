//! Ids: FHIR's know no underscore, and those of the service often have one.

use sha2::{Digest, Sha256};

use crate::primitive::is_id;

/// How an underscore is written.
const UNDERSCORE: &str = ".-";
/// How an id begins that cannot be written.
const HASHED: &str = "h-";

/// The id as FHIR takes it. What cannot be written is a hash, which nobody reads back.
#[must_use]
pub fn to_fhir(id: &str) -> String {
    let written = id.replace('_', UNDERSCORE);
    if is_id(&written) && !id.contains(UNDERSCORE) {
        return written;
    }
    let digest = base16ct::lower::encode_string(&Sha256::digest(id));
    format!("{HASHED}{}", digest.get(..60).unwrap_or_default())
}

/// The id that was written so.
#[must_use]
pub fn from_fhir(id: &str) -> String {
    id.replace(UNDERSCORE, "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_so_that_it_is_read_back_or_as_a_hash() {
        for id in ["a", "pat_k8f3", "A.b-9", "3f2b6c1e-8a54-4a1d-9f57-0c2d8a1b2c3d"] {
            assert_eq!(from_fhir(&to_fhir(id)), id);
        }
        for id in ["a.-b", &"h_".repeat(32), "Müller", ""] {
            let written = to_fhir(id);
            assert!(written.starts_with(HASHED) && written.len() == 62 && is_id(&written), "{id}");
            assert_eq!(to_fhir(&written), written, "a hash that comes back stays what it is");
        }
    }
}
