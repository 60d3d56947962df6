"""Settings whose mistakes are told in one line."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Frozen. Raises ValueError, about the first mistake there is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part).replace("_", "-") for part in first["loc"])
            said = first["msg"][:1].lower() + first["msg"][1:]
            raise ValueError(f"{name} {first['input']!r}: {said}") from None
