//! Objects, whole and in parts.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use hyper::{Method, StatusCode};

use super::{Answer, State, parameter};

#[derive(Default)]
pub(super) struct Objects {
    whole: HashMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
    begun: u64,
}

pub(super) fn answer(state: &mut State, method: &Method, path: &str, query: &str, body: Bytes) -> Answer {
    let objects = &mut state.objects;
    let upload = parameter(query, "uploadId").map(str::to_owned);
    match (method, upload) {
        (&Method::POST, None) => {
            objects.begun += 1;
            let id = format!("upload-{}", objects.begun);
            objects.uploads.insert(id.clone(), BTreeMap::new());
            let tag = "InitiateMultipartUploadResult";
            xml(format!("<{tag}><Bucket>b</Bucket><Key>k</Key><UploadId>{id}</UploadId></{tag}>"))
        }
        (&Method::PUT, Some(upload)) => {
            let number = parameter(query, "partNumber").and_then(|number| number.parse().ok());
            let (Some(number), Some(parts)) = (number, objects.uploads.get_mut(&upload)) else {
                return Answer::status(StatusCode::NOT_FOUND);
            };
            state.stats.parts += 1;
            state.stats.bytes_stored += body.len() as u64;
            let tag = format!("\"{number}-{}\"", body.len());
            parts.insert(number, body);
            Answer::new("").header("etag", tag)
        }
        (&Method::POST, Some(upload)) => {
            let Some(parts) = objects.uploads.remove(&upload) else { return Answer::status(StatusCode::NOT_FOUND) };
            let parts: Vec<_> = parts.into_values().collect();
            objects.whole.insert(path.to_owned(), parts.concat().into());
            let tag = "CompleteMultipartUploadResult";
            xml(format!("<{tag}><Bucket>b</Bucket><Key>k</Key><ETag>\"0\"</ETag></{tag}>"))
        }
        (&Method::DELETE, upload) => {
            upload.and_then(|upload| objects.uploads.remove(&upload));
            Answer::status(StatusCode::NO_CONTENT)
        }
        (&Method::PUT, None) => {
            state.stats.puts += 1;
            state.stats.bytes_stored += body.len() as u64;
            objects.whole.insert(path.to_owned(), body);
            Answer::new("").header("etag", "\"0\"")
        }
        _ => match objects.whole.get(path) {
            None => Answer::status(StatusCode::NOT_FOUND),
            Some(content) => {
                state.stats.gets += 1;
                let length = content.len().to_string();
                Answer::new(content.clone()).header("etag", "\"0\"").header("content-length", length)
            }
        },
    }
}

fn xml(body: String) -> Answer {
    Answer::new(body).header("content-type", "application/xml")
}
