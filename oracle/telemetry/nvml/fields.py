"""A board's energy counter and power in one call, `nvmlDeviceGetFieldValues`, made at each tick of each job.

It is called as it is, into the same memory each time. NVIDIA's binding makes a new array at every call, and
four times the work; at a tick a second caches are cold, and each line of code that is touched counts.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import c_uint
from functools import partial
from typing import Any, Final, NamedTuple

from oracle.telemetry.base import TelemetryError

SYMBOL: Final = "nvmlDeviceGetFieldValues"
# nvml.h, NVML_FI_*: the energy counter; power as mean of the last second (Ampere and newer, not GA100), now.
ENERGY_FIELD: Final = 83
POWER_FIELDS: Final = (185, 186)
VALUE_OF_TYPE: Final = {1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal"}  # nvmlValueType_t


class BoardReading(NamedTuple):
    """The energy counter in mJ and power in mW, each a value or why it isn't."""

    energy_mj: int | TelemetryError
    power_mw: int | TelemetryError


class Field(NamedTuple):
    """A field's number, and its return code, type and value, which change in place with each call."""

    number: int
    code: Any
    kind: Any
    value: Any


class Fields(NamedTuple):
    """`read` fills the fields of one board and returns NVML's code."""

    read: Callable[[], int]
    energy: Field
    powers: tuple[Field, ...]


def view(row: Any, name: str, kind: Any) -> Any:
    """A member of a structure, in place. Through the binding's structures each read is a call of Python's."""
    return kind.from_buffer(row, getattr(type(row), name).offset)


def fields_of(binding: Any, handle: Any) -> Fields:
    """The call for one board. Raises AttributeError if the driver has no such symbol."""
    rows = (binding.c_nvmlFieldValue_t * (1 + len(POWER_FIELDS)))()
    energy, *powers = map(_field, rows, (ENERGY_FIELD, *POWER_FIELDS))
    return Fields(partial(getattr(binding.nvmlLib, SYMBOL), handle, len(rows), rows), energy, tuple(powers))


def _field(row: Any, number: int) -> Field:
    row.fieldId = number
    return Field(number, view(row, "nvmlReturn", c_uint), view(row, "valueType", c_uint), row.value)
