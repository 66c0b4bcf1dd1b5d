//! Makes the program smaller where the linker can: pages of it are most of a router's memory.

/// Relocations in their packed form, 0.6 MB of them otherwise read at each start: needs glibc 2.36
/// where the program runs, and a linker that knows them, as Rust's own on this platform does.
const OPTIONS: [&str; 2] = ["-Wl,-z,pack-relative-relocs", "-Wl,--icf=all"];

#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts by environment"
)]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("TARGET").as_deref() == Ok("x86_64-unknown-linux-gnu") {
        for option in OPTIONS {
            println!("cargo::rustc-link-arg-bins={option}");
        }
    }
}
