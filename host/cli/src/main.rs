//! plinth-cli
fn main() {}
