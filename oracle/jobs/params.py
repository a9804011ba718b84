"""What a buyer may ask of each template, and what a provider fixes for it. Every field is bounded.

The catalogue checks these before a job is admitted, and the job program checks them again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

MATMUL_MAX_SIZE: Final = 1024
"""Largest matrix. Keeps the product within 4 MiB, and every partial sum exact in a double."""

ARTEFACT_MAX_BYTES: Final = 16_000_000
"""Largest content of one job: evidence carries it whole, and that holds 16 MiB (`scrip.evidence`)."""

SYSTEM_PROMPT: Final = "Answer the question from the text, briefly."
"""Fixed first message of `llm.generate`."""

_TEMPLATE_TOKENS: Final = 32
"""Bound for what SmolLM2's chat template adds around the messages: three marks, three roles, line ends."""


def _printable(text: str) -> str:
    for char in text:
        if ord(char) < 32 and char not in "\t\n\r":
            raise PydanticCustomError("text", "text without control characters")
    return text


Text = Annotated[str, AfterValidator(_printable)]
Seed = Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://[\x21-\x7e]{1,2000}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Package = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class Strict(BaseModel):
    """No conversion of types, no unknown fields, no change afterwards."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Params(Strict, ABC):
    """Parameters of one template."""

    @abstractmethod
    def work(self) -> int:
        """How much there is to do, in the unit of the template's `ns_per_op`. A hint, never billed."""

    def most_tokens(self) -> tuple[int, int] | None:
        """Upper bounds of input and output tokens, or None for a job without tokens."""
        return None

    def stored(self) -> tuple[int, int] | None:
        """Bytes that the job keeps and for how many seconds, or None for a job that keeps nothing."""
        return None

    def moved_bytes(self) -> int | None:
        """Bytes that the job moves, or None for a job that isn't there to move any."""
        return None

    def source_job(self) -> bytes | None:
        """Id of the earlier job whose output this one works on, or None."""
        return None


class NoSettings(Strict):
    """A template for which a provider fixes nothing."""


class LlmParams(Params):
    """`llm.generate`: one question, with a text to answer it from.

    `max_tokens` bounds the answer, the end mark included.
    """

    question: Text = Field(min_length=1, max_length=2000)
    context: Text = Field(default="", max_length=12_000)
    max_tokens: int = Field(default=64, ge=1, le=512)

    MESSAGE_TOKENS: ClassVar[int] = _TEMPLATE_TOKENS + len(SYSTEM_PROMPT)

    def prompt(self) -> str:
        """The user's message."""
        if not self.context:
            return f"Question: {self.question}"
        return f"Text:\n{self.context}\n\nQuestion: {self.question}"

    def most_tokens(self) -> tuple[int, int]:
        """A byte-level tokeniser makes at most one token of a byte."""
        return len(self.prompt().encode()) + self.MESSAGE_TOKENS, self.max_tokens

    def work(self) -> int:
        """Tokens generated at most, plus prompt tokens (about 4 bytes each, three times as fast)."""
        return self.max_tokens + len(self.prompt().encode()) // 12


class LlmSettings(Strict):
    """Which model answers, and how it is run. `threads` is fixed: the answer must not depend on the
    machine's cores.

    `package` is a Python package that is never imported, only looked into for `file`; `sha256` is the
    file's, in hex.
    """

    model: Label
    package: Package
    file: FileName
    sha256: Digest
    threads: int = Field(ge=1, le=64)
    context_tokens: int = Field(ge=256, le=131_072)


class MatmulParams(Params):
    """`matmul.int8`: `rounds` products of `size` x `size` matrices, each seeded by the one before."""

    seed: Seed
    size: int = Field(ge=64, le=MATMUL_MAX_SIZE, multiple_of=8)
    rounds: int = Field(default=1, ge=1, le=256)

    def work(self) -> int:
        """Thousands of multiplications."""
        return int(self.rounds * self.size**3 // 1000)


class HashParams(Params):
    """`hash.chain`: SHA-256 applied `steps` times, with `segments` checkpoints."""

    seed: Seed
    steps: int = Field(ge=1, le=100_000_000)
    segments: int = Field(default=16, ge=1, le=1024)

    @model_validator(mode="after")
    def _segments_fit(self) -> Self:
        if self.segments > self.steps:
            raise PydanticCustomError("segments", "an object with segments at most steps")
        return self

    def work(self) -> int:
        """Hashes."""
        return self.steps


class RetrieveParams(Params):
    """`text.retrieve`: the `passages` best passages of a document for a query, each of at most `words`
    words.
    """

    query: Text = Field(min_length=1, max_length=2000)
    document: Text = Field(min_length=1, max_length=100_000)
    passages: int = Field(default=3, ge=1, le=16)
    words: int = Field(default=60, ge=8, le=400)

    def work(self) -> int:
        """Characters."""
        return len(self.document) + len(self.query)


class CheckParams(Params):
    """`text.check`: how much of `claim` its `sources` back. `needed_bps` (hundredths of a percent) of a
    sentence's content words must be backed for it to count as supported.
    """

    claim: Text = Field(min_length=1, max_length=12_000)
    sources: Text = Field(min_length=1, max_length=60_000)
    needed_bps: int = Field(default=6_000, ge=0, le=10_000)

    def work(self) -> int:
        """Characters."""
        return len(self.claim) + len(self.sources)


class ArtefactParams(Params):
    """Content known by its hash: `size` bytes, from an origin that the provider allows if it has a `url`."""

    url: Url | None = None
    sha256: Digest
    size: int = Field(ge=1, le=ARTEFACT_MAX_BYTES)


class TransferParams(ArtefactParams):
    """`transfer`: fetch the content, so that it lies with the provider and the buyer gets it from there."""

    url: Url

    def moved_bytes(self) -> int:
        """All of it."""
        return self.size

    def work(self) -> int:
        """Kilobytes."""
        return self.size // 1000


class KeepParams(ArtefactParams):
    """`keep`: keep content for `seconds` and show `proofs` times in between that it is there.

    It is fetched from `url`, or it is the output of an earlier `job` that this provider did for the same
    payer. `seed` makes the challenges this job's own.
    """

    job: Seed | None = None
    seconds: int = Field(ge=1, le=86_400)
    proofs: int = Field(default=16, ge=1, le=256)
    seed: Seed

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.job is None):
            raise PydanticCustomError("source", "an object with either a url or a job")
        return self

    def stored(self) -> tuple[int, int]:
        """All of it, all the time."""
        return self.size, self.seconds

    def source_job(self) -> bytes | None:
        """The earlier job."""
        return None if self.job is None else bytes.fromhex(self.job[2:])

    def work(self) -> int:
        """Seconds."""
        return self.seconds


class ArtefactSettings(Strict):
    """Where artefacts may come from: origins such as "https://data.example.org", and how long one may take.

    A job that fetches has the provider's network, so an origin must not be one that trusts this machine.
    """

    origins: list[str]
    timeout_s: int = Field(ge=1, le=3600)


SCHEMAS: Final[dict[str, tuple[type[Params], type[Strict]]]] = {
    "llm": (LlmParams, LlmSettings),
    "matmul": (MatmulParams, NoSettings),
    "hash": (HashParams, NoSettings),
    "retrieve": (RetrieveParams, NoSettings),
    "check": (CheckParams, NoSettings),
    "transfer": (TransferParams, ArtefactSettings),
    "keep": (KeepParams, ArtefactSettings),
}
"""Parameters and settings by the name a catalogue uses for them."""
