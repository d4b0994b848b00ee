//! `/etc/network/interfaces`, as Debian's ifupdown reads it. Source: interfaces(5).

use super::{Addressing, Configurator, Interface, fits, name_of};
use crate::error::Result;
use crate::tree::Root;

const MAIN: &str = "/etc/network/interfaces";
/// Includes within includes.
const DEPTH_MAX: usize = 4;
/// Files that all includes together may name.
const FILES_MAX: usize = 64;

/// The interfaces of the main file and of all that it includes.
pub(super) fn read(root: &Root) -> Result<Vec<Interface>> {
    let mut found = Vec::new();
    let mut files_left = FILES_MAX;
    read_file(root, MAIN, DEPTH_MAX, &mut files_left, &mut found)?;
    Ok(found)
}

fn read_file(
    root: &Root,
    path: &str,
    depth: usize,
    files_left: &mut usize,
    found: &mut Vec<Interface>,
) -> Result<()> {
    if depth == 0 || *files_left == 0 {
        return Ok(());
    }
    *files_left -= 1;
    let Some(text) = root.text(path)? else {
        return Ok(());
    };
    for stanza in parse(&text) {
        match stanza {
            Stanza::Interface { name, ipv4, ipv6 } => found.push(Interface {
                name: name_of(&name),
                ipv4,
                ipv6,
                configurator: Configurator::Ifupdown,
                path: path.to_owned(),
            }),
            Stanza::Source(pattern) => {
                for included in expand(root, &pattern)? {
                    read_file(root, &included, depth - 1, files_left, found)?;
                }
            }
        }
    }
    Ok(())
}

/// What a file says, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stanza {
    Interface { name: String, ipv4: Addressing, ipv6: Addressing },
    Source(String),
}

/// The stanzas of a text.
pub(crate) fn parse(text: &str) -> Vec<Stanza> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Stanza> {
    let mut words = line.split_whitespace();
    match words.next()? {
        "iface" => {
            let name = words.next()?.to_owned();
            let (family, method) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let addressing = match method {
                "dhcp" | "auto" => Addressing::Automatic,
                "static" | "v4tunnel" | "6to4" => Addressing::Static,
                _ => Addressing::Unset,
            };
            let (ipv4, ipv6) = match family {
                "inet6" => (Addressing::Unset, addressing),
                _ => (addressing, Addressing::Unset),
            };
            Some(Stanza::Interface { name, ipv4, ipv6 })
        }
        "source" => Some(Stanza::Source(words.next()?.to_owned())),
        "source-directory" => Some(Stanza::Source(format!("{}/*", words.next()?.trim_end_matches('/')))),
        _ => None,
    }
}

/// The files that an include names; a pattern stands in the last part of the path only.
fn expand(root: &Root, pattern: &str) -> Result<Vec<String>> {
    let full = if pattern.starts_with('/') { pattern.to_owned() } else { format!("/etc/network/{pattern}") };
    let Some((directory, last)) = full.rsplit_once('/') else {
        return Ok(Vec::new());
    };
    let names = root.list(directory)?;
    let fitting = names.iter().filter(|name| fits(last.as_bytes(), name.as_bytes()));
    Ok(fitting.map(|name| format!("{directory}/{name}")).collect())
}
