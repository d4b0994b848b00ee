//! The table as a whole: what must hold for every action in it, whatever it does.

use std::collections::{BTreeMap, HashSet};

use super::*;
use crate::parameter::{Kind, Node, Policy, decode};

/// A value of the type that a parameter has.
fn value_of(kind: Kind) -> Node {
    match kind {
        Kind::Text | Kind::Anything => Node::Text("a".to_owned()),
        Kind::Integer => Node::Number(1.into()),
        Kind::Flag => Node::Flag(true),
        Kind::TextFlag => Node::Text("TRUE".to_owned()),
        Kind::Texts => Node::List(vec![Node::Text("a".to_owned())]),
        Kind::Object(members) => Node::Object(complete(members)),
        Kind::Objects(members) => Node::List(vec![Node::Object(complete(members))]),
    }
}

/// Every required parameter with a value.
fn complete(parameters: &'static [Parameter]) -> BTreeMap<String, Node> {
    let required = parameters.iter().filter(|parameter| matches!(parameter.policy, Policy::Required));
    required.map(|parameter| (parameter.name.to_owned(), value_of(parameter.kind))).collect()
}

fn code_of(action: &'static Action, members: BTreeMap<String, Node>) -> &'static str {
    decode(action.parameters, Node::Object(members)).map_or_else(|error| error.code(), |_| "")
}

#[test]
fn every_action_is_found_under_its_own_name_only() {
    let mut names = HashSet::new();
    for action in ACTIONS {
        assert!(names.insert((action.of.service, action.name)), "{} is there twice", action.name);
        let found = find(action.of.service, true, action.of.version, action.name).map(|found| found.name);
        assert_eq!(found.ok(), Some(action.name));
    }
}

#[test]
fn what_is_not_there_is_told_apart() {
    let code = |service, signed, version, name| match find(service, signed, version, name) {
        Ok(action) => action.name,
        Err(error) => error.code(),
    };
    assert_eq!(code("cvm", true, "2017-03-12", "DescribeCats"), "InvalidAction");
    assert_eq!(code("cvm", true, "2017-03-13", "DescribeImages"), "NoSuchVersion");
    assert_eq!(code("vpc", true, "2017-03-12", "DescribeImages"), "NoSuchProduct");
    assert_eq!(code("kiln", true, "2026-11-01", "DescribeImages"), "InvalidAction");
    // An address names no service; the version and the action decide.
    assert_eq!(code("127", false, "2017-03-12", "DescribeImages"), "DescribeImages");
    assert_eq!(code("127", false, "2017-03-12", "DescribeTasks"), "InvalidAction");
}

#[test]
fn each_required_parameter_is_missed_and_each_unknown_one_refused() {
    for action in ACTIONS {
        let complete = complete(action.parameters);
        assert_eq!(code_of(action, complete.clone()), "", "{}", action.name);
        for missing in complete.keys() {
            let mut members = complete.clone();
            members.remove(missing);
            assert_eq!(code_of(action, members), "MissingParameter", "{} without {missing}", action.name);
        }
        let mut members = complete;
        members.insert("NoSuchThing".to_owned(), Node::Flag(true));
        assert_eq!(code_of(action, members), "UnknownParameter", "{}", action.name);
    }
}

#[test]
fn a_value_of_another_type_is_refused() {
    for action in ACTIONS {
        for parameter in
            action.parameters.iter().filter(|parameter| !matches!(parameter.kind, Kind::Anything))
        {
            // No parameter is a list of lists.
            let wrong = Node::List(vec![Node::List(vec![Node::Null, Node::Flag(true)])]);
            let mut members = complete(action.parameters);
            members.insert(parameter.name.to_owned(), wrong);
            assert_eq!(code_of(action, members), "InvalidParameter", "{} {}", action.name, parameter.name);
        }
    }
}
