"""Options, registration, and what is made of a function."""

import json
import unittest
from dataclasses import dataclass, field
from typing import Any, Literal

from . import SDK  # noqa: F401  It puts the SDK on the path.

import plinth
from plinth import Problem, items, options, testing


@dataclass
class Part:
    name: str
    width: int = plinth.option(minimum=1)


@dataclass
class Options:
    parts: list[Part] = plinth.option(min_items=1)
    label: str = plinth.option("a", min_length=1)
    ratio: float = plinth.option(0.5, "A ratio", above=0, maximum=1, name="the-ratio")
    mode: Literal["fast", "exact"] = "fast"
    limit: int | None = None
    on: bool = True
    names: list[str] = field(default_factory=list)
    more: dict[str, float] = field(default_factory=dict)
    any: Any = None


class OptionsTest(unittest.TestCase):
    def test_the_schema_follows_from_the_dataclass(self) -> None:
        part = {
            "type": "object",
            "properties": {"name": {"type": "string"}, "width": {"type": "integer", "minimum": 1}},
            "additionalProperties": False,
            "required": ["name", "width"],
        }
        self.assertEqual(
            options.schema_of(Options),
            {
                "type": "object",
                "properties": {
                    "parts": {"type": "array", "items": part, "minItems": 1},
                    "label": {"type": "string", "minLength": 1, "default": "a"},
                    "the-ratio": {
                        "type": "number", "description": "A ratio", "maximum": 1, "exclusiveMinimum": 0, "default": 0.5,
                    },
                    "mode": {"enum": ["fast", "exact"], "default": "fast"},
                    "limit": {"type": "integer"},
                    "on": {"type": "boolean", "default": True},
                    "names": {"type": "array", "items": {"type": "string"}, "default": []},
                    "more": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
                    "any": {},
                },
                "additionalProperties": False,
                "required": ["parts"],
            },
        )  # fmt: skip

    def test_options_are_read(self) -> None:
        text = '{"parts": [{"name": "a", "width": 3.0}], "the-ratio": 1, "limit": null, "more": {"x": 2}, "any": [1]}'
        read = options.parse(Options, text)
        self.assertEqual(read, Options([Part("a", 3)], "a", 1.0, more={"x": 2.0}, any=[1]))
        self.assertIs(type(read.parts[0].width), int)
        self.assertIs(type(read.ratio), float)
        self.assertEqual(options.parse(options.NoOptions, ""), options.NoOptions())

    def test_bad_options_are_named(self) -> None:
        good = '"parts": [{"name": "a", "width": 1}]'
        for text, message in (
            ("{}", "option `parts`: it is missing"),
            ('{"parts": []}', "option `parts`: it has 0 elements and needs 1"),
            ('{"parts": "x"}', 'option `parts`: it is "x", and a list is wanted'),
            ('{"parts": [{"name": "a"}]}', "option `parts[0].width`: it is missing"),
            ('{"parts": [{"name": "a", "width": 0}]}', "option `parts[0].width`: it is 0; it must be at least 1"),
            ('{"parts": [{"name": "a", "with": 2}]}', "unknown option `parts[0].with`, did you mean `width`?"),
            ('{"parts": [3]}', "option `parts[0]`: it is 3, and an object is wanted"),
            (f'{{{good}, "label": ""}}', "option `label`: it has 0 characters and needs 1"),
            (f'{{{good}, "ratio": 1}}', "unknown option `ratio`"),
            (f'{{{good}, "the-ratio": 0}}', "option `the-ratio`: it is 0.0; it must be more than 0"),
            (f'{{{good}, "the-ratio": 1.5}}', "option `the-ratio`: it is 1.5; it must be at most 1"),
            (f'{{{good}, "the-ratio": "x"}}', 'option `the-ratio`: it is "x", and a number is wanted'),
            (f'{{{good}, "the-ratio": true}}', "option `the-ratio`: it is true, and a number is wanted"),
            (f'{{{good}, "limit": 1.5}}', "option `limit`: it is 1.5, and an integer is wanted"),
            (f'{{{good}, "limit": 1e300}}', "option `limit`: it is 1e+300, and an integer is wanted"),
            (f'{{{good}, "limit": {2**63}}}', f"option `limit`: it is {2**63}, and an integer is wanted"),
            (f'{{{good}, "limit": false}}', "option `limit`: it is false, and an integer is wanted"),
            (f'{{{good}, "on": 1}}', "option `on`: it is 1, and true or false is wanted"),
            (f'{{{good}, "mode": "slow"}}', 'option `mode`: it is "slow", and one of "fast", "exact" is wanted'),
            (f'{{{good}, "names": [1]}}', "option `names[0]`: it is 1, and a string is wanted"),
            (f'{{{good}, "more": {{"x": "y"}}}}', 'option `more.x`: it is "y", and a number is wanted'),
            ("[]", "bad options: an object is wanted"),
            ('{"limit": NaN}', "bad options: NaN is no JSON"),
            ("{", "bad options: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ):  # fmt: skip
            with self.subTest(text), self.assertRaises(Problem) as raised:
                options.parse(Options, text)
            self.assertEqual((raised.exception.code, raised.exception.message), ("bad-options", message))

    def test_other_json_is_read_as_strictly(self) -> None:
        text = '{"parts": [{"name": "é", "width": 1}], "limit": null, "the-ratio": 1, "more": {"x": -0}, "any": null}'
        read = options.parse_json(Options, text.encode())
        self.assertEqual(read, Options([Part("é", 1)], ratio=1.0, more={"x": 0.0}))
        self.assertEqual(str(read.more["x"]), "-0.0")
        good = '"parts": [{"name": "a", "width": 1}]'
        for text, message in (
            ("{}", "field `parts`: it is missing"),
            ("[]", "an object is wanted"),
            (f'{{{good}, "ratio": 1}}', "unknown field `ratio`"),
            (f'{{{good}, "on": null}}', "field `on`: it is null, and true or false is wanted"),
            ('{"parts": [{"name": null, "width": 1}]}', "field `parts[0].name`: it is null, and a string is wanted"),
            (f'{{{good}, "more": {{"x": 1e999}}}}', "field `more.x`: it is more than a float64 holds"),
            (f'{{{good}, "more": {{"x": 1{"0" * 400}}}}}', "field `more.x`: it is more than a float64 holds"),
            (f'{{{good}, "more": {{"x": 1, "x": 1}}}}', "`x` is given twice"),
            (f'{{{good}, "any": NaN}}', "NaN is no JSON"),
            ("", "Expecting value: line 1 column 1 (char 0)"),
        ):  # fmt: skip
            with self.subTest(text), self.assertRaises(ValueError) as raised:
                options.parse_json(Options, text.encode())
            self.assertEqual(str(raised.exception), message)
        for data in (b"\xff", b"[" * 10**5):
            with self.assertRaises(ValueError):
                options.parse_json(Options, data)

    def test_what_is_no_option_is_told_when_it_is_registered(self) -> None:
        @dataclass
        class Wrong:
            when: bytes

        with self.assertRaisesRegex(TypeError, "Wrong.when is .*bytes"):
            options.schema_of(Wrong)
        with self.assertRaisesRegex(TypeError, "put @dataclass above it"):
            options.schema_of(int)


class ItemsTest(unittest.TestCase):
    def test_registration_says_what_is_missing(self) -> None:
        class Learns(plinth.Transform):
            def update(self, rows):
                pass

            def apply(self, rows):
                return rows

        class Empty(plinth.Transform):
            pass

        class NoPlan(plinth.Loader):
            def read(self, source, schema, token):
                yield

        for cls, message in (
            (Learns, "Learns learns from rows .`update`., and so needs `partial`"),
            (Empty, "Empty has no `apply`"),
            (NoPlan, "NoPlan has no `plan`"),
            (type("G", (plinth.Gate,), {}), "G has no `evaluate`"),
            (type("D", (plinth.DriftTest,), {}), "D has no `test`"),
            (type("M", (plinth.Model,), {}), "M has no `output`"),
            (type("M", (plinth.Model,), {"output": len}), "M has no `predict`"),
            (int, "an item is a class made from plinth.Transform"),
        ):
            with self.subTest(cls), self.assertRaisesRegex(TypeError, message):
                plinth.item("wrong")(cls)
        with self.assertRaisesRegex(TypeError, "`Not Kebab` is no name"):
            plinth.item("Not Kebab")

    def test_two_items_of_one_name_are_told(self) -> None:
        class One(plinth.Gate):
            def evaluate(self, evidence):
                return []

        class Two(One):
            pass

        plinth.item("doubled")(One)
        with self.assertRaisesRegex(TypeError, "`doubled` is both .*One and .*Two"):
            plinth.item("doubled")(Two)
        del items.ITEMS["gate"]["doubled"]

    def test_an_unknown_item_is_told_with_the_nearest(self) -> None:
        @plinth.item("known")
        class Known(plinth.Gate):
            """A summary.

            And more.
            """

            def evaluate(self, evidence):
                return []

        self.assertEqual(Known.item_summary, "A summary.")
        with self.assertRaises(Problem) as raised:
            items.find("gate", "knowm")
        self.assertEqual(raised.exception.message, "this component has no `knowm`, did you mean `known`?")
        del items.ITEMS["gate"]["known"]

    def test_a_transform_that_learns_nothing_keeps_its_options(self) -> None:
        @dataclass
        class Rename:
            to: str

        @plinth.item("rename")
        class Renamed(plinth.Transform):
            options: Rename
            options_type = Rename  # a class in a function has no name that annotations could be resolved by

            def output(self):
                return plinth.Schema([plinth.Field(self.options.to, self.schema[0].kind)])

            def apply(self, rows):
                return plinth.Rows.of(self.output(), [rows[0]])

        state = testing.fit(Renamed, testing.rows({"x": [1]}), options={"to": "y"})
        self.assertEqual(json.loads(state), {"to": "y"})
        self.assertEqual(testing.apply(Renamed, state, testing.rows({"x": [1]})).to_dict(), {"y": [1]})


@plinth.map_columns("clip")
def clip(value: float, min: float, max: float = 1.0) -> float:
    """Holds numbers within a range."""
    return builtins_max(min, builtins_min(value, max))


builtins_min, builtins_max = min, max


class MapTest(unittest.TestCase):
    def test_a_function_becomes_a_transform(self) -> None:
        rows = testing.rows({"x": [-1.0, 0.5, 9.0], "y": [None, 3.0, 0.25], "i": [1, 2, 3]})
        item = clip.item
        self.assertEqual((item.item_name, item.item_summary), ("clip", "Holds numbers within a range."))
        state = testing.fit(item, rows, options={"min": 0})
        wanted = {"x": [0.0, 0.5, 1.0], "y": [None, 1.0, 0.25], "i": [1, 2, 3]}
        self.assertEqual(testing.apply(item, state, rows).to_dict(), wanted)
        state = testing.fit(item, rows, options={"min": 0, "max": 2, "columns": ["y"]})
        self.assertEqual(testing.apply(item, state, rows)["x"].values(), [-1.0, 0.5, 9.0])
        self.assertEqual(clip(5.0, 0.0), 1.0)
        self.assertEqual(options.schema_of(items.options_class(item))["required"], ["min"])

    def test_its_columns_are_checked_when_it_is_fitted(self) -> None:
        rows = testing.rows({"x": [1.0], "i": [1]})
        for columns, code in ((["z"], "unknown-column"), (["i"], "wrong-kind"), (["x", "x"], "bad-options")):
            with self.assertRaises(Problem) as raised:
                testing.fit(clip.item, rows, options={"min": 0, "columns": columns})
            self.assertEqual(raised.exception.code, code)

    def test_a_parameter_without_a_type_is_told(self) -> None:
        with self.assertRaisesRegex(TypeError, "`low` has no type"):

            @plinth.map_columns("wrong")
            def wrong(value: float, low) -> float:
                return value


if __name__ == "__main__":
    unittest.main()
