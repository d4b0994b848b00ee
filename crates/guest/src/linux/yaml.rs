//! YAML as configuration files use it: a tree of mappings, sequences and text, from the events of `saphyr-parser`.
//!
//! Aliases are refused, so a small file cannot grow to a large tree; depth and size are bounded.

use saphyr_parser::{Event, Parser};

/// Longer configuration files are not read.
const TEXT_BYTES_MAX: usize = 256 << 10;
const DEPTH_MAX: usize = 32;
const NODES_MAX: usize = 20_000;

/// A node. Every scalar is text: what reads it knows what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Items(Vec<Value>),
    Fields(Vec<(String, Value)>),
}

/// Why a text is no tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotYaml;

/// A collection that is being filled.
enum Open {
    Items(Vec<Value>),
    /// With the key whose value comes next.
    Fields(Vec<(String, Value)>, Option<String>),
}

impl Value {
    /// The first document of a text.
    pub(crate) fn parse(text: &str) -> Result<Self, NotYaml> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(NotYaml);
        }
        let mut open: Vec<Open> = Vec::new();
        for (count, event) in Parser::new_from_str(text).enumerate() {
            let (event, _) = event.map_err(|_| NotYaml)?;
            if count > NODES_MAX || open.len() > DEPTH_MAX {
                return Err(NotYaml);
            }
            let finished = match event {
                Event::Scalar(text, ..) => Value::Text(text.into_owned()),
                Event::SequenceStart(..) => {
                    open.push(Open::Items(Vec::new()));
                    continue;
                }
                Event::MappingStart(..) => {
                    open.push(Open::Fields(Vec::new(), None));
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some(Open::Items(items)) => Value::Items(items),
                    Some(Open::Fields(fields, _)) => Value::Fields(fields),
                    None => return Err(NotYaml),
                },
                Event::Alias(_) => return Err(NotYaml),
                Event::DocumentEnd => break,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => continue,
            };
            match open.last_mut() {
                Some(collection) => collection.add(finished),
                None => return Ok(finished),
            }
        }
        Err(NotYaml)
    }

    /// The value of a mapping's key.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Fields(fields) => fields.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Self]> {
        match self {
            Self::Items(items) => Some(items),
            _ => None,
        }
    }

    pub(crate) fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Fields(fields) => fields,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is one of the words that YAML 1.1 takes for true.
    pub(crate) fn is_true(&self) -> bool {
        self.text().is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "yes" | "on"))
    }
}

impl Open {
    fn add(&mut self, value: Value) {
        match self {
            Self::Items(items) => items.push(value),
            Self::Fields(fields, key) => match key.take() {
                Some(name) => fields.push((name, value)),
                // A key that is no text can be the key of nothing that is looked for.
                None => *key = Some(value.text().unwrap_or_default().to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_and_flow_styles_are_read() {
        let value = Value::parse("a: {b: [1, two]}\nc:\n  - x\n  - y: 'z'\n").expect("YAML");
        let b = value.get("a").and_then(|a| a.get("b")).and_then(Value::items).expect("a list");
        assert_eq!(b.iter().filter_map(Value::text).collect::<Vec<_>>(), ["1", "two"]);
        assert_eq!(value.get("c").and_then(Value::items).map(<[Value]>::len), Some(2));
    }

    #[test]
    fn what_would_grow_is_refused() {
        assert_eq!(Value::parse("a: &x [1]\nb: *x\n"), Err(NotYaml));
        assert_eq!(Value::parse(&"[".repeat(10_000)), Err(NotYaml));
        assert_eq!(Value::parse(&"- a\n".repeat(30_000)), Err(NotYaml));
        assert_eq!(Value::parse("a: [1"), Err(NotYaml));
        assert_eq!(Value::parse(""), Err(NotYaml));
    }
}
