//! Marks of unfinished work: macros that stand for missing code, ignored tests, notes to oneself.
//!
//! Macros and attributes are found as tokens, so that they are found inside other macros and not in strings; notes
//! are words of the text, wherever they stand, because comments are no tokens.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// Macros that stand for code which is not there, or which print from a debugging session.
const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Notes to oneself. In parts, so that this file does not accuse itself.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// A mark: its line, counted from 1, and what to do about it.
pub(crate) type Mark = (usize, String);

/// Every mark in a source file, given as text and as tokens.
pub(crate) fn find(text: &str, tokens: TokenStream) -> Vec<Mark> {
    let mut marks = notes(text);
    walk(tokens, &mut marks);
    marks
}

fn notes(text: &str) -> Vec<Mark> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut marks = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in line.split(|c| !is_word(c)).filter(|word| NOTES.contains(word)) {
            marks.push((index + 1, format!("finish it, or open an issue and remove the word {word}")));
        }
    }
    marks
}

fn walk(tokens: TokenStream, marks: &mut Vec<Mark>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(name) if is_macro_call(name, &tokens[index + 1..]) => {
                marks.push((name.span().start().line, format!("write the code instead of {name}!")));
            }
            TokenTree::Group(group) => {
                if is_attribute(&tokens[..index], group.delimiter()) && ignores_test(group.stream()) {
                    let advice = "mend the test or delete it: an ignored test protects nothing".to_owned();
                    marks.push((group.span().start().line, advice));
                }
                walk(group.stream(), marks);
            }
            _ => {}
        }
    }
}

/// `name!(…)`, with any brackets; `name != …` is a comparison.
fn is_macro_call(name: &Ident, after: &[TokenTree]) -> bool {
    MACROS.iter().any(|known| name == known)
        && matches!(after, [TokenTree::Punct(bang), TokenTree::Group(_), ..] if bang.as_char() == '!')
}

fn is_attribute(before: &[TokenTree], delimiter: Delimiter) -> bool {
    delimiter == Delimiter::Bracket
        && matches!(before.last(), Some(TokenTree::Punct(hash)) if hash.as_char() == '#')
}

/// `ignore`, `ignore = "reason"`, and `cfg_attr(…, ignore)`.
fn ignores_test(attribute: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = attribute.into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(name), ..] if name == "ignore" => true,
        [TokenTree::Ident(name), TokenTree::Group(group), ..] if name == "cfg_attr" => group
            .stream()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(word) if word == "ignore")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let tokens = text.parse().expect("tokens of Rust");
        let mut lines: Vec<usize> = find(text, tokens).into_iter().map(|(line, _)| line).collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn missing_code_is_found_inside_other_macros_too() {
        for name in MACROS {
            assert_eq!(lines(&format!("fn f() {{\n    {name}!()\n}}")), [2]);
            assert_eq!(lines(&format!("fn f() {{\n    vec![\n1, {name}!{{\"later\"}}];\n}}")), [3]);
        }
    }

    #[test]
    fn comparisons_names_and_strings_are_no_marks() {
        for name in MACROS {
            let text = format!("fn f({name}: u8) -> bool {{ {name} != 1 && \"{name}!()\" != \"\" }}");
            assert_eq!(lines(&text), [0; 0]);
        }
    }

    #[test]
    fn notes_are_found_as_whole_words_in_comments() {
        for note in NOTES {
            assert_eq!(lines(&format!("fn f() {{\n    // {note}: more\n}}")), [2]);
            assert_eq!(lines(&format!("/// {note}\nfn f() {{}}")), [1]);
            assert_eq!(lines(&format!("// MY{note}S are fine\nfn f() {{}}")), [0; 0]);
        }
    }

    #[test]
    fn ignored_tests_are_found() {
        let attribute = concat!("#[", "ignore");
        assert_eq!(lines(&format!("#[test]\n{attribute}]\nfn f() {{}}")), [2]);
        assert_eq!(lines(&format!("#[test]\n{attribute} = \"slow\"]\nfn f() {{}}")), [2]);
        assert_eq!(lines("#[cfg_attr(miri, ignore)]\nfn f() {}"), [1]);
        assert_eq!(lines("#[allow(unused)]\nfn ignore() {}"), [0; 0]);
    }
}
