"""Reads which operations a SavedModel's graphs have, without importing TensorFlow.

The import of TensorFlow takes seconds. So `protobuf` reads the file with the few fields of TensorFlow's
messages that can name an operation or a function. protobuf skips all other fields.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

MAX_GRAPH_BYTES = 2**31 - 1
"""Maximum size of a saved_model.pb file, in bytes. Protobuf supports no larger messages."""

_MESSAGES = """
    SavedModel          meta_graphs:2:MetaGraphDef*
    MetaGraphDef        graph_def:2:GraphDef
    GraphDef            node:1:NodeDef*           library:2:FunctionDefLibrary
    FunctionDefLibrary  function:1:FunctionDef*
    FunctionDef         signature:1:OpDef         node_def:3:NodeDef*            attr:5:AttrEntry*
    OpDef               name:1:string             attr:4:AttrDef*
    AttrDef             default_value:3:AttrValue
    NodeDef             op:2:string               attr:5:AttrEntry*
    AttrEntry           value:2:AttrValue
    AttrValue           list:1:ListValue          func:10:NameAttrList
    ListValue           func:9:NameAttrList*
    NameAttrList        name:1:string             attr:2:AttrEntry*
"""
"""Messages and fields of TensorFlow, as `name:number:type`; `*` marks a repeated field.

A test compares the fields with TensorFlow's own descriptors."""


@dataclass(frozen=True)
class GraphContents:
    """Names of all operations in a SavedModel, and of the functions that a graph calls but does not define.

    TensorFlow can turn the branch of a condition into an operation with the name of the branch's function.
    So the name of an undefined function can be the name of an operation.
    """

    operations: frozenset[str]
    undefined_functions: frozenset[str]


def read_graphs(content: bytes) -> GraphContents:
    """Return the operations and undefined functions of all graphs and functions in a saved_model.pb file.

    Raises:
        ValueError: the content is not a SavedModel message, or its messages are nested too deeply.
    """
    try:
        model = message_class().FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    contents = [_contents(each.graph_def) for each in model.meta_graphs]
    return GraphContents(
        frozenset[str]().union(*(each.operations for each in contents)),
        frozenset[str]().union(*(each.undefined_functions for each in contents)),
    )


def _contents(graph: Any) -> GraphContents:
    functions = graph.library.function
    operations, called = set[str](), set[str]()
    for node in chain(graph.node, *(each.node_def for each in functions)):
        operations.add(node.op)
        called.update(_called(each.value for each in node.attr))
    for function in functions:
        called.update(_called(each.value for each in function.attr))
        called.update(_called(each.default_value for each in function.signature.attr))
    called -= {"", *(each.signature.name for each in functions)}  # Other attributes have an empty name.
    return GraphContents(frozenset(operations), frozenset(called))


def _called(values: Iterable[Any]) -> Iterator[str]:
    """Yield the names of all functions in attribute values, at any depth."""
    for value in values:
        for function in (value.func, *value.list.func):
            yield function.name
            yield from _called(each.value for each in function.attr)


def message_class() -> Any:
    """Return a protobuf message class for the fields of `SavedModel` that are listed in this module."""
    file = descriptor_pb2.FileDescriptorProto(name="saved_model_graph.proto", syntax="proto3")
    for line in _MESSAGES.strip().splitlines():
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for field in fields:
            name, number, kind = field.split(":")
            added = message.field.add(name=name, number=int(number), label=3 if kind.endswith("*") else 1)
            added.type = 9 if kind == "string" else 11  # TYPE_STRING or TYPE_MESSAGE
            if kind != "string":
                added.type_name = kind.rstrip("*")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("SavedModel"))
