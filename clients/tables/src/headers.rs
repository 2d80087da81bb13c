//! What a first line must be to be a header.

/// Each column has a name, and no two have the same. What is no name is not shown: where there are none, the first line holds
/// a record.
pub(super) fn check_headers(headers: &[String], is_known: &dyn Fn(&str) -> bool) -> Result<(), String> {
    for (at, header) in headers.iter().enumerate() {
        if is_data(header) && !is_known(header) {
            return Err(format!(
                "column {} of the first line looks like data and not like a heading: the file needs a line with the names of its \
                 columns",
                at + 1
            ));
        }
        if header.is_empty() {
            return Err(format!("column {} has no header", at + 1));
        }
        if headers.iter().take(at).any(|earlier| earlier == header) {
            return Err(format!("column \"{header}\" is there twice"));
        }
    }
    Ok(())
}

/// Whether a text is a date, a number or an address rather than the name of a column.
fn is_data(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let others = text.bytes().filter(|byte| !byte.is_ascii_digit() && !b"-/.:, +T".contains(byte)).count();
    (digits > 2 && others == 0) || (text.contains('@') && text.contains('.'))
}
