//! Records of several shapes, the same for the same number.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;

/// Writes the record of that number, as a client sends it.
pub type Shape = fn(usize) -> String;

/// The shapes by name: about 140 bytes, 730 bytes, 1.9 KB, 3.4 KB and 11.5 KB a record.
pub const SHAPES: [(&str, Shape); 5] = [
    ("flat-patient", flat_patient),
    ("observation", observation),
    ("contacts-patient", contacts_patient),
    ("note", note),
    ("long-note", long_note),
];

/// Shapes of single measurements: see their functions.
const SPECIAL_SHAPES: [(&str, Shape); 2] = [("observation-uuid", observation_uuid), ("grown-patient", grown_patient)];

/// The shape of that name.
#[must_use]
pub fn shape(name: &str) -> Option<Shape> {
    SHAPES.iter().chain(&SPECIAL_SHAPES).find(|(shape, _)| *shape == name).map(|(_, shape)| *shape)
}

/// The plain text that notes are made of; `#` stands for any digit.
const PROSE: &str = include_str!("prose.txt");

/// `SplitMix64`: the same seed, the same numbers, on every machine.
struct Random(u64);

impl Random {
    /// Of one shape and number.
    fn new(salt: u64, n: usize) -> Self {
        Self((salt << 48) ^ n as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % (bound.max(1) as u64)).unwrap_or(0)
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        let index = self.below(among.len());
        among.get(index).copied().unwrap_or_default()
    }

    fn digit(&mut self) -> char {
        char::from(b'0' + u8::try_from(self.below(10)).unwrap_or(0))
    }

    /// An id of 36 characters, in the form of a UUID.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.next(), self.next());
        let text = format!("{high:016x}{low:016x}");
        let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }
}

/// A patient of a few plain members.
#[must_use]
pub fn flat_patient(n: usize) -> String {
    format!(
        r#"{{"id":"pat-{n:07}","firstName":"Jane{n}","lastName":"Doe","gender":"female","birthDate":"1980-02-{:02}","phone":"+1 555 0100","maritalStatus":"M"}}"#,
        1 + n % 28
    )
}

/// A blood pressure with two components.
#[must_use]
pub fn observation(n: usize) -> String {
    observation_of(&format!("obs-{n:07}"), n)
}

/// The same with an id of 36 characters.
fn observation_uuid(n: usize) -> String {
    observation_of(&Random::new(1, n).uuid(), n)
}

fn observation_of(id: &str, n: usize) -> String {
    format!(
        r#"{{"id":"{id}","status":"final","code":{{"system":"http://loinc.org","code":"85354-9","display":"Blood pressure panel with all children optional"}},"patientId":"pat-{n:06}","encounterId":"enc-{n:06}","performerId":"prac-{:03}","effectiveDateTime":"2025-03-01T09:05:00Z","issued":"2025-03-01T09:06:30+01:00","component":[{{"code":{{"system":"http://loinc.org","code":"8480-6","display":"Systolic blood pressure"}},"valueQuantity":{{"value":{},"unit":"mmHg"}}}},{{"code":{{"system":"http://loinc.org","code":"8462-4","display":"Diastolic blood pressure"}},"valueQuantity":{{"value":{}.5,"unit":"mmHg"}}}}],"note":"measured at rest, seated, left arm, after five minutes of rest; cuff size adult, device calibrated"}}"#,
        n % 100,
        100 + n % 40,
        60 + n % 30
    )
}

const RELATIONSHIPS: [&str; 8] =
    ["mother", "father", "sister", "brother", "spouse", "daughter", "neighbour", "legal guardian"];

const FIRST_NAMES: [&str; 24] = [
    "Amara",
    "Bogdan",
    "Chidi",
    "Dolores",
    "Emeka",
    "Fatima",
    "Gustavo",
    "Hannah",
    "Ibrahim",
    "Jolanta",
    "Kwame",
    "Leonie",
    "Mateo",
    "Ngozi",
    "Oluwaseun",
    "Priya",
    "Quentin",
    "Rosalind",
    "Svetlana",
    "Thabo",
    "Uchenna",
    "Valerie",
    "Wanjiru",
    "Yusuf",
];

const LAST_NAMES: [&str; 24] = [
    "Abernathy",
    "Bhattacharya",
    "Castellanos",
    "Dlamini",
    "Eriksson",
    "Fitzgerald",
    "Gunawardena",
    "Holloway",
    "Iwobi",
    "Jankowski",
    "Kowalczyk",
    "Lindqvist",
    "Mbeki",
    "Nakamura",
    "Okonkwo",
    "Pellegrini",
    "Quispe",
    "Rasmussen",
    "Szymanski",
    "Tremblay",
    "Ugwu",
    "Villanueva",
    "Weatherby",
    "Zielinski",
];

const STREETS: [&str; 16] = [
    "Acacia Avenue",
    "Broad Street",
    "Chapel Lane",
    "Dock Road",
    "Elm Crescent",
    "Foundry Hill",
    "Garden Terrace",
    "Harbour View",
    "Ivy Close",
    "Junction Road",
    "King's Parade",
    "Linden Way",
    "Market Square",
    "North Quay",
    "Orchard Rise",
    "Priory Walk",
];

const CITIES: [(&str, &str); 12] = [
    ("Abilene", "TX"),
    ("Boise", "ID"),
    ("Chattanooga", "TN"),
    ("Duluth", "MN"),
    ("Eugene", "OR"),
    ("Fayetteville", "AR"),
    ("Grand Rapids", "MI"),
    ("Hartford", "CT"),
    ("Jacksonville", "FL"),
    ("Kalamazoo", "MI"),
    ("Laramie", "WY"),
    ("Montpelier", "VT"),
];

fn address(random: &mut Random) -> String {
    let city = random.below(CITIES.len());
    let (city, state) = CITIES.get(city).copied().unwrap_or_default();
    format!(
        r#"{{"line":["{} {}","Apartment {}"],"city":"{city}","state":"{state}","postalCode":"{:05}","country":"US"}}"#,
        1 + random.below(2_000),
        random.pick(&STREETS),
        1 + random.below(400),
        random.below(100_000),
    )
}

/// A patient with six contacts, no two alike.
#[must_use]
pub fn contacts_patient(n: usize) -> String {
    let mut random = Random::new(2, n);
    let mut line = format!(
        r#"{{"id":"fam-{n:07}","firstName":"{}","lastName":"{}","gender":"female","birthDate":"19{:02}-0{}-1{}","email":"patient{n}@example.org","maritalStatus":"M","address":{},"contact":["#,
        random.pick(&FIRST_NAMES),
        random.pick(&LAST_NAMES),
        20 + random.below(80),
        1 + random.below(9),
        random.digit(),
        address(&mut random),
    );
    for contact in 0..6 {
        let (first, last) = (random.pick(&FIRST_NAMES), random.pick(&LAST_NAMES));
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            r#"{}{{"relationship":"{}","firstName":"{first}","lastName":"{last}","phone":"+1 {:03} {:03} {:04}","email":"{}.{}{}@example.org","address":{}}}"#,
            if contact == 0 { "" } else { "," },
            random.pick(&RELATIONSHIPS),
            200 + random.below(800),
            random.below(1_000),
            random.below(10_000),
            first.to_lowercase(),
            last.to_lowercase(),
            random.below(1_000),
            address(&mut random),
        );
    }
    line.push_str("]}");
    line
}

/// A note of about 3.4 KB.
#[must_use]
pub fn note(n: usize) -> String {
    noted("note", n, &prose(&mut Random::new(3, n), 3_300))
}

/// A note of about 11.5 KB.
#[must_use]
pub fn long_note(n: usize) -> String {
    noted("long", n, &prose(&mut Random::new(4, n), 11_400))
}

/// The flat patient of that number, grown to as much as the store takes: 379 KB that hardly deflate.
fn grown_patient(n: usize) -> String {
    let mut random = Random::new(5, n);
    let mut text = String::with_capacity(379_000);
    while text.len() < 379_000 {
        // Printable, and no quote or backslash.
        let byte = b' ' + u8::try_from(random.below(95)).unwrap_or(0);
        if byte != b'"' && byte != b'\\' {
            text.push(char::from(byte));
        }
    }
    noted("pat", n, &text)
}

fn noted(kind: &str, n: usize, text: &str) -> String {
    format!(r#"{{"id":"{kind}-{n:07}","firstName":"Jane","lastName":"Doe","gender":"female","x-notes":"{text}"}}"#)
}

/// Every word of the prose, and the words that follow it there, as often as they do.
struct Chain {
    words: Vec<&'static str>,
    followers: BTreeMap<&'static str, Vec<&'static str>>,
}

fn chain() -> &'static Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| {
        let words: Vec<_> = PROSE.split_whitespace().collect();
        let mut followers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (word, follower) in words.iter().zip(words.iter().skip(1)) {
            followers.entry(*word).or_default().push(*follower);
        }
        Chain { words, followers }
    })
}

/// So many bytes of prose. Every second word begins anew with any word: followed closely, so short a text would
/// repeat itself, and deflate better than prose does. This deflates to 0.49 of 3 KB and 0.40 of 11 KB.
fn prose(random: &mut Random, bytes: usize) -> String {
    let Chain { words, followers } = chain();
    let mut text = String::with_capacity(bytes + 32);
    let mut word = random.pick(words);
    while text.len() < bytes {
        text.extend(word.chars().map(|letter| if letter == '#' { random.digit() } else { letter }));
        text.push(' ');
        word = match followers.get(word) {
            Some(followers) if random.below(2) == 0 => random.pick(followers),
            _ => random.pick(words),
        };
    }
    text
}
