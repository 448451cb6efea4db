"""Classes and enums as strict as pybind11's, made from signatures of one version's bindings."""

import enum
import re


class Member:
    """A member of a pybind11 enum: not an int, equal only to itself."""

    def __init__(self, owner, name, value):
        self._owner, self.name, self.value = owner, name, value

    def __int__(self):
        return self.value

    def __repr__(self):
        return f"<{self._owner}.{self.name}: {self.value}>"


def make_enum(name, members):
    kind = type(name.split(".")[-1], (), {"__init__": _no_instances})
    kind.members = {}
    for member, value in members.items():
        kind.members[member] = Member(name, member, value)
        setattr(kind, member, kind.members[member])
    kind.__members__ = kind.members
    return kind


def _no_instances(self, *arguments):
    raise TypeError("incompatible constructor arguments")


class Slot(enum.Enum):
    REQUIRED = 0


def parse(signature):
    """One overload `name(self: T, a: int, b: str = None) -> R` -> [(name, type, required)]."""
    inside = re.search(r"\((.*)\)( ->|$)", signature)[1]
    found, depth, part = [], 0, ""
    for letter in [*inside, ","]:
        depth += (letter in "[(<{") - (letter in "])>}")
        if letter == "," and not depth:
            found.append(part.strip())
            part = ""
        else:
            part += letter
    rows = []
    for text in filter(None, found):
        name, _, kind = text.partition(":")
        kind, has_default, _ = kind.partition(" = ")
        rows.append((name.strip(), kind.strip(), not has_default))
    return rows[1:] if rows and rows[0][0] == "self" else rows


class Strict:
    """Base of the made classes: attributes that the bindings lack can be neither read nor set."""

    def __setattr__(self, name, value):
        if not name.startswith("_") and type(self).__dict__.get("_made"):
            found = type(self).__dict__.get(name)
            if not isinstance(found, property) or found.fset is None:
                raise AttributeError(f"{type(self).__name__!r} object has no settable {name!r}")
        object.__setattr__(self, name, value)


def make_class(name, implementation, members, check):
    """The class `name` with exactly the members of this version; `implementation` does the work.

    check(type text, value) says whether pybind11 would take the value.
    """
    body = {"_made": True, "__doc__": None}
    for member, text in members.items():
        if ": " in text and "(" not in text.split(":")[0]:
            body[member] = _property(member, text, implementation, check)
        else:
            body[member] = _method(member, text, implementation, check)
    # What the language itself calls is no API: `bytes(plan)`, `len(shape)`.
    for special in ("__bytes__", "__len__", "__getitem__", "__init__", "__del__"):
        if special not in body and special in vars(implementation):
            body[special] = vars(implementation)[special]
    hidden = {
        k: v
        for k, v in vars(implementation).items()
        if k.startswith("_") and not k.startswith("__")
    }
    return type(name, (Strict,), {**hidden, **body})


def _method(name, text, implementation, check):
    overloads = [parse(part) for part in text.split(" | ")]
    call = vars(implementation)[name]

    def method(self, *arguments, **named):
        for rows in overloads:
            if _fits(rows, arguments, named, check):
                return call(self, *arguments, **named)
        raise TypeError(f"{name}(): incompatible function arguments: {arguments} {named}; {text}")

    return method


def _fits(rows, arguments, named, check):
    if len(arguments) > len(rows):
        return False
    given = dict(zip((row[0] for row in rows), arguments, strict=False))
    if given.keys() & named.keys() or named.keys() - {row[0] for row in rows}:
        return False
    given |= named
    return all(
        check(kind, given[name]) if name in given else not required for name, kind, required in rows
    )


def _property(name, text, implementation, check):
    kind = text.split(": ", 1)[1].split(" [")[0]
    setter = re.search(r"set: (\S+)", text)
    attribute = vars(implementation).get(name)
    getter = (
        attribute.fget
        if isinstance(attribute, property)
        else lambda self: getattr(self, f"_{name}")
    )
    if "read/write" not in text:
        return property(getter)

    def store(self, value):
        if not check(setter[1] if setter else kind, value):
            raise TypeError(f"{name}: incompatible value {value!r}, not {kind}")
        if isinstance(attribute, property) and attribute.fset is not None:
            attribute.fset(self, value)
        else:
            object.__setattr__(self, f"_{name}", value)

    return property(getter, store)
