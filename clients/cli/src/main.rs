//! `clinik-bulk`: the command line of the bulk API's users. Over HTTP only.

fn main() {}
