//! Items and requests as they stand in the JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The attributes of records and change items.
pub(super) const NAMES: [&str; 7] = ["pk", "sk", "t", "b", "z", "n", "e"];

/// An item as it came.
pub(super) struct Item {
    pub(super) raw: Box<str>,
    /// Where in it the values of [`NAMES`] stand; empty for those that it does not have.
    pub(super) values: [Range<usize>; NAMES.len()],
    /// Names and values, as DynamoDB counts them.
    pub(super) size: usize,
}

impl Item {
    pub(super) fn new(raw: &RawValue) -> Option<Self> {
        let raw = raw.get();
        let attributes: Attributes<'_> = serde_json::from_str(raw).ok()?;
        let found = attributes.values();
        let values = found.map(|value| {
            value.map_or(0..0, |value| {
                let start = value.as_ptr() as usize - raw.as_ptr() as usize;
                start..start + value.len()
            })
        });
        let size = if attributes.b.is_some() || attributes.z.is_some() {
            NAMES.iter().zip(found).filter_map(|(name, value)| Some(name.len() + size_of(value?))).sum()
        } else {
            // Items of maps, and others whose units nobody counts: about as much.
            raw.len() * 4 / 5
        };
        Some(Self { raw: raw.into(), values, size })
    }

    pub(super) fn value(&self, index: usize) -> Option<&str> {
        self.raw.get(self.values.get(index)?.clone()).filter(|value| !value.is_empty())
    }

    pub(super) fn is_change(&self) -> bool {
        NAMES.iter().position(|name| *name == "n").and_then(|index| self.value(index)).is_some()
    }

    /// Appends the item, or what is projected of it.
    pub(super) fn write(&self, projection: Option<&[usize]>, text: &mut String) {
        let Some(projection) = projection else {
            text.push_str(&self.raw);
            return;
        };
        let mut separator = '{';
        for index in projection {
            if let (Some(name), Some(value)) = (NAMES.get(*index), self.value(*index)) {
                text.push(separator);
                // Writing to a String cannot fail.
                let _ = write!(text, r#""{name}":{value}"#);
                separator = ',';
            }
        }
        text.push_str(if separator == '{' { "{}" } else { "}" });
    }
}

/// The values of [`NAMES`], types included.
#[derive(Deserialize)]
pub(super) struct Attributes<'a> {
    #[serde(borrow)]
    pub(super) pk: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) sk: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) t: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) b: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) z: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) n: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) e: Option<&'a RawValue>,
}

impl<'a> Attributes<'a> {
    pub(super) fn values(&self) -> [Option<&'a str>; NAMES.len()] {
        [self.pk, self.sk, self.t, self.b, self.z, self.n, self.e].map(|value| value.map(RawValue::get))
    }
}

/// A value of one of the three types that records have, as it stands in the JSON.
#[derive(Deserialize)]
pub(super) struct Scalar<'a> {
    #[serde(rename = "S", borrow)]
    pub(super) text: Option<&'a RawValue>,
    #[serde(rename = "N", borrow)]
    pub(super) number: Option<&'a RawValue>,
    #[serde(rename = "B", borrow)]
    pub(super) binary: Option<&'a RawValue>,
}

/// What a value counts
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>).
pub(super) fn size_of(value: &str) -> usize {
    let Ok(scalar) = serde_json::from_str::<Scalar<'_>>(value) else { return value.len() };
    let inner = |raw: &RawValue| raw.get().trim_matches('"').len();
    match scalar {
        Scalar { text: Some(text), .. } => text_length(text.get()),
        Scalar { number: Some(number), .. } => inner(number).div_ceil(2) + 1,
        Scalar { binary: Some(binary), .. } => {
            let padding = binary.get().bytes().filter(|byte| *byte == b'=').count();
            inner(binary) / 4 * 3 - padding
        }
        Scalar { .. } => value.len(),
    }
}

/// The UTF-8 length of a JSON string without its quotes and escapes.
pub(super) fn text_length(quoted: &str) -> usize {
    let mut bytes = quoted.bytes();
    let mut length = 0;
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && bytes.next() == Some(b'u') {
            let digits = bytes.by_ref().take(4);
            let code = digits.fold(0, |code, digit| code * 16 + char::from(digit).to_digit(16).unwrap_or(0));
            length += match code {
                0..0x80 => 1,
                // Two halves of a pair make four bytes.
                0x80..0x800 | 0xD800..=0xDFFF => 2,
                _ => 3,
            };
        } else {
            length += 1;
        }
    }
    length - 2
}

#[derive(Default, Deserialize)]
pub(super) struct Text<'a> {
    #[serde(rename = "S", borrow)]
    pub(super) text: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct Keys<'a> {
    #[serde(borrow)]
    pub(super) pk: Text<'a>,
    #[serde(borrow, default)]
    pub(super) sk: Text<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Put<'a> {
    #[serde(borrow)]
    pub(super) item: &'a RawValue,
    pub(super) table_name: Option<String>,
    #[serde(default)]
    pub(super) expression_attribute_values: Value,
}

impl Put<'_> {
    pub(super) fn keys(&self) -> Option<Keys<'_>> {
        serde_json::from_str(self.item.get()).ok()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct WriteRequest<'a> {
    #[serde(borrow)]
    pub(super) put_request: Put<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchWrite<'a> {
    #[serde(borrow)]
    pub(super) request_items: HashMap<String, Vec<WriteRequest<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Transaction<'a> {
    #[serde(borrow)]
    pub(super) transact_items: Vec<TransactItem<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TransactItem<'a> {
    #[serde(borrow)]
    pub(super) put: Option<Put<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Get<'a> {
    pub(super) table_name: String,
    #[serde(borrow)]
    pub(super) key: Keys<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchGet<'a> {
    #[serde(borrow)]
    pub(super) request_items: HashMap<String, Wanted<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Wanted<'a> {
    #[serde(borrow)]
    pub(super) keys: Vec<&'a RawValue>,
    pub(super) projection_expression: Option<String>,
    #[serde(default)]
    pub(super) consistent_read: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Query<'a> {
    pub(super) table_name: String,
    pub(super) select: Option<String>,
    pub(super) projection_expression: Option<String>,
    #[serde(default)]
    pub(super) consistent_read: bool,
    pub(super) scan_index_forward: Option<bool>,
    pub(super) limit: Option<usize>,
    #[serde(borrow)]
    pub(super) expression_attribute_values: HashMap<String, Text<'a>>,
    #[serde(borrow)]
    pub(super) exclusive_start_key: Option<Keys<'a>>,
}
