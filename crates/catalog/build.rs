//! Rebuilds the crate when a migration is added: the compiler does not see that the macro reads the directory.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
