//! An action's arguments: typed, and asked for by name.
//!
//! Deliberately without `Debug`: passwords are among them.

use std::collections::BTreeMap;
use std::str::FromStr;

use kiln_model::ParseIdError;

use crate::error::Error;

/// The arguments of an action, or the members of an object among them.
#[derive(Clone, PartialEq)]
pub(crate) struct Arguments {
    /// Where the object is, for messages; empty at the top.
    path: String,
    values: BTreeMap<&'static str, Value>,
}

/// The value of an argument.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// True or false.
    Flag(bool),
    /// A list of texts.
    Texts(Vec<String>),
    /// An object.
    Object(Arguments),
    /// A list of objects.
    Objects(Vec<Arguments>),
    /// Something that was not looked at.
    Ignored,
}

impl Value {
    /// Text, number or flag as a query would have it.
    pub(crate) fn plain_text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Integer(number) => Some(number.to_string()),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Texts(_) | Self::Object(_) | Self::Objects(_) | Self::Ignored => None,
        }
    }
}

impl Arguments {
    pub(crate) fn new(path: String) -> Self {
        Self { path, values: BTreeMap::new() }
    }

    pub(crate) fn insert(&mut self, name: &'static str, value: Value) {
        self.values.insert(name, value);
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Where a member is, for messages.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Text, where it is there.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    /// Text that must be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<String, Error> {
        self.text(name).ok_or_else(|| Error::MissingParameter(self.path_of(name)))
    }

    /// A number, where it is there.
    pub(crate) fn integer(&self, name: &str) -> Option<u64> {
        match self.values.get(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// A number that must be there and fit 32 bits.
    pub(crate) fn required_u32(&self, name: &str) -> Result<u32, Error> {
        let number = self.integer(name).ok_or_else(|| Error::MissingParameter(self.path_of(name)))?;
        self.narrow(name, number)
    }

    /// A number that fits 32 bits, where it is there.
    pub(crate) fn optional_u32(&self, name: &str) -> Result<Option<u32>, Error> {
        self.integer(name).map(|number| self.narrow(name, number)).transpose()
    }

    fn narrow(&self, name: &str, number: u64) -> Result<u32, Error> {
        u32::try_from(number).map_err(|_| {
            self.invalid(name, format!("{number} is too large, at most {} is possible", u32::MAX))
        })
    }

    /// True where it is there and true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Flag(true)))
    }

    /// True or false, where it is there.
    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        match self.values.get(name) {
            Some(Value::Flag(flag)) => Some(*flag),
            _ => None,
        }
    }

    /// A list of texts; empty where it is not there.
    pub(crate) fn texts(&self, name: &str) -> &[String] {
        match self.values.get(name) {
            Some(Value::Texts(texts)) => texts,
            _ => &[],
        }
    }

    /// An object, where it is there.
    pub(crate) fn object(&self, name: &str) -> Option<&Arguments> {
        match self.values.get(name) {
            Some(Value::Object(object)) => Some(object),
            _ => None,
        }
    }

    /// A list of objects; empty where it is not there.
    pub(crate) fn objects(&self, name: &str) -> &[Arguments] {
        match self.values.get(name) {
            Some(Value::Objects(objects)) => objects,
            _ => &[],
        }
    }

    /// An identifier, where it is there; `code` is the error where it is malformed.
    pub(crate) fn id<T>(&self, name: &str, code: &'static str) -> Result<Option<T>, Error>
    where
        T: FromStr<Err = ParseIdError>,
    {
        let text = self.text(name);
        let parsed =
            text.map(|text| text.parse().map_err(|e| Error::malformed_id(code, &self.path_of(name), &e)));
        parsed.transpose()
    }

    /// An identifier that must be there.
    pub(crate) fn required_id<T>(&self, name: &str, code: &'static str) -> Result<T, Error>
    where
        T: FromStr<Err = ParseIdError>,
    {
        self.id(name, code)?.ok_or_else(|| Error::MissingParameter(self.path_of(name)))
    }

    /// A list of identifiers; empty where it is not there.
    pub(crate) fn ids<T>(&self, name: &str, code: &'static str) -> Result<Vec<T>, Error>
    where
        T: FromStr<Err = ParseIdError>,
    {
        let path = |position: usize| format!("{}.{position}", self.path_of(name));
        let parse = |(position, text): (usize, &String)| {
            text.parse().map_err(|e| Error::malformed_id(code, &path(position), &e))
        };
        self.texts(name).iter().enumerate().map(parse).collect()
    }

    /// The meaning of text that must be one of `choices`, where it is there.
    pub(crate) fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match choices.iter().find(|(choice, _)| *choice == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let allowed: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
                Err(Error::UnsupportedValue {
                    path: self.path_of(name),
                    allowed: allowed.join(" or "),
                    reason: String::new(),
                })
            }
        }
    }

    /// The error for a value that cannot be.
    pub(crate) fn invalid(&self, name: &str, reason: String) -> Error {
        Error::InvalidValue { path: self.path_of(name), reason }
    }
}
