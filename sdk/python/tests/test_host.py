"""What the host offers, played by `plinth.testing`, and loaders as the host reads them."""

import unittest

from . import SDK  # noqa: F401  It puts the SDK on the path.

import plinth
from plinth import _host, testing
from plinth.http import Response
from plinth.loader import Reading
from plinth.nn import Tensor, TensorType


class HostTest(unittest.TestCase):
    def setUp(self) -> None:
        testing.reset()

    def code(self, call, *arguments) -> str:
        with self.assertRaises(plinth.Problem) as raised:
            call(*arguments)
        return raised.exception.code

    def test_what_a_test_lends_is_what_the_code_sees(self) -> None:
        testing.lend_config("model", "small")
        testing.lend_secret("key", "s3cret")
        testing.lend_object("a/x.txt", b"0123")
        testing.lend_time(5)
        self.assertEqual(
            (plinth.config.get("model"), plinth.config.get("none"), plinth.config.get("none", "d")),
            ("small", None, "d"),
        )
        self.assertEqual(plinth.config.get_all(), {"model": "small"})
        self.assertEqual((plinth.secrets.get("key"), self.code(plinth.secrets.get, "other")), ("s3cret", "denied"))
        opened = plinth.objects.open("a/x.txt")
        self.assertEqual((opened.size(), opened.read(1, 2), opened.read(2), opened.read(9)), (4, b"12", b"23", b""))
        self.assertEqual((plinth.objects.list_objects("a/"), plinth.objects.list_objects("b")), (["a/x.txt"], []))
        self.assertEqual(self.code(plinth.objects.open, "b"), "not-found")
        self.assertEqual(plinth.clock.now_us(), 5)
        self.assertLess(plinth.clock.monotonic_ns(), plinth.clock.monotonic_ns())
        plinth.log.warn("odd")
        plinth.log.info(3)
        self.assertEqual(testing.logged, [("warn", "odd"), ("info", "3")])

    def test_the_store(self) -> None:
        for key in ("b/2", "b/1", "a", "b/3"):
            plinth.kv.set(key, key.encode())
        plinth.kv.delete("b/3")
        plinth.kv.delete("never")
        self.assertEqual((plinth.kv.get("a"), plinth.kv.get("b/3")), (b"a", None))
        self.assertEqual(list(plinth.kv.keys("b/")), ["b/1", "b/2"])
        self.assertEqual(plinth.kv.list_keys("", "a", 1), ["b/1"])
        swaps = [("n", b"0", b"1"), ("n", None, b"1"), ("n", None, b"2"), ("n", b"1", b"2")]
        self.assertEqual([plinth.kv.swap(*each) for each in swaps], [False, True, False, True])
        self.assertEqual(plinth.kv.get("n"), b"2")

    def test_more_objects_than_a_page_are_listed(self) -> None:
        names = [f"a/{number:04}" for number in range(2001)]
        for name in names:
            testing.lend_object(name, b"")
        self.assertEqual(plinth.objects.list_objects("a/"), names)

    def test_random_numbers_are_the_same_each_time(self) -> None:
        first = (plinth.random.get_u64(), plinth.random.get_bytes(3))
        testing.reset()
        self.assertEqual((plinth.random.get_u64(), plinth.random.get_bytes(3)), first)
        self.assertEqual(first[0], 0xE220A8397B1DCDAF)  # SplitMix64 of 0

    def test_requests(self) -> None:
        testing.lend_answer("https://a/", Response(200, [("content-type", "application/json")], b'{"a": 1}'))
        testing.lend_answer("https://a/", Response(201), "POST")
        answer = plinth.http.get("https://a/", {"accept": "*/*"})
        self.assertEqual(
            (answer.status, answer.json(), answer.header("Content-Type")), (200, {"a": 1}, "application/json")
        )
        self.assertEqual(plinth.http.send("POST", "https://a/", body=b"x").status, 201)
        self.assertEqual(self.code(plinth.http.get, "https://b/"), "denied")
        with self.assertRaisesRegex(ValueError, "`TRACE` is none of GET"):
            plinth.http.send("TRACE", "https://a/")

    def test_models(self) -> None:
        testing.lend_model("double", lambda given: {"y": Tensor.of([2 * x for x in given["x"].values()], (2,))})
        graph = plinth.nn.load("double")
        self.assertEqual(graph.compute({"x": Tensor.of([1.5, 2.0], (2,))})["y"].values(), [3.0, 4.0])
        self.assertEqual(self.code(plinth.nn.load, "other"), "denied")
        texts = Tensor((2,), TensorType.UTF8, b"\x02\0\0\0\xc3\xa9\0\0\0\0")
        self.assertEqual(texts.values(), ["é", ""])
        with self.assertRaisesRegex(ValueError, r"3 values are no tensor of the shape \(2,\)"):
            Tensor.of([1, 2, 3], (2,))
        with self.assertRaises(ValueError):
            Tensor.of([1], (1,), TensorType.FP16)

    def test_tables(self) -> None:
        parts = [testing.rows({"x": [1.0, 2.0]}), testing.rows({"x": [3.0]})]
        testing.lend_table("data", *parts)
        table = plinth.tables.open("data")
        self.assertEqual(table.schema, parts[0].schema)
        self.assertEqual(list(table), parts)
        self.assertIsNone(table.next())
        self.assertEqual(self.code(plinth.tables.open, "none"), "not-found")

    def test_what_was_not_asked_for_is_told_in_a_component(self) -> None:
        _host.inside = True
        try:
            with self.assertRaisesRegex(RuntimeError, 'add "kv" to "capabilities" in plugin.json'):
                plinth.kv.get("a")
        finally:
            _host.inside = False

    def test_problems_of_the_host_are_problems(self) -> None:
        class Err(Exception):
            value = plinth.Problem("kv-quota", "too much", retryable=True, row=3, column="c")

        def fails() -> None:
            raise Err

        with self.assertRaises(plinth.Problem) as raised:
            _host.call(fails)
        self.assertEqual(vars(raised.exception), vars(Err.value))
        self.assertEqual(str(raised.exception), "kv-quota: too much (column `c`) (row 3)")
        with self.assertRaises(ZeroDivisionError):
            _host.call(lambda: 1 / 0)


class ReadingTest(unittest.TestCase):
    class Numbers(plinth.Loader):
        def plan(self, source):
            return plinth.Plan(plinth.Schema([plinth.Field("i", plinth.Kind.INT64)]))

        def read(self, source, schema, token):
            for length in (0, 5, 0, 1):
                yield plinth.Rows.of(schema, [range(length)])

    def test_more_than_was_wanted_is_kept_for_the_next_turn(self) -> None:
        turns = testing.read(self.Numbers, "x", max_rows=2)
        self.assertEqual([turn["i"].values() for turn in turns], [[0, 1], [2, 3], [4], [0]])

    def test_the_end_stays_the_end(self) -> None:
        loader = self.Numbers()
        reading = Reading(loader, "x", loader.plan("x").schema, b"")
        self.assertEqual([len(reading.next(100) or ()) for _ in range(4)], [5, 1, 0, 0])
        self.assertEqual(loader.max_rows, 100)


if __name__ == "__main__":
    unittest.main()
