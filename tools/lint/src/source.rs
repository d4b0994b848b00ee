//! Rules on Rust source: module docs, function length, file length, no marks of unfinished work.
//!
//! Length rules hold for what is built into the product. Tests are anything behind `#[cfg(test)]` or `#[test]`,
//! modules that are declared so in another file, and everything under a `tests` directory; the other rules hold for
//! them too. A function's length is counted from its `fn` line to its closing brace, with what it contains.

use crate::tree::TextFile;
use crate::{Finding, marks};
use proc_macro2::Span;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, Meta, Token, punctuated::Punctuated};

/// The longest function outside tests, in lines.
const FUNCTION_LINES_MAX: usize = 70;
/// The longest file without its tests, in lines.
const FILE_LINES_MAX: usize = 500;
/// Beyond this many lines a file has several subjects, and shortening it is no way out.
const FILE_LINES_NEVER: usize = 800;

/// Checks every source file.
pub(crate) fn check(files: &[TextFile]) -> Vec<Finding> {
    let parsed: Vec<(&TextFile, syn::Result<syn::File>)> =
        files.iter().map(|file| (file, syn::parse_file(&file.text))).collect();
    let test_modules: BTreeSet<PathBuf> = parsed
        .iter()
        .filter_map(|(file, syntax)| Some((file, syntax.as_ref().ok()?)))
        .flat_map(|(file, syntax)| test_modules_elsewhere(&file.path, syntax))
        .collect();
    let check_one = |(file, syntax): &(&TextFile, syn::Result<syn::File>)| {
        check_file(file, syntax, is_test_file(&file.path, &test_modules))
    };
    parsed.iter().flat_map(check_one).collect()
}

fn check_file(file: &TextFile, syntax: &syn::Result<syn::File>, is_test: bool) -> Vec<Finding> {
    let finding = |line, rule, advice: String| Finding { path: file.path.clone(), line, rule, advice };
    let mut findings = Vec::new();
    if !file.text.starts_with("//!") {
        let advice = "begin the file with `//!`: what it is, what it is not, its invariants";
        findings.push(finding(1, "module docs", advice.to_owned()));
    }
    let syntax = match syntax {
        Ok(syntax) => syntax,
        Err(error) => {
            findings.push(finding(error.span().start().line, "syntax", error.to_string()));
            return findings;
        }
    };
    let tokens = file.text.parse().unwrap_or_default();
    let found = marks::find(&file.text, tokens);
    findings.extend(found.into_iter().map(|(line, advice)| finding(line, "unfinished work", advice)));
    if is_test || has_test_attribute(&syntax.attrs) {
        return findings;
    }
    let measured = measure(syntax);
    findings.extend(
        measured.long_functions.into_iter().map(|(line, advice)| finding(line, "function length", advice)),
    );
    let file_lines = file.text.lines().count().saturating_sub(measured.test_lines);
    if let Some(advice) = file_length_advice(file_lines) {
        findings.push(finding(1, "file length", advice));
    }
    findings
}

fn file_length_advice(lines: usize) -> Option<String> {
    if lines > FILE_LINES_NEVER {
        return Some(format!(
            "{lines} lines without tests, never over {FILE_LINES_NEVER}: it has several subjects, make them modules"
        ));
    }
    (lines > FILE_LINES_MAX).then(|| {
        format!(
            "{lines} lines without tests, at most {FILE_LINES_MAX}: cut it where the names become obvious"
        )
    })
}

/// What a walk through a file's syntax measures.
#[derive(Default)]
struct Measured {
    /// Line and advice of every function that is too long.
    long_functions: Vec<(usize, String)>,
    /// How many lines of the file belong to tests.
    test_lines: usize,
}

fn measure(syntax: &syn::File) -> Measured {
    let mut measured = Measured::default();
    measured.visit_file(syntax);
    measured
}

impl Measured {
    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let lines = body.span().end().line + 1 - first;
        if lines > FUNCTION_LINES_MAX {
            let name = &signature.ident;
            let advice = format!(
                "`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}: give its parts names of their own"
            );
            self.long_functions.push((first, advice));
        }
    }

    /// Whether the item is a test; its lines, attributes included, are then counted as such.
    fn skips_test(&mut self, attributes: &[Attribute], whole: Span) -> bool {
        let is_test = has_test_attribute(attributes);
        if is_test {
            self.test_lines += whole.end().line + 1 - whole.start().line;
        }
        is_test
    }
}

impl<'ast> Visit<'ast> for Measured {
    fn visit_item(&mut self, item: &'ast Item) {
        if !self.skips_test(item_attributes(item), item.span()) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !self.skips_test(&item.attrs, item.span()) {
            self.function(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[test]`, `#[tokio::test]` and their like, and `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn has_test_attribute(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        if attribute.path().is_ident("cfg") {
            return attribute.parse_args::<Meta>().is_ok_and(|condition| holds_only_in_tests(&condition));
        }
        attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
    })
}

fn holds_only_in_tests(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(holds_only_in_tests)),
        _ => false,
    }
}

/// The files that `#[cfg(test)] mod name;` in the file at `path` can mean, and the directory of their own modules.
fn test_modules_elsewhere(path: &Path, syntax: &syn::File) -> Vec<PathBuf> {
    let owner = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "main" | "mod") | None => path.parent().map(Path::to_path_buf),
        Some(stem) => path.parent().map(|parent| parent.join(stem)),
    };
    let declared = syntax.items.iter().filter_map(|item| match item {
        Item::Mod(module) if module.content.is_none() && has_test_attribute(&module.attrs) => {
            Some(&module.ident)
        }
        _ => None,
    });
    let owner = owner.unwrap_or_default();
    declared.map(|name| owner.join(name.to_string())).collect()
}

fn is_test_file(path: &Path, test_modules: &BTreeSet<PathBuf>) -> bool {
    path.components().any(|component| component.as_os_str() == "tests")
        || path.with_extension("").ancestors().any(|ancestor| test_modules.contains(ancestor))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule and line of every finding in files given as (path, text); each text gets its `//!` line.
    fn findings(files: &[(&str, String)]) -> Vec<(String, &'static str, usize)> {
        let files: Vec<TextFile> = files
            .iter()
            .map(|(path, text)| TextFile { path: PathBuf::from(path), text: format!("//! Text.\n{text}") })
            .collect();
        let found = check(&files);
        found.into_iter().map(|f| (f.path.display().to_string(), f.rule, f.line)).collect()
    }

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    call();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_the_longest_length_passes_and_one_line_more_does_not() {
        assert_eq!(findings(&[("a.rs", function_of(70))]), []);
        assert_eq!(findings(&[("a.rs", function_of(71))]), [("a.rs".to_owned(), "function length", 2)]);
    }

    #[test]
    fn attributes_and_docs_are_not_counted_but_the_arguments_are() {
        let documented = format!("/// Docs.\n/// Docs.\n#[inline]\npub {}", function_of(70));
        assert_eq!(findings(&[("a.rs", documented)]), []);
        let arguments = function_of(70).replace("()", "(\n    x: u8,\n)");
        assert_eq!(findings(&[("a.rs", arguments)]).len(), 1);
    }

    #[test]
    fn methods_default_methods_and_nested_functions_are_measured() {
        for wrapped in ["impl X {\n", "trait X {\n", "mod inner {\n", "fn outer() {\n"] {
            let found = findings(&[("a.rs", format!("{wrapped}{}}}\n", function_of(71)))]);
            assert!(found.contains(&("a.rs".to_owned(), "function length", 3)), "{wrapped}: {found:?}");
        }
    }

    #[test]
    fn tests_may_be_long_wherever_they_are() {
        let long = function_of(600);
        for text in [
            format!("#[test]\n{long}"),
            format!("#[tokio::test]\nasync {long}"),
            format!("#[cfg(test)]\nmod tests {{\n{long}}}\n"),
            format!("#[cfg(all(test, unix))]\nmod tests {{\n{long}}}\n"),
            format!("struct X;\n#[cfg(test)]\nimpl X {{\n{long}}}\n"),
            format!("struct X;\nimpl X {{\n#[cfg(test)]\n{long}}}\n"),
        ] {
            assert_eq!(findings(&[("a.rs", text.clone())]), [], "{}", &text[..40]);
        }
        assert_eq!(findings(&[("crates/a/tests/it/main.rs", long.clone())]), []);
        assert_eq!(findings(&[("a.rs", format!("#![cfg(test)]\n{long}"))]), []);
        assert_eq!(findings(&[("a.rs", format!("#[cfg(not(test))]\n{long}"))]).len(), 2);
    }

    #[test]
    fn a_test_module_in_a_file_of_its_own_is_a_test() {
        let long = function_of(600);
        let declaration = "#[cfg(test)]\nmod checks;\nmod other;\n".to_owned();
        for (parent, module) in [
            ("crates/a/src/lib.rs", "crates/a/src/checks.rs"),
            ("crates/a/src/lib.rs", "crates/a/src/checks/mod.rs"),
            ("crates/a/src/lib.rs", "crates/a/src/checks/deep.rs"),
            ("crates/a/src/part.rs", "crates/a/src/part/checks.rs"),
        ] {
            assert_eq!(findings(&[(parent, declaration.clone()), (module, long.clone())]), [], "{module}");
        }
        let found =
            findings(&[("crates/a/src/lib.rs", declaration), ("crates/a/src/other.rs", function_of(71))]);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn files_are_measured_without_their_tests() {
        let items = |count: usize| "const X: u8 = 1;\n".repeat(count);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", items(900));
        assert_eq!(findings(&[("a.rs", items(499) + &tests)]), []);
        assert_eq!(findings(&[("a.rs", items(500) + &tests)]), [("a.rs".to_owned(), "file length", 1)]);
        assert!(file_length_advice(801).is_some_and(|advice| advice.contains("never over 800")));
    }

    #[test]
    fn a_file_without_module_docs_and_one_that_is_no_rust_are_found() {
        let file = |text: &str| TextFile { path: "a.rs".into(), text: text.to_owned() };
        let rules = |text: &str| check(&[file(text)]).into_iter().map(|f| f.rule).collect::<Vec<_>>();
        assert_eq!(rules("fn f() {}\n"), ["module docs"]);
        assert_eq!(rules("// Not this kind.\nfn f() {}\n"), ["module docs"]);
        assert_eq!(rules("\n//! Late.\nfn f() {}\n"), ["module docs"]);
        assert_eq!(rules("//! Docs.\nfn f( {}\n"), ["syntax"]);
    }

    #[test]
    fn unfinished_work_is_found_in_tests_too() {
        let text = format!("#[test]\nfn f() {{\n    {}!()\n}}\n", "todo");
        assert_eq!(
            findings(&[("crates/a/tests/it.rs", text)]),
            [("crates/a/tests/it.rs".to_owned(), "unfinished work", 4)]
        );
    }
}
