//! Parameters: what an action takes, and how that is read from JSON bodies and from flattened forms alike.
//!
//! A body becomes a [`Node`], whatever its encoding; a node becomes [`Arguments`] by the action's declaration, a list
//! of [`Parameter`]s. Not here: what any action's parameters mean.

mod arguments;
mod body;
mod decode;
mod form;
mod node;

pub(crate) use arguments::Arguments;
pub(crate) use body::read_body;
pub(crate) use decode::decode;
pub(crate) use node::Node;

/// A parameter of an action, or a member of an object parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    /// Its name in the public definition.
    pub(crate) name: &'static str,
    /// Its type.
    pub(crate) kind: Kind,
    /// What Kiln does with it.
    pub(crate) policy: Policy,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// Text.
    Text,
    /// A whole number, not negative.
    Integer,
    /// True or false.
    Flag,
    /// True or false, for which the public definition has text.
    TextFlag,
    /// A list of texts.
    Texts,
    /// An object with these members.
    Object(&'static [Parameter]),
    /// A list of objects with these members.
    Objects(&'static [Parameter]),
    /// Not looked at.
    Anything,
}

/// What Kiln does with a parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    /// It must be there, and is acted on.
    Required,
    /// It is acted on where it is there.
    Optional,
    /// Its type is checked, then it is dropped: nothing that its user relies on depends on it.
    Harmless,
    /// Only these values, which ask for what Kiln does anyway; others are refused, for this reason.
    Only {
        /// The values, in the form that they have in a query.
        values: &'static [&'static str],
        /// Why no other.
        reason: &'static str,
    },
    /// Refused whatever it is, since its user would rely on it.
    Refused {
        /// The public error code.
        code: &'static str,
        /// Why.
        reason: &'static str,
    },
}

pub(crate) const fn required(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, policy: Policy::Required }
}

pub(crate) const fn optional(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, policy: Policy::Optional }
}

pub(crate) const fn harmless(name: &'static str, kind: Kind) -> Parameter {
    Parameter { name, kind, policy: Policy::Harmless }
}

pub(crate) const fn only(
    name: &'static str,
    kind: Kind,
    values: &'static [&'static str],
    reason: &'static str,
) -> Parameter {
    Parameter { name, kind, policy: Policy::Only { values, reason } }
}

pub(crate) const fn refused(name: &'static str, reason: &'static str) -> Parameter {
    refused_as(name, "UnsupportedOperation", reason)
}

pub(crate) const fn refused_as(name: &'static str, code: &'static str, reason: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Anything, policy: Policy::Refused { code, reason } }
}
