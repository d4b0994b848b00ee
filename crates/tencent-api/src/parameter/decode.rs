//! From nodes to arguments, by an action's declaration: names, types, and what Kiln does with each parameter.

use std::collections::BTreeMap;

use crate::error::{Error, shortened};
use crate::parameter::arguments::{Arguments, Value};
use crate::parameter::{Kind, Node, Parameter, Policy};

/// The most items of one list.
const MAX_LIST_ITEMS: usize = 1_000;

/// Reads the arguments of an action.
///
/// # Errors
/// The first parameter that is unknown, of the wrong type, refused or missing.
pub(crate) fn decode(parameters: &'static [Parameter], node: Node) -> Result<Arguments, Error> {
    let members = match node {
        Node::Null => BTreeMap::new(),
        Node::Object(members) | Node::Tree(members) => members,
        other => return Err(mistyped("", "an object", &other)),
    };
    decode_members(parameters, members, String::new())
}

fn decode_members(
    parameters: &'static [Parameter],
    members: BTreeMap<String, Node>,
    path: String,
) -> Result<Arguments, Error> {
    let mut arguments = Arguments::new(path);
    for (name, node) in members {
        let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) else {
            return Err(Error::UnknownParameter(arguments.path_of(&shortened(&name))));
        };
        if node.is_absent() {
            continue;
        }
        let member_path = arguments.path_of(parameter.name);
        if let Some(value) = decode_parameter(parameter, node, member_path)? {
            arguments.insert(parameter.name, value);
        }
    }
    let is_missing =
        |wanted: &&Parameter| matches!(wanted.policy, Policy::Required) && !arguments.has(wanted.name);
    match parameters.iter().find(is_missing) {
        Some(missing) => Err(Error::MissingParameter(arguments.path_of(missing.name))),
        None => Ok(arguments),
    }
}

fn decode_parameter(parameter: &Parameter, node: Node, path: String) -> Result<Option<Value>, Error> {
    match parameter.policy {
        Policy::Required | Policy::Optional => decode_value(parameter.kind, node, path).map(Some),
        Policy::Harmless => decode_value(parameter.kind, node, path).map(|_| None),
        Policy::Refused { code, reason } => Err(Error::UnsupportedParameter { path, code, reason }),
        Policy::Only { values, reason } => {
            let value = decode_value(parameter.kind, node, path.clone())?;
            if value.plain_text().is_some_and(|text| values.contains(&text.as_str())) {
                return Ok(None);
            }
            Err(Error::UnsupportedValue { path, allowed: values.join(" or "), reason: format!(": {reason}") })
        }
    }
}

fn decode_value(kind: Kind, node: Node, path: String) -> Result<Value, Error> {
    match kind {
        Kind::Text => text(node, &path).map(Value::Text),
        Kind::Integer => integer(node, &path).map(Value::Integer),
        Kind::Flag => flag(node, &path).map(Value::Flag),
        Kind::TextFlag => match node {
            Node::Text(text) => flag(Node::Encoded(text), &path).map(Value::Flag),
            other => flag(other, &path).map(Value::Flag),
        },
        Kind::Texts => {
            let items = list(node, "a list of strings", &path)?.into_iter().enumerate();
            let texts: Result<_, _> = items.map(|(n, item)| text(item, &format!("{path}.{n}"))).collect();
            Ok(Value::Texts(texts?))
        }
        Kind::Object(members) => Ok(Value::Object(object(members, node, path)?)),
        Kind::Objects(members) => {
            let items = list(node, "a list of objects", &path)?.into_iter().enumerate();
            let objects: Result<_, _> =
                items.map(|(n, item)| object(members, item, format!("{path}.{n}"))).collect();
            Ok(Value::Objects(objects?))
        }
        Kind::Anything => Ok(Value::Ignored),
    }
}

fn text(node: Node, path: &str) -> Result<String, Error> {
    match node {
        Node::Text(text) | Node::Encoded(text) => Ok(text),
        other => Err(mistyped(path, "a string", &other)),
    }
}

fn integer(node: Node, path: &str) -> Result<u64, Error> {
    let number = match &node {
        Node::Number(number) => number.as_u64(),
        // Digits only: the parser would take a sign.
        Node::Encoded(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| mistyped(path, "an integer of 0 or more", &node))
}

fn flag(node: Node, path: &str) -> Result<bool, Error> {
    match &node {
        Node::Flag(flag) => Ok(*flag),
        Node::Encoded(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Node::Encoded(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        other => Err(mistyped(path, "true or false", other)),
    }
}

fn object(members: &'static [Parameter], node: Node, path: String) -> Result<Arguments, Error> {
    match node {
        Node::Object(found) | Node::Tree(found) => decode_members(members, found, path),
        other => Err(mistyped(&path, "an object", &other)),
    }
}

/// The items of a list, in their order. Forms number them from 0 or 1, and may leave numbers out.
fn list(node: Node, expected: &'static str, path: &str) -> Result<Vec<Node>, Error> {
    let items = match node {
        Node::List(items) => items,
        Node::Tree(members) => {
            let mut by_position = BTreeMap::new();
            for (position, item) in members {
                let Ok(position) = position.parse::<u32>() else {
                    return Err(Error::UnknownParameter(format!("{path}.{}", shortened(&position))));
                };
                if by_position.insert(position, item).is_some() {
                    let reason = format!("its item {position} is given twice");
                    return Err(Error::InvalidValue { path: path.to_owned(), reason });
                }
            }
            by_position.into_values().collect()
        }
        other => return Err(mistyped(path, expected, &other)),
    };
    if items.len() > MAX_LIST_ITEMS {
        let reason = format!("it has {} items, at most {MAX_LIST_ITEMS} are read", items.len());
        return Err(Error::InvalidValue { path: path.to_owned(), reason });
    }
    Ok(items)
}

fn mistyped(path: &str, expected: &'static str, found: &Node) -> Error {
    Error::MistypedParameter { path: path.to_owned(), expected, found: found.describe() }
}
