//! A map to begin with: which column is likely which field, and why. It shows no cell that could be a person's.

use std::collections::HashSet;
use std::io::Read;

use anyhow::Result;
use records::{ResourceType, Schema};

use super::check_text;
use super::fields::{Leaf, all_columns};
use super::headers::check_headers;
use super::rows::Rows;
use crate::names::{likeness, words};
use crate::unusable::unusable;

mod draft;
mod look;

use draft::{Draft, all_codes};
use look::{Look, Written, all_formats};

/// So many rows are looked at.
const ROWS: u64 = 100_000;
/// A guess is worth making from here on.
const LEAST: f64 = 0.82;

/// Reads a table, and writes a map for records of a type.
pub fn draft_map(reader: impl Read, delimiter: Option<u8>, resource_type: ResourceType) -> Result<String> {
    let schema = resource_type.schema()?;
    let mut rows = Rows::new(reader, delimiter, 0)?;
    let Some(line) = rows.next_row()? else { return Err(unusable("the file has no header")) };
    check_text(&rows.cells, line, None)?;
    let mut headers: Vec<_> =
        (0..rows.cells.len()).map(|at| String::from_utf8_lossy(rows.cells.get(at)).trim().to_owned()).collect();
    while headers.len() > 1 && headers.last().is_some_and(String::is_empty) {
        headers.pop();
    }
    check_headers(&headers, &|_| false).map_err(unusable)?;
    let mut looks: Vec<_> = headers.iter().map(|_| Look::new()).collect();
    let dates = all_formats();
    let mut count = 0;
    while count < ROWS
        && let Some(line) = rows.next_row()?
    {
        check_text(&rows.cells, line, Some(&headers))?;
        count += 1;
        for (at, look) in looks.iter_mut().enumerate() {
            look.see(String::from_utf8_lossy(rows.cells.get(at)).trim(), &dates);
        }
    }
    let guesses = guess(&schema, &headers, &looks);
    Ok(Draft { schema: &schema, headers: &headers, looks: &looks, guesses, count, codes: all_codes() }.write())
}

/// The field for each column, the likeliest pairs first; each field once.
fn guess(schema: &Schema, headers: &[String], looks: &[Look]) -> Vec<Option<(String, f64)>> {
    let fields = all_columns(schema);
    let of_type = words(schema.resource_type().as_str());
    let mut pairs = Vec::new();
    for (column, (header, look)) in headers.iter().zip(looks).enumerate() {
        let heading = words(header);
        for (at, field) in fields.iter().enumerate() {
            let mut like = if field == "id" { of_id(&heading, &of_type, look) } else { likeness(&heading, field) };
            // Cells that are all dates say more than a name.
            let is_date =
                Leaf::resolve(schema, field).is_ok_and(|leaf| matches!(leaf.format, Some("date" | "date-time")));
            if look.filled > 0 && is_date == (look.written() == Written::NoDates) {
                like -= 0.15;
            }
            if like > LEAST {
                pairs.push((like, column, at));
            }
        }
    }
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
    let mut guesses = vec![None; headers.len()];
    let mut taken = HashSet::new();
    for (like, column, field) in pairs {
        if let Some(guess) = guesses.get_mut(column).filter(|guess| guess.is_none())
            && taken.insert(field)
        {
            *guess = fields.get(field).map(|field| (field.clone(), like));
        }
    }
    guesses
}

/// How like a heading is to the record's own id: `ID`, `MRN` of patients, `Patient ID` in a file of patients.
fn of_id(heading: &[String], of_type: &[String], look: &Look) -> f64 {
    if heading == ["id"] {
        return 1.0;
    }
    if !look.could_be_id() {
        return 0.0;
    }
    let own = [of_type.concat(), "id".to_owned()].concat();
    match heading.concat().as_str() {
        "uuid" | "recordid" => 1.0,
        "mrn" if of_type == ["patient"] => 1.0,
        name if name == own => 0.99,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(text: &str) -> String {
        draft_map(text.as_bytes(), None, ResourceType::Patient).unwrap()
    }

    #[test]
    fn columns_are_guessed_by_name_and_by_what_their_cells_look_like() {
        let map = draft(
            "MRN;Last Name;FIRST;DOB;Sex;CITY;Shoe\n1;Doe;Jane;1/15/1990;F;Bonn;43\n2;Roe;Max;2/1/1985;M;Köln;44\n",
        );
        for line in [
            "\"MRN\" = \"id\"",
            "\"Last Name\" = \"lastName\"",
            "\"FIRST\" = \"firstName\"",
            "\"DOB\" = { to = \"birthDate\", format = \"%m/%d/%Y\" }",
            "\"Sex\" = { to = \"gender\", values = { \"F\" = \"female\", \"M\" = \"male\" } }",
            "\"CITY\" = \"address.city\"",
            "# \"Shoe\" = { drop = true }",
        ] {
            assert!(map.contains(line), "{line}:\n{map}");
        }
    }

    #[test]
    fn what_the_file_does_not_tell_is_left_to_whoever_knows() {
        let map = draft("lastName,DOB\nDoe,1/2/1990\n");
        assert!(map.contains("format = \"%m/%d/%Y\" or format = \"%d/%m/%Y\""), "{map}");
        // What is said of some cells is not said of the others.
        let mixed = draft("firstName,lastName,birthDate\nA,B,1990-01-15\nC,D,2/1/1990\n");
        assert!(mixed.contains("does not tell") && mixed.contains("%m/%d/%Y") && mixed.contains("%d/%m/%Y"), "{mixed}");
        assert!(map.contains("# \"firstName\" = "), "{map}");
        assert!(draft("firstName,lastName,birthDate\nA,B,1/15/90\n").contains("century"));
    }

    #[test]
    fn dates_in_several_formats_are_proposed_with_all_of_them() {
        let map = draft("firstName,lastName,DOB\nA,B,1990-01-15\nC,D,1/15/1990\nE,F,2/1/1990\nG,H,15-Jan-1990\n");
        let expected = "formats = [\"%Y-%m-%d\", \"%m/%d/%Y\", \"%d-%b-%Y\"] }  # by its name";
        assert!(map.contains(expected), "{map}");
        let none = draft("firstName,lastName,DOB\nA,B,1990-01-15\nC,D,soon\n");
        assert!(none.contains("not all dates"), "{none}");
        let midnight = draft("firstName,lastName,DOB\nA,B,1990-01-15 00:00\n");
        assert!(midnight.contains("format = \"%Y-%m-%d %H:%M\""), "{midnight}");
    }

    #[test]
    fn few_values_are_listed_where_they_are_codes() {
        let map = draft("firstName,lastName,VIP,Home Town,Ward\nA,B,Y,Bonn,12\nC,D,N,Köln,7\n");
        assert!(
            map.contains("; its values are \"N\", \"Y\"") && map.contains("; its values are \"12\", \"7\""),
            "{map}"
        );
        assert!(!map.contains("Bonn"), "{map}");
    }

    #[test]
    fn no_cell_that_could_be_a_name_is_shown() {
        let map = draft("firstName,lastName,gender,email\nAnn,Xyzzy,Xyzzy,plugh\nBob,Xyzzy,F,plugh\n");
        assert!(!map.contains("Xyzzy") && !map.contains("Ann") && !map.contains("plugh"), "{map}");
        assert!(map.contains("\"F\" = \"female\"") && map.contains("1 values more are not shown"), "{map}");
    }
}
