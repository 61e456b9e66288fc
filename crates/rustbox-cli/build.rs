//! Tells the linker of a release which functions a run enters: see `cargo xtask layout`.
//!
//! `RUSTBOX_LAYOUT=off` leaves it out, for a linker that reads no scripts.

fn main() {
    println!("cargo::rerun-if-changed=layout.ld");
    println!("cargo::rerun-if-env-changed=RUSTBOX_LAYOUT");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let is_ours = is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu");
    if is_ours && !is("RUSTBOX_LAYOUT", "off") {
        let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{directory}/layout.ld");
    }
}
