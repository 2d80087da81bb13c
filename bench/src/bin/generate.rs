//! Writes NDJSON to standard output: `generate <shape> <first> <count>`.

use std::io::{BufWriter, Error, Write};

fn main() -> Result<(), Error> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let shape = arguments.first().and_then(|name| bench::shape(name));
    let number = |index: usize| arguments.get(index).and_then(|text| text.parse::<usize>().ok());
    let (Some(shape), Some(first), Some(count)) = (shape, number(1), number(2)) else {
        return Err(Error::other("usage: generate <a name of SHAPES> <first> <count>"));
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    for number in first..first + count {
        writeln!(out, "{}", shape(number))?;
    }
    out.flush()
}
