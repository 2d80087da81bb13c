//! A map to begin with: which column is likely which field, and why. It shows no cell that could be a person's.

use std::collections::HashSet;
use std::io::Read;

use anyhow::Result;
use records::{ResourceType, Schema};
use sources::unusable;

use super::fields::{Leaf, all_columns};
use super::headers::check_headers;
use super::rows::Rows;
use super::{check_text, header_of};
use crate::headings::{likeness, words};

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
    let schema = resource_type.schema();
    let mut rows = Rows::new(reader, delimiter, 0)?;
    let headers = header_of(&mut rows)?;
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
