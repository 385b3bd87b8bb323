//! Tells the crate that it is being modelled.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(manila_shuttle)");
    println!("cargo::rustc-cfg=manila_shuttle");
    println!("cargo::rerun-if-changed=build.rs");
}
