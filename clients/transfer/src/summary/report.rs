//! The report of an import: one page that a clinic can file. No script, nothing from the network, no value of a
//! record.

use std::fmt::Write;

use super::Summary;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #ddd;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}code{font-size:.85rem;overflow-wrap:anywhere}\
.total{font-size:1.2rem}@media print{body{margin:0}}";

/// The page.
pub(super) fn html(summary: &Summary) -> String {
    let mut page = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(&mut page, summary);
    page
}

fn write_page(page: &mut String, summary: &Summary) -> std::fmt::Result {
    let state = match (summary.finished, summary.open) {
        (true, _) => "finished",
        (false, 0) => "stopped",
        (false, _) => "not finished",
    };
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>Import {run}</title><style>{STYLE}</style></head><body>\n<h1>Import {run}: {state}</h1>\n",
        run = text(&summary.run),
    )?;
    writeln!(page, "<p class=\"total\">{}</p>", summary.figures())?;
    if let Some(reason) = &summary.reason {
        writeln!(page, "<p>{}</p>", text(reason))?;
    }
    let time = |time: Option<jiff::Timestamp>| time.map_or_else(|| "–".to_owned(), |time| format!("{time:.0}"));
    rows(
        page,
        "Run",
        &["", ""],
        &[
            vec!["Service".to_owned(), summary.url.clone()],
            vec!["Environment".to_owned(), summary.environment.clone()],
            vec!["Planned".to_owned(), time(Some(summary.planned_at))],
            vec!["First step".to_owned(), time(summary.started_at)],
            vec!["Last step".to_owned(), time(summary.ended_at)],
        ],
    )?;
    let files: Vec<_> = summary
        .files
        .iter()
        .map(|file| {
            vec![
                file.file.clone(),
                file.read.to_string(),
                file.stored.to_string(),
                file.rejected.to_string(),
                file.sha256.clone(),
            ]
        })
        .collect();
    rows(page, "Files", &["File", "#Read", "#Stored", "#Rejected", "SHA-256"], &files)?;
    let violations: Vec<_> = summary
        .violations
        .iter()
        .map(|violation| {
            vec![
                violation.resource_type.to_string(),
                violation.code.clone(),
                violation.path.clone(),
                violation.count.to_string(),
            ]
        })
        .collect();
    rows(page, "Violations", &["Type", "Code", "Path", "#Count"], &violations)?;
    let jobs: Vec<_> = summary
        .jobs
        .iter()
        .map(|job| {
            let id = job.job_id.clone().unwrap_or_else(|| "–".to_owned());
            let state = match &job.reason {
                Some(reason) => format!("{}: {reason}", job.state),
                None => job.state.clone(),
            };
            vec![
                job.batch.to_string(),
                job.resource_type.to_string(),
                id,
                state,
                job.records.to_string(),
                job.stored.to_string(),
                job.rejected.to_string(),
            ]
        })
        .collect();
    rows(page, "Jobs", &["#Batch", "Type", "Job", "State", "#Records", "#Stored", "#Rejected"], &jobs)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// A table; a heading with `#` is of numbers.
fn rows(page: &mut String, title: &str, headings: &[&str], rows: &[Vec<String>]) -> std::fmt::Result {
    writeln!(page, "<h2>{title}</h2>")?;
    if rows.is_empty() {
        return writeln!(page, "<p>None.</p>");
    }
    let class = |column: usize| {
        if headings.get(column).is_some_and(|heading| heading.starts_with('#')) { " class=\"n\"" } else { "" }
    };
    page.push_str("<table>");
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
    writeln!(page, "</tbody></table>")
}

fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
