"""YAML without its traps: a name that comes twice is refused, and so is a number that reads as another one.

YAML keeps the last of two equal names, and reads 010 as 8 and 1:30 as 90.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_NUMBER = re.compile(
    r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?\.(inf|nan)", re.I
)


class PlainLoader(yaml.SafeLoader):
    """The loader that refuses them."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose names come once."""
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(problem=f"{name!r} comes twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number that is written in the usual way."""
        if not _NUMBER.fullmatch(node.value):
            problem = (
                f"{node.value!r} is no plain decimal number: write it without leading zeros, colons and underscores"
            )
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        is_int = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if is_int else self.construct_yaml_float(node)


for tag in ("int", "float"):
    PlainLoader.add_constructor(f"tag:yaml.org,2002:{tag}", PlainLoader.construct_number)


def load_yaml(text: str) -> Any:
    """The value that a text stands for. Raises yaml.YAMLError if it is no YAML, or meets a trap."""
    return yaml.load(text, PlainLoader)
