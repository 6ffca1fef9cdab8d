//! plinth-xtask
fn main() {}
