"""Settings whose mistakes are told in one line."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Frozen. Raises ValueError, in one line about the first mistake there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part).replace("_", "-") for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ")
            said = said[:1].lower() + said[1:]
            raise ValueError(f"{name} {first['input']!r}: {said}" if name else said) from None
