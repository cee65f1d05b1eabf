//! leat.
fn main() {}
