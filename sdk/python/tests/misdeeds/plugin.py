"""A gate that misbehaves on command: the option `deed` is the misdeed."""

from dataclasses import dataclass

import plinth


@dataclass
class Options:
    deed: str = "good"


@plinth.item("misdeeds", "Misbehaves on command")
class Misdeeds(plinth.Gate):
    options: Options

    def evaluate(self, evidence: plinth.Evidence) -> list[plinth.Check]:
        observed = "nothing"
        match self.options.deed:
            case "loop":
                while True:
                    pass
            case "bomb":
                held = []
                while True:
                    held.append(b"x" * (1 << 20))
            case "flood":
                for _ in range(20_000):
                    plinth.log.info("x" * 1_000)
            case "lie":  # more than any gate may return
                observed = "x" * (48 << 20)
            case "crash":
                raise RuntimeError("evil crash on command")
        return [plinth.Check("behaves", plinth.Result.PASS, observed, "nothing")]
