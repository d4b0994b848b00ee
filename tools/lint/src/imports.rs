//! The crate import table: which of our crates may depend on which, and the check that they keep to it.
//!
//! The table is the architecture (see `ARCHITECTURE.md`): data flows one way and siblings never meet. It holds for
//! `[dependencies]` and `[build-dependencies]`, on every target; `[dev-dependencies]` may name `testkit` as well.
//! Dependencies on other people's crates are not this check's matter.

use crate::Finding;
use crate::tree::TextFile;
use toml::{Table, Value};

/// What a crate may import of ours.
enum Allowed {
    /// Exactly these packages.
    Only(&'static [&'static str]),
    /// Any of our packages.
    Any,
}
use Allowed::{Any, Only};

/// The import table. A crate that is not in it does not pass.
const TABLE: &[(&str, Allowed)] = &[
    ("kiln-block", Only(&[])),
    ("kiln-disk-format", Only(&["kiln-block"])),
    ("kiln-guest", Only(&["kiln-block"])),
    ("kiln-chunk-store", Only(&["kiln-block"])),
    ("kiln-nbd", Only(&["kiln-block"])),
    ("kiln-qemu", Only(&[])),
    ("kiln-transfer", Only(&[])),
    ("kiln-notify", Only(&[])),
    ("kiln-object-signature", Only(&[])),
    ("kiln-model", Only(&["kiln-block"])),
    ("kiln-catalog", Only(&["kiln-model"])),
    (
        "kiln-service",
        Only(&[
            "kiln-block",
            "kiln-disk-format",
            "kiln-guest",
            "kiln-chunk-store",
            "kiln-nbd",
            "kiln-qemu",
            "kiln-transfer",
            "kiln-notify",
            "kiln-model",
            "kiln-catalog",
            "kiln-object-signature",
        ]),
    ),
    ("kiln-tencent-api", Only(&["kiln-service", "kiln-model"])),
    ("kiln-object-api", Only(&["kiln-service", "kiln-model", "kiln-object-signature"])),
    ("kiln", Any),
    ("kiln-testkit", Any),
    ("kiln-lint", Only(&[])),
];

/// For tests only: no crate but another test crate may build it into a product.
const TESTKIT: &str = "kiln-testkit";

/// Compares the manifests of the repository's crates with the table.
pub(crate) fn check(manifests: &[TextFile]) -> Vec<Finding> {
    manifests.iter().flat_map(check_manifest).collect()
}

fn check_manifest(file: &TextFile) -> Vec<Finding> {
    let finding = |line, advice| Finding { path: file.path.clone(), line, rule: "import", advice };
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![finding(1, format!("this is not TOML: {}", error.message()))],
    };
    let package = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    let Some(package) = package else {
        return vec![finding(1, "name the package ([package] name)".to_owned())];
    };
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == package) else {
        let advice = format!("give {package} a row in the import table of tools/lint/src/imports.rs");
        return vec![finding(1, advice)];
    };
    let refused =
        dependencies(&manifest).into_iter().filter(|(section, import)| !may(allowed, *section, import));
    refused
        .map(|(section, import)| finding(line_of(&file.text, &import), advice(package, section, &import)))
        .collect()
}

/// For whom a dependency is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    /// Into the crate, or to build it.
    Product,
    /// Into its tests.
    Tests,
}

fn may(allowed: &Allowed, section: Section, import: &str) -> bool {
    if import == TESTKIT {
        return section == Section::Tests;
    }
    match allowed {
        Any => true,
        Only(packages) => packages.contains(&import),
    }
}

fn advice(package: &str, section: Section, import: &str) -> String {
    if import == TESTKIT && section == Section::Product {
        return format!("{TESTKIT} is for tests: move it to [dev-dependencies]");
    }
    format!(
        "{package} may not import {import}: move what it needs to where the table allows it, or pass it in"
    )
}

/// Every dependency on a package of ours.
fn dependencies(manifest: &Table) -> Vec<(Section, String)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let places = std::iter::once(manifest).chain(targets.filter_map(Value::as_table));
    let mut found = Vec::new();
    for place in places {
        for (name, section) in [
            ("dependencies", Section::Product),
            ("build-dependencies", Section::Product),
            ("dev-dependencies", Section::Tests),
        ] {
            let entries = place.get(name).and_then(Value::as_table).into_iter().flatten();
            let packages = entries.map(|(key, value)| package_name(key, value));
            found.extend(packages.filter(|package| is_ours(package)).map(|package| (section, package)));
        }
    }
    found
}

/// The package behind a dependency, which may go by another name here.
fn package_name(key: &str, value: &Value) -> String {
    value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned()
}

fn is_ours(package: &str) -> bool {
    package == "kiln" || package.starts_with("kiln-")
}

/// The line that names the dependency: in a manifest the name stands at a line's start or in its section's header.
fn line_of(text: &str, import: &str) -> usize {
    let names = |line: &str| {
        let after = line.trim_start().strip_prefix(import);
        let starts = after.is_some_and(|rest| rest.starts_with([' ', '.', '=', '\t']));
        starts || line.contains(&format!("dependencies.{import}]")) || line.contains(&format!("\"{import}\""))
    };
    text.lines().position(names).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Vec<(usize, String)> {
        let file = TextFile { path: "crates/x/Cargo.toml".into(), text: text.to_owned() };
        check(&[file]).into_iter().map(|finding| (finding.line, finding.advice)).collect()
    }

    fn manifest(package: &str, rest: &str) -> String {
        format!("[package]\nname = \"{package}\"\n{rest}\n")
    }

    #[test]
    fn what_the_table_allows_passes() {
        for (package, rest) in [
            ("kiln-nbd", "[dependencies]\nkiln-block.workspace = true\ntokio = \"1\""),
            ("kiln-nbd", "[dev-dependencies]\nkiln-testkit.workspace = true"),
            ("kiln", "[dependencies]\nkiln-nbd.workspace = true\nkiln-catalog.workspace = true"),
            ("kiln-tencent-api", "[dependencies]\nkiln-model.workspace = true"),
        ] {
            assert_eq!(check_text(&manifest(package, rest)), [], "{package}: {rest}");
        }
    }

    #[test]
    fn what_it_does_not_allow_is_found_in_every_place_and_spelling() {
        for rest in [
            "[dependencies]\nkiln-model.workspace = true",
            "[dependencies]\nkiln-model = { path = \"../model\" }",
            "[dependencies.kiln-model]\nworkspace = true",
            "[dependencies]\nnouns = { package = \"kiln-model\", path = \"../model\" }",
            "[build-dependencies]\nkiln-model.workspace = true",
            "[dev-dependencies]\nkiln-model.workspace = true",
            "[target.'cfg(unix)'.dependencies]\nkiln-model.workspace = true",
            "[dependencies]\nkiln.workspace = true",
        ] {
            let found = check_text(&manifest("kiln-nbd", rest));
            assert_eq!(found.len(), 1, "{rest}: {found:?}");
            assert!(found[0].0 >= 3, "{rest}: line {}", found[0].0);
            assert!(found[0].1.starts_with("kiln-nbd may not import kiln"), "{rest}: {}", found[0].1);
        }
    }

    #[test]
    fn testkit_is_for_tests_even_where_anything_may_be_imported() {
        let found = check_text(&manifest("kiln", "[dependencies]\nkiln-testkit.workspace = true"));
        assert_eq!(found, [(4, "kiln-testkit is for tests: move it to [dev-dependencies]".to_owned())]);
    }

    #[test]
    fn an_unknown_crate_and_a_broken_manifest_do_not_pass() {
        assert!(check_text(&manifest("kiln-new", ""))[0].1.contains("a row in the import table"));
        assert!(check_text("[package\n")[0].1.contains("not TOML"));
        assert_eq!(check_text("[workspace]\n").len(), 1);
    }

    #[test]
    fn every_name_in_the_table_has_a_row() {
        for (package, allowed) in TABLE {
            if let Only(imports) = allowed {
                for import in *imports {
                    assert!(
                        TABLE.iter().any(|(name, _)| name == import),
                        "{package} imports unknown {import}"
                    );
                }
            }
        }
    }
}
