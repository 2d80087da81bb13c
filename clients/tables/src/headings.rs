//! Headings, and the fields that they mean.

use sources::most_like;

/// The field that a heading most likely means: `CITY` and `address_city` are `address.city`.
pub(crate) fn nearest_field<'a>(heading: &str, fields: &'a [String]) -> Option<&'a str> {
    let heading = words(heading);
    most_like(0.82, fields.iter().map(|field| (likeness(&heading, field), field.as_str())))
}

/// What headings are called for short.
const SHORT: [(&str, &str); 17] = [
    ("mrn", "patientid"),
    ("pid", "patientid"),
    ("patno", "patientid"),
    ("patnr", "patientid"),
    ("patientnumber", "patientid"),
    ("dob", "birthdate"),
    ("dateofbirth", "birthdate"),
    ("sex", "gender"),
    ("fname", "firstname"),
    ("givenname", "firstname"),
    ("lname", "lastname"),
    ("surname", "lastname"),
    ("familyname", "lastname"),
    ("zip", "postalcode"),
    ("zipcode", "postalcode"),
    ("town", "city"),
    ("mail", "email"),
];

/// How like a heading is to a field, from 0 to 1. The last part of a path says what the field is, and its parents what it is
/// of: a heading that names only the last part is like it, less so below a list, whose entries are somebody else's.
pub(crate) fn likeness(heading: &[String], field: &str) -> f64 {
    let written = heading.concat();
    let known = SHORT.iter().find(|(short, _)| *short == written);
    let heading_text = known.map_or(written, |(_, long)| (*long).to_owned());
    let parts: Vec<String> = field.split('.').map(|part| words(part).concat()).collect();
    if heading_text == parts.concat() {
        return 1.0;
    }
    let whole = strsim::jaro_winkler(&heading_text, &parts.concat());
    let Some(last) = parts.last().filter(|last| last.len() > 2) else { return whole };
    let of_list = field.contains('[') && !field.ends_with(']');
    let is_named = heading_text == *last;
    let ends_so = heading.len() > 1 && heading.last() == Some(last);
    let like = match (is_named, ends_so, parts.len()) {
        (true, _, 2..) if of_list => 0.85,
        (true, _, 2..) => 0.97,
        // Whose it is, the words before it say: perhaps another one's.
        (_, true, 1) => 0.83,
        _ => 0.0,
    };
    // What is only like the whole path, and not its last part, is another field.
    let whole = if parts.len() > 1 && of_list { whole - 0.1 } else { whole };
    whole.max(like)
}

/// The words of a name in small letters: of `patientId`, `PATIENT_ID`, `patient id` and `address[0].city`.
pub(crate) fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in name.chars() {
        if c.is_alphabetic() {
            let is_new = !before.is_alphabetic() || (c.is_uppercase() && before.is_lowercase());
            match words.last_mut().filter(|_| !is_new) {
                Some(word) => word.extend(c.to_lowercase()),
                None => words.push(c.to_lowercase().collect()),
            }
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use records::ResourceType;

    #[test]
    fn a_heading_leads_to_the_field_that_it_means() {
        let schema = ResourceType::Patient.schema();
        let fields = crate::all_columns(&schema);
        for (heading, field) in [
            ("CITY", "address.city"),
            ("address_city", "address.city"),
            ("birthdate", "birthDate"),
            ("BIRTH_DATE", "birthDate"),
            ("First", "firstName"),
            ("last name", "lastName"),
            ("E-Mail", "email"),
        ] {
            assert_eq!(nearest_field(heading, &fields), Some(field), "{heading}");
        }
        for heading in ["shoe", "Status", "Mother Name", "Doctor Email"] {
            let near = nearest_field(heading, &fields);
            assert!(near.is_none_or(|near| near == "email"), "{heading}: {near:?}");
        }
    }
}
