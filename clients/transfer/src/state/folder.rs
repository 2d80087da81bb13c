//! The state folder: all that a run knows, for its owner alone.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use records::ResourceType;
use serde_json::Value;
use sources::{unpacked_name, unusable};

use crate::fingerprint::Fingerprint;

/// What a plan and its reports are kept in.
const INNER: [&str; 3] = ["batches", "results", "held"];
/// Rejected rows of tables as they came.
const ROWS: &str = "rejected-rows";

/// Methods for the files and folders that have one place each.
macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident: $path:literal,)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> PathBuf {
                self.path.join($path)
            }
        )*
    };
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
}

impl StateFolder {
    /// A new folder. One that exists must be empty, or of a run that has sent nothing: the new run takes its place.
    pub fn create(path: &Path) -> Result<Self> {
        let folder = Self { path: files::absolute(path)? };
        if path.exists() {
            let mut entries = std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))?;
            let may_be_ours = || Self::open(path).is_ok_and(|folder| folder.is_of_a_run() && folder.has_sent_nothing());
            if entries.next().is_some() && !may_be_ours() {
                return Err(unusable(format!("{} is not empty; resume it, or name another folder", path.display())));
            }
        }
        let is_new = !folder.path.exists();
        files::create_private_folder(&folder.path)?;
        // A share may know no modes: nothing can be made more private there.
        if !is_new && !files::is_private(&folder.path)? && files::knows_modes(&folder.path) {
            return Err(unusable(format!("others may look into {}: run chmod 700 on it", path.display())));
        }
        Ok(folder)
    }

    /// The folder of an earlier run.
    pub fn open(path: &Path) -> Result<Self> {
        let folder = Self { path: std::path::absolute(path).context("find the state folder")? };
        if !folder.request().is_file() {
            return Err(unusable(format!("{} is not a state folder", path.display())));
        }
        Ok(folder)
    }

    /// Whether nothing of the run was sent: a step is written down before it is taken. A journal that is missing beside a
    /// plan is no proof.
    fn has_sent_nothing(&self) -> bool {
        match std::fs::metadata(self.journal()) {
            Ok(journal) => journal.len() == 0 && !self.summary().exists(),
            Err(_) => !self.plan().exists() && !self.summary().exists(),
        }
    }

    /// Whether `run.json` is what this version writes for an import: other programs have files of that name, too.
    fn is_of_a_run(&self) -> bool {
        let request: Value = files::read_json(&self.request()).unwrap_or_default();
        let has = |name: &str| request.get(name).is_some();
        request.get("version").and_then(Value::as_u64) == Some(crate::VERSION.into()) && has("run") && has("sources")
    }

    /// Whether a new run may take the place of the one that is here: nothing was sent of it, and what it has read can be
    /// read again by the new one. What came from a pipe, and records that were repaired, are nowhere else.
    fn gives_way_to(&self, new: &Value) -> bool {
        let old: Value = files::read_json(&self.request()).unwrap_or_default();
        let paths = |request: &Value| -> Vec<String> {
            let sources = request.get("sources").and_then(Value::as_array).into_iter().flatten();
            let mut paths: Vec<_> =
                sources.filter_map(|source| source.get("path")?.as_str().map(str::to_owned)).collect();
            paths.sort();
            paths
        };
        let is_read_once = |path: &String| !Path::new(path).is_file();
        let is_same = paths(&old) == paths(new) && !paths(&old).iter().any(is_read_once);
        let is_retry = old.get("retryOf").is_some_and(|of| !of.is_null());
        self.is_of_a_run() && self.has_sent_nothing() && !is_retry && (is_same || !self.plan().exists())
    }

    /// Begins a run in it, under its lock. Whoever had it before may have begun to send meanwhile.
    pub fn begin(&self, request: &impl serde::Serialize) -> Result<()> {
        if self.request().exists() && !self.gives_way_to(&serde_json::to_value(request)?) {
            return Err(unusable(format!("{} is not empty; resume it, or name another folder", self.path.display())));
        }
        // In this order: what is left when the process dies in between is a run that has sent nothing.
        files::remove(&self.journal())?;
        self.clear()?;
        files::write_json(&self.request(), request)
    }

    /// The rejected lines of the run, as they were: held back, or reported.
    pub(crate) fn rejected_lines(&self) -> Result<HashSet<Fingerprint>> {
        let mut lines = HashSet::new();
        for (inner, end) in [("held", ".records.ndjson"), ("results", ".rejected.ndjson")] {
            for path in files::entries(&self.path.join(inner))? {
                if !path.to_string_lossy().ends_with(end) {
                    continue;
                }
                let file = std::fs::File::open(&path).with_context(|| format!("open {}", path.display()))?;
                for line in BufReader::new(file).split(b'\n') {
                    lines.insert(Fingerprint::of_json(&line.with_context(|| format!("read {}", path.display()))?));
                }
            }
        }
        Ok(lines)
    }

    /// Where the rejected rows of a table go: under its own name, if it is the first of that name, else with its number before.
    pub(crate) fn rejected_rows(&self, source: usize, path: &Path) -> Result<PathBuf> {
        let folder = self.path.join(ROWS);
        files::create_private_folder(&folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = unpacked_name(&name);
        let mut name = if name == "-" { "stdin.csv" } else { name }.to_owned();
        let is_taken = |target: &Path| target.exists() || files::partial(target).exists();
        // Another table may be called as this one with its number.
        while is_taken(&folder.join(&name)) {
            name = format!("{}-{name}", source + 1);
        }
        Ok(folder.join(name))
    }

    /// The files of rejected rows.
    pub fn all_rejected_rows(&self) -> Result<Vec<PathBuf>> {
        let folder = self.path.join(ROWS);
        if folder.exists() { files::entries(&folder) } else { Ok(Vec::new()) }
    }

    /// Throws away what an earlier plan has left: a new one begins in empty folders.
    pub(crate) fn clear(&self) -> Result<()> {
        for path in [self.plan(), self.refused(), self.unsupported()] {
            files::remove(&path)?;
        }
        if self.path.join(ROWS).exists() {
            std::fs::remove_dir_all(self.path.join(ROWS)).context("empty the state folder")?;
        }
        for inner in INNER {
            let path = self.path.join(inner);
            match std::fs::remove_dir_all(&path) {
                // The folder is new, or the process died in between.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("empty {}", path.display()))?,
            }
            files::create_private_folder(&path)?;
        }
        Ok(())
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    paths! {
        request: "run.json",
        plan: "plan.json",
        journal: "journal.ndjson",
        /// What was made of the rejected records, once they were imported again.
        retried: "retried.json",
        summary: "summary.json",
        report: "report.html",
        errors: "errors.ndjson",
        ids: "ids.ndjson",
        /// Rejected records of a run with one type.
        rejected: "rejected.ndjson",
        /// Rejected records of a run with several types: one file for each.
        rejected_folder: "rejected",
        /// The hashes of the files of rejected records that are being written, until the summary tells them.
        rejected_sums: "rejected.json",
        /// FHIR's resources that were refused, as they came.
        refused: "refused.ndjson",
        /// FHIR's resources of types that have no records, as they came.
        unsupported: "unsupported.ndjson",
        /// What is wrong with both.
        refusals: "held/refused.violations.ndjson",
    }

    #[must_use]
    pub fn rejected_of(&self, resource_type: ResourceType) -> PathBuf {
        self.rejected_folder().join(format!("{resource_type}.ndjson"))
    }

    /// A batch's records, compressed.
    #[must_use]
    pub fn batch(&self, number: usize) -> PathBuf {
        self.path.join("batches").join(format!("{number:04}.ndjson.gz"))
    }

    /// Where a batch's lines come from.
    #[must_use]
    pub fn lines(&self, number: usize) -> PathBuf {
        self.path.join("batches").join(format!("{number:04}.lines.json"))
    }

    /// What the service reported on a batch: `results`, `errors` or `rejected`.
    #[must_use]
    pub fn reported(&self, number: usize, report: &str) -> PathBuf {
        self.path.join("results").join(format!("{number:04}.{report}.ndjson"))
    }

    /// Records that were never sent: `records` or `violations`.
    #[must_use]
    pub fn held(&self, resource_type: ResourceType, part: &str) -> PathBuf {
        self.path.join("held").join(format!("{resource_type}.{part}.ndjson"))
    }
}
