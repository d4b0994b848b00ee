//! A value as the wire has it, before anything is known of the type that it should have.

use std::collections::BTreeMap;

/// A value of a request.
#[derive(Clone, PartialEq)]
pub(crate) enum Node {
    /// JSON's `null`: as if it were not there.
    Null,
    /// A JSON boolean.
    Flag(bool),
    /// A JSON number.
    Number(serde_json::Number),
    /// A JSON string.
    Text(String),
    /// A value of a form: text, number or boolean.
    Encoded(String),
    /// A JSON array.
    List(Vec<Node>),
    /// A JSON object.
    Object(BTreeMap<String, Node>),
    /// Values of a form under a common prefix: an object, or a list by position.
    Tree(BTreeMap<String, Node>),
}

impl Node {
    /// Whether there is nothing in it, which means the same as its absence: forms cannot tell the two apart.
    pub(crate) fn is_absent(&self) -> bool {
        match self {
            Self::Null => true,
            Self::List(items) => items.is_empty(),
            Self::Object(members) | Self::Tree(members) => members.is_empty(),
            Self::Flag(_) | Self::Number(_) | Self::Text(_) | Self::Encoded(_) => false,
        }
    }

    /// What it is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "a boolean",
            Self::Number(number) if number.is_u64() => "an integer",
            Self::Number(number) if number.is_i64() => "a negative integer",
            Self::Number(_) => "a number that is no integer",
            Self::Text(_) => "a string",
            Self::Encoded(_) => "other text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
            Self::Tree(_) => "a list or an object",
        }
    }
}

impl From<serde_json::Value> for Node {
    fn from(value: serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Flag(flag),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Object(members.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
        }
    }
}
