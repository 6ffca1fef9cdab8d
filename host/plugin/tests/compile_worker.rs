//! The process that compiles components for the tests of this crate.

fn main() -> std::process::ExitCode {
    plinth_plugin::compile_worker()
}
