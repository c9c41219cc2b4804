"""Reads our Dockerfile: stages, and what each inherits."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Stage:
    name: str
    base: "str | Stage"
    steps: list[tuple[str, str]] = field(default_factory=list)

    def said(self, instruction: str) -> list[str]:
        """Every argument of `instruction`, those of the stages below first."""
        below = self.base.said(instruction) if isinstance(self.base, Stage) else []
        return below + [text for name, text in self.steps if name == instruction]

    @property
    def image(self) -> str:
        """The image of somebody else that it stands on."""
        return self.base.image if isinstance(self.base, Stage) else self.base

    @property
    def user(self) -> str:
        return (self.said("USER") or ["root"])[-1]

    @property
    def entrypoint(self) -> list[str]:
        return _words(self.said("ENTRYPOINT"))

    @property
    def command(self) -> list[str]:
        return _words(self.said("CMD"))

    @property
    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for text in self.said("ENV") for word in shlex.split(text))


def read(path: Path) -> dict[str, Stage]:
    """By name, in order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for line in filter(str.strip, lines):
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, as_, name = rest.split()
            assert as_ == "AS", line
            stage = stages[name] = Stage(name, stages.get(base, base))
        else:
            assert stage is not None, line
            stage.steps.append((instruction, rest.strip()))
    return stages


def _words(said: list[str]) -> list[str]:
    """The last one, in exec form: a shell in front would not hand signals on."""
    words: list[str] = json.loads(said[-1]) if said else []
    return words
