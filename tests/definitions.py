"""The public definitions of the API, as `tccli` carries them, and what an answer or a request must be to fit them."""

import functools
import json
from pathlib import Path

import tccli

VERSIONS = {"cvm": "2017-03-12", "cbs": "2017-03-12", "tag": "2018-08-13", "sts": "2018-08-13"}
TYPES = {"string": str, "int": int, "float": (int, float), "bool": bool}


@functools.cache
def definition(service):
    """The definition of a service: its actions and the objects that they take and give."""
    directory = "v" + VERSIONS[service].replace("-", "")
    return json.loads((Path(tccli.__file__).parent / "services" / service / directory / "api.json").read_text())


def members_of(service, name):
    return {member["name"]: member for member in definition(service)["objects"][name]["members"]}


def required_parameters(service, action):
    name = definition(service)["actions"][action]["input"]
    return [member["name"] for member in members_of(service, name).values() if member.get("required")]


def departures(service, action, answer, extensions=()):
    """Where an answer departs from its definition: members that are not declared, missing, null, or of another type.

    `extensions` are paths of members that Kiln has beside the declared ones.
    """
    name = definition(service)["actions"][action]["output"]
    return list(of_object(service, name, answer, "", extensions))


def of_object(service, name, value, path, extensions):
    if not isinstance(value, dict):
        yield f"{path or 'the answer'} is no object"
        return
    declared = members_of(service, name)
    for member in value.keys() - declared.keys():
        if f"{path}.{member}".lstrip(".") not in extensions:
            yield f"{path}.{member} is not declared"
    for member, declaration in declared.items():
        where = f"{path}.{member}".lstrip(".")
        if member not in value:
            if declaration.get("output_required") and not declaration.get("disabled"):
                yield f"{where} is missing"
        elif value[member] is None:
            if not declaration.get("value_allowed_null"):
                yield f"{where} is null"
        else:
            yield from of_value(service, declaration, value[member], where, extensions)


def of_value(service, declaration, value, path, extensions):
    kind, member = declaration["type"], declaration["member"]
    if kind == "list":
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        items = {"type": "object" if member in definition(service)["objects"] else plain(member), "member": member}
        for item in value:
            yield from of_value(service, items, item, path, extensions)
    elif kind == "object":
        yield from of_object(service, member, value, path, extensions)
    elif not isinstance(value, TYPES[kind]) or (kind != "bool" and isinstance(value, bool)):
        yield f"{path} is {value!r}, not {kind}"


def plain(member):
    return {"int64": "int", "uint64": "int"}.get(member, member)


def without(request, service, action):
    """Each request that lacks one required parameter of a complete one, at whatever depth, and which it lacks."""
    name = definition(service)["actions"][action]["input"]
    yield from lacking(service, name, request, "")


def lacking(service, name, value, path):
    for member, declaration in members_of(service, name).items():
        where = f"{path}.{member}".lstrip(".")
        if member not in value:
            continue
        # An object without members means the same as its absence.
        if declaration.get("required") and (len(value) > 1 or not path):
            yield where, {key: part for key, part in value.items() if key != member}
        inner = declaration["member"]
        if declaration["type"] == "object":
            for missing, part in lacking(service, inner, value[member], where):
                yield missing, {**value, member: part}
        elif declaration["type"] == "list" and inner in definition(service)["objects"] and value[member]:
            for missing, part in lacking(service, inner, value[member][0], f"{where}.0"):
                yield missing, {**value, member: [part, *value[member][1:]]}
