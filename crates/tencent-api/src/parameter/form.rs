//! Flattened parameters: `Filters.0.Name=image-type` back to trees. Not here: which node is a list, which an object;
//! only the action's declaration knows.

use std::collections::BTreeMap;

use crate::error::{Error, shortened};
use crate::parameter::Node;

/// The most parameters of one request.
const MAX_PARAMETERS: usize = 10_000;
/// The most parts of one parameter's name.
const MAX_DEPTH: usize = 8;

/// Builds the tree of named values.
///
/// # Errors
/// A name given twice, one that is both a value and a prefix, too many of them, or too deep.
pub(crate) fn tree(pairs: impl IntoIterator<Item = (String, Node)>) -> Result<Node, Error> {
    let mut root = BTreeMap::new();
    for (count, (name, value)) in pairs.into_iter().enumerate() {
        if count >= MAX_PARAMETERS {
            return Err(Error::InvalidRequest(format!("it has more than {MAX_PARAMETERS} parameters")));
        }
        insert(&mut root, &name, value)?;
    }
    Ok(Node::Tree(root))
}

fn insert(root: &mut BTreeMap<String, Node>, name: &str, value: Node) -> Result<(), Error> {
    let twice = || Error::InvalidValue { path: shortened(name), reason: "it is given twice".to_owned() };
    let parts: Vec<&str> = name.split('.').collect();
    let Some((last, prefix)) = parts.split_last().filter(|_| parts.len() <= MAX_DEPTH) else {
        return Err(Error::UnknownParameter(shortened(name)));
    };
    let mut members = root;
    for part in prefix {
        let child = members.entry((*part).to_owned()).or_insert_with(|| Node::Tree(BTreeMap::new()));
        members = match child {
            Node::Tree(members) => members,
            _ => return Err(twice()),
        };
    }
    match members.insert((*last).to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(twice()),
    }
}
