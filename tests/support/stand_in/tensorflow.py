"""`tensorflow.train.Example`: all that Ray needs of TensorFlow to read TFRecord files, where TensorFlow is not installed.

The message is protobuf's own work, from the public definition of its fields; so what is written and parsed are the
bytes TensorFlow writes and parses. `make test-tensorflow` runs the same test with TensorFlow itself (1.4 GB).
"""

from __future__ import annotations

import types
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tensorflow"
_Field = descriptor_pb2.FieldDescriptorProto


def _add_message(into: Any, name: str, **fields: Any) -> Any:
    """Add message `name`; `fields`: name -> further arguments of its descriptor, numbered in this order."""
    message = into.add(name=name)
    for number, (field, given) in enumerate(fields.items(), start=1):
        arguments = {"label": _Field.LABEL_OPTIONAL, **given}
        if "type_name" in arguments:
            arguments |= {"type": _Field.TYPE_MESSAGE, "type_name": f".{_PACKAGE}.{arguments['type_name']}"}
        message.field.add(name=field, number=number, **arguments)
    return message


def _example() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package=_PACKAGE, syntax="proto3")
    repeated = _Field.LABEL_REPEATED
    for name, kind in (
        ("BytesList", _Field.TYPE_BYTES),
        ("FloatList", _Field.TYPE_FLOAT),
        ("Int64List", _Field.TYPE_INT64),
    ):
        _add_message(file.message_type, name, value={"label": repeated, "type": kind})
    lists = {"bytes_list": "BytesList", "float_list": "FloatList", "int64_list": "Int64List"}
    feature = _add_message(
        file.message_type, "Feature", **{name: {"type_name": of, "oneof_index": 0} for name, of in lists.items()}
    )
    feature.oneof_decl.add(name="kind")
    features = _add_message(
        file.message_type, "Features", feature={"label": repeated, "type_name": "Features.FeatureEntry"}
    )
    entry = _add_message(
        features.nested_type, "FeatureEntry", key={"type": _Field.TYPE_STRING}, value={"type_name": "Feature"}
    )
    entry.options.map_entry = True
    _add_message(file.message_type, "Example", features={"type_name": "Features"})
    # A pool of its own: TensorFlow's messages of the same names do not clash with these.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Example"))


train = types.SimpleNamespace(Example=_example())
