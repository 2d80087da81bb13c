//! The report of an import: one page that a clinic can file. No script, nothing from the network, no value of a
//! record.

use std::fmt::Write;

use fhir::LossLine;
use indicatif::HumanCount;
use records::ResourceType;
use transfer::{FhirPlan, Summary};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}code{font-size:.85rem;overflow-wrap:anywhere}\
.total{font-size:1.2rem}@media(max-width:40rem){body{margin:1rem auto}th,td{padding-right:.5rem}}@media print{body{margin:0}}";

/// The page.
pub(crate) fn html(summary: &Summary) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, summary);
    page
}

/// How it went, in a sentence.
fn verdict(summary: &Summary) -> String {
    match (summary.finished, summary.figures.rejected, summary.figures.open) {
        (true, 0, _) => "All records are stored.".to_owned(),
        (true, rejected, _) => {
            format!("Finished. {} records were rejected; the others are stored.", thousands(rejected))
        }
        (false, _, 0) => "Stopped.".to_owned(),
        (false, _, open) => format!("Not finished: {} records are neither stored nor rejected.", thousands(open)),
    }
}

fn write_page(page: &mut String, summary: &Summary) -> std::fmt::Result {
    let title =
        summary.label.as_ref().map_or_else(|| format!("Import {}", summary.run), |label| format!("Import: {label}"));
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n",
        title = text(&title),
    )?;
    writeln!(page, "<p class=\"total\">{}</p>", verdict(summary))?;
    writeln!(page, "<p>{}</p>", summary.figures.sum(thousands))?;
    if let Some(reason) = &summary.reason {
        writeln!(page, "<p>{}</p>", text(reason))?;
    }
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.0}"));
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut run = vec![
        row("Run", summary.run.clone()),
        row("Tenant", summary.owner.tenant_id.clone()),
        row("Environment", summary.owner.environment.clone()),
        row("Service", summary.owner.url.clone()),
    ];
    run.extend(summary.map.as_ref().map(|map| row("Map", map.display().to_string())));
    run.extend([
        row("Planned", time(Some(summary.planned_at))),
        row("First step", time(summary.started_at)),
        row("Last step", time(summary.ended_at)),
    ]);
    rows(page, "Run", &["", ""], run)?;
    let files = summary.files.iter().map(|file| {
        let [read, stored, rejected, left_out] = [file.read, file.stored, file.rejected, file.left_out].map(thousands);
        vec![file.file.clone(), read, stored, rejected, left_out, file.sha256.clone()]
    });
    rows(page, "Files", &["File", "#Read", "#Stored", "#Rejected", "#Left out", "SHA-256"], files)?;
    let violations = summary.violations.iter().map(|violation| {
        let resource_type = violation.resource_type.map(ResourceType::as_str).unwrap_or_default().to_owned();
        let column = violation.column.clone().unwrap_or_default();
        let (path, code) = (violation.path.clone(), violation.code.clone());
        vec![resource_type, column, path, code, thousands(violation.count)]
    });
    rows(page, "Violations", &["Type", "Column", "Field", "Rule", "#Count"], violations)?;
    if !summary.warnings.is_empty() {
        rows(page, "To look at", &[""], summary.warnings.iter().map(|warning| vec![warning.to_string()]))?;
    }
    if let Some(FhirPlan { unsupported, losses, unread, .. }) = &summary.fhir {
        let lost = losses.iter().map(|LossLine { resource_type, element, records, kept, modifier }| {
            let kept = if *kept { "kept in x-fhir" } else { "left out" };
            let meaning = if *modifier { "changes the meaning" } else { "" };
            vec![resource_type.to_string(), element.clone(), kept.to_owned(), meaning.to_owned(), thousands(*records)]
        });
        rows(page, "Elements of FHIR without a member", &["Type", "Element", "", "", "#Records"], lost)?;
        let without = unsupported.iter().map(|(name, count)| vec![name.clone(), thousands(*count)]);
        rows(page, "No records here for", &["Type", "#Resources"], without)?;
        rows(page, "Files that were not read", &[""], unread.iter().map(|file| vec![file.clone()]))?;
    }
    let jobs = summary.jobs.iter().map(|job| {
        let id = job.job_id.clone().unwrap_or_else(|| "–".to_owned());
        let state = match &job.reason {
            Some(reason) => format!("{}: {reason}", job.state),
            None => job.state.clone(),
        };
        let [records, stored, rejected] = [job.records, job.stored, job.rejected].map(thousands);
        vec![job.batch.to_string(), job.resource_type.to_string(), id, state, records, stored, rejected]
    });
    rows(page, "Jobs", &["#Batch", "Type", "Job", "State", "#Records", "#Stored", "#Rejected"], jobs)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// A number with commas between its thousands.
fn thousands(number: u64) -> String {
    HumanCount(number).to_string()
}

/// A table; a heading with `#` is of numbers.
fn rows(
    page: &mut String,
    title: &str,
    headings: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> std::fmt::Result {
    writeln!(page, "<h2>{title}</h2>")?;
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return writeln!(page, "<p>None.</p>");
    }
    let class = |column: usize| {
        if headings.get(column).is_some_and(|heading| heading.starts_with('#')) { " class=\"n\"" } else { "" }
    };
    page.push_str("<div class=\"wide\"><table>");
    if headings.iter().any(|heading| !heading.is_empty()) {
        page.push_str("<thead><tr>");
        for (column, heading) in headings.iter().enumerate() {
            write!(page, "<th{}>{}</th>", class(column), heading.trim_start_matches('#'))?;
        }
        page.push_str("</tr></thead>");
    }
    page.push_str("<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let long = cell.len() > 40;
            let (open, close) = if long { ("<code>", "</code>") } else { ("", "") };
            write!(page, "<td{}>{open}{}{close}</td>", class(column), text(cell))?;
        }
        page.push_str("</tr>\n");
    }
    writeln!(page, "</tbody></table></div>")
}

fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_by_their_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), text);
        }
    }
}
