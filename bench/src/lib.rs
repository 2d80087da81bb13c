//! Records of three shapes, the same for the same number.

/// Writes the record of that number, as a client sends it.
pub type Shape = fn(usize) -> String;

/// The shapes by name: about 140 bytes, 730 bytes and 2.6 KB a record.
pub const SHAPES: [(&str, Shape); 3] =
    [("flat-patient", flat_patient), ("observation", observation), ("rich-patient", rich_patient)];

/// A patient of a few plain members.
#[must_use]
pub fn flat_patient(n: usize) -> String {
    format!(
        r#"{{"id":"pat-{n:07}","firstName":"Jane{n}","lastName":"Doe","gender":"female","birthDate":"1980-02-{:02}","phone":"+1 555 0100","maritalStatus":"M"}}"#,
        1 + n % 28
    )
}

/// A blood pressure with two components.
#[must_use]
pub fn observation(n: usize) -> String {
    format!(
        r#"{{"id":"obs-{n:07}","status":"final","code":{{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure panel with all children optional"}},"patientId":"pat-{n:06}","encounterId":"enc-{n:06}","performerId":"prac-{:03}","effectiveDateTime":"2025-03-01T09:05:00Z","issued":"2025-03-01T09:06:30+01:00","component":[{{"code":{{"system":"http://loinc.org","code":"8480-6","display":"Systolic blood pressure"}},"valueQuantity":{{"value":{},"unit":"mmHg"}}}},{{"code":{{"system":"http://loinc.org","code":"8462-4","display":"Diastolic blood pressure"}},"valueQuantity":{{"value":{}.5,"unit":"mmHg"}}}}],"note":"measured at rest, seated, left arm, after five minutes of rest; cuff size adult, device calibrated"}}"#,
        n % 100,
        100 + n % 40,
        60 + n % 30
    )
}

/// A patient with six contacts, their addresses and a long note.
#[must_use]
pub fn rich_patient(n: usize) -> String {
    let contacts: Vec<_> = (0..6)
        .map(|c| format!(
            r#"{{"relationship":"next of kin","firstName":"Contact{c}","lastName":"Doe\u00e9","phone":"+1 555 01{c:02}","email":"contact{c}@example.org","address":{{"line":["{c} Example Street","Apartment {n}"],"city":"Springfield","state":"IL","postalCode":"62701","country":"US"}}}}"#
        ))
        .collect();
    format!(
        r#"{{"id":"rich-{n:07}","firstName":"Jane","lastName":"Doe","gender":"female","birthDate":"1980-02-28","email":"jane{n}@example.org","languages":[{{"language":"en","preferred":true}},{{"language":"de"}}],"contact":[{}],"x-notes":"{}"}}"#,
        contacts.join(","),
        "plain words of a longer note, as people write them. ".repeat(16)
    )
}
