//! Objects, whole and in parts.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};

use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::{Answer, State, parameter};

/// The most parts of one page of a list.
const MAX_PARTS: usize = 1_000;

#[derive(Default)]
pub(super) struct Objects {
    whole: HashMap<String, Object>,
    uploads: HashMap<String, BTreeMap<u32, Object>>,
    begun: u64,
}

/// An object, or a part of one.
struct Object {
    /// Without its quotes.
    etag: String,
    content: Bytes,
}

impl Object {
    fn new(content: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        hasher.write(&content);
        Self { etag: format!("{:016x}-{}", hasher.finish(), content.len()), content }
    }

    fn quoted_etag(&self) -> String {
        format!("\"{}\"", self.etag)
    }
}

/// What is asked, but for the method and the body.
pub(super) struct Request<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) range: Option<&'a str>,
    pub(super) if_match: Option<&'a str>,
    pub(super) copy_source: Option<&'a str>,
}

pub(super) fn answer(state: &mut State, method: &Method, request: &Request<'_>, body: Bytes) -> Answer {
    let Request { path, query, .. } = *request;
    let State { objects, stats, .. } = state;
    match (method, parameter(query, "uploadId")) {
        (&Method::POST, None) => {
            objects.begun += 1;
            let id = format!("upload-{}", objects.begun);
            objects.uploads.insert(id.clone(), BTreeMap::new());
            let tag = "InitiateMultipartUploadResult";
            xml(format!("<{tag}><Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId></{tag}>"))
        }
        (&Method::PUT, Some(upload)) => {
            let number = parameter(query, "partNumber").and_then(|number| number.parse().ok());
            let (Some(number), Some(parts)) = (number, objects.uploads.get_mut(upload)) else {
                return no_such_upload();
            };
            stats.parts += 1;
            // The service copies whole objects as parts, the peers send theirs.
            let Some(source) = request.copy_source.map(|source| format!("/{}", source.trim_start_matches('/'))) else {
                stats.bytes_stored += body.len();
                let part = Object::new(body);
                let answer = Answer::new("").header("etag", part.quoted_etag());
                parts.insert(number, part);
                return answer;
            };
            let Some(object) = objects.whole.get(&source) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
            let part = Object::new(object.content.clone());
            let etag = part.quoted_etag();
            parts.insert(number, part);
            xml(format!("<CopyPartResult><ETag>{etag}</ETag></CopyPartResult>"))
        }
        (&Method::GET, Some(upload)) => {
            stats.part_lists += 1;
            objects.uploads.get(upload).map_or_else(no_such_upload, |parts| list(parts, upload, query))
        }
        (&Method::POST, Some(upload)) => {
            let Some(parts) = objects.uploads.get(upload) else { return no_such_upload() };
            let Some(content) = assemble(parts, &String::from_utf8_lossy(&body)) else {
                return error(StatusCode::BAD_REQUEST, "InvalidPart");
            };
            objects.uploads.remove(upload);
            let object = Object::new(content);
            let (tag, etag) = ("CompleteMultipartUploadResult", object.quoted_etag());
            objects.whole.insert(path.to_owned(), object);
            xml(format!("<{tag}><Bucket>b</Bucket><Key>k</Key><ETag>{etag}</ETag></{tag}>"))
        }
        (&Method::DELETE, upload) => {
            upload.and_then(|upload| objects.uploads.remove(upload));
            Answer::new("").with_status(StatusCode::NO_CONTENT)
        }
        (&Method::PUT, None) => {
            stats.puts += 1;
            stats.bytes_stored += body.len();
            let object = Object::new(body);
            let answer = Answer::new("").header("etag", object.quoted_etag());
            objects.whole.insert(path.to_owned(), object);
            answer
        }
        _ => {
            let Some(object) = objects.whole.get(path) else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
            stats.gets += 1;
            read(object, request)
        }
    }
}

/// The object, or what of it follows a byte.
fn read(object: &Object, request: &Request<'_>) -> Answer {
    if request.if_match.is_some_and(|wanted| wanted.trim_matches('"') != object.etag) {
        return error(StatusCode::PRECONDITION_FAILED, "PreconditionFailed");
    }
    let size = object.content.len();
    let from = request.range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let from = from.unwrap_or(0);
    if from > 0 && from >= size {
        return error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    }
    let content = object.content.slice(from..);
    let length = content.len().to_string();
    let answer = Answer::new(content).header("etag", object.quoted_etag()).header("content-length", length);
    if from == 0 {
        return answer;
    }
    let last = size - 1;
    answer.header("content-range", format!("bytes {from}-{last}/{size}")).with_status(StatusCode::PARTIAL_CONTENT)
}

/// A page of an upload's parts, in the order of their numbers.
fn list(parts: &BTreeMap<u32, Object>, upload: &str, query: &str) -> Answer {
    let number = |name| parameter(query, name).and_then(|text| text.parse::<u32>().ok());
    let marker = number("part-number-marker").unwrap_or(0);
    let most = number("max-parts").and_then(|most| usize::try_from(most).ok()).unwrap_or(MAX_PARTS).min(MAX_PARTS);
    let mut left = parts.range(marker.saturating_add(1)..);
    let (mut listed, mut last) = (String::new(), marker);
    for (number, part) in left.by_ref().take(most) {
        // Writing to a String cannot fail.
        let _ = write!(
            listed,
            "<Part><PartNumber>{number}</PartNumber><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Part>",
            part.etag,
            part.content.len()
        );
        last = *number;
    }
    let is_truncated = left.next().is_some();
    xml(format!(
        "<ListPartsResult><Bucket>b</Bucket><Key>k</Key><UploadId>{upload}</UploadId>\
         <PartNumberMarker>{marker}</PartNumberMarker><NextPartNumberMarker>{last}</NextPartNumberMarker>\
         <MaxParts>{most}</MaxParts><IsTruncated>{is_truncated}</IsTruncated>{listed}</ListPartsResult>"
    ))
}

/// The content of exactly the parts that are listed, in that order; `None` when one is missing or another.
fn assemble(parts: &BTreeMap<u32, Object>, listed: &str) -> Option<Bytes> {
    let mut content = Vec::with_capacity(parts.values().map(|part| part.content.len()).sum());
    let mut last = 0;
    for part in listed.split("<Part>").skip(1) {
        let number = element(part, "PartNumber")?.parse::<u32>().ok().filter(|number| *number > last)?;
        let etag = element(part, "ETag")?.replace("&quot;", "").replace("&#34;", "");
        let part = parts.get(&number).filter(|part| part.etag == etag.trim_matches('"'))?;
        content.extend_from_slice(&part.content);
        last = number;
    }
    (last > 0).then(|| content.into())
}

/// The text of an element.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text)
}

fn xml(body: String) -> Answer {
    Answer::new(body).header("content-type", "application/xml")
}

fn error(status: StatusCode, code: &str) -> Answer {
    xml(format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>")).with_status(status)
}

fn no_such_upload() -> Answer {
    error(StatusCode::NOT_FOUND, "NoSuchUpload")
}
