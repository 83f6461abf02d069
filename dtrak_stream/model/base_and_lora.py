"""A model that is named with a LoRA of its own, BASE+LORA, as several checkpoints of one are."""

from __future__ import annotations

from pathlib import Path

from dtrak_stream.errors import ConfigurationError, InputError
from dtrak_stream.model.lora_files import find_lora
from dtrak_stream.model.places import EMBEDDED, HUB, hub_name

_PLUS = "+"


def base_and_lora(model: str) -> tuple[str, str | None]:
    """Return the base and the LoRA that a name of a model stands for.

    Names of folders may hold a plus themselves. So the name is taken apart where both sides are
    there, or else where one of them is: whoever reads the other side says that it is missing.

    Parameters
    ----------
    model
        A model, or BASE+LORA: a model, and the file or folder of a LoRA on it.

    Returns
    -------
    base, lora
        The model as it is and None, if it is no BASE+LORA.

    Raises
    ------
    ConfigurationError
        If there are two ways to read it.
    """
    pairs = _pairs(model)
    whole = [(model, None)] if Path(model).exists() else []
    readings = [*whole, *(each for each in pairs if _is_model(each[0]) and _is_lora(each[1]))]
    if len(readings) > 1:
        raise ConfigurationError(
            f"can be read in {len(readings)} ways: {' or '.join(map(_in_words, readings))}",
            where=f"--model {model}",
            remedy="rename one of the folders",
        )
    halves = [each for each in pairs if _is_model(each[0]) or _is_lora(each[1])]
    return next(iter([*readings, *halves]), (model, None))


def _pairs(model: str) -> list[tuple[str, str]]:
    """Return both sides of each plus, the last one first."""
    places = [place for place in reversed(range(len(model))) if model[place] == _PLUS]
    pairs = [(model[:place], model[place + 1 :]) for place in places]
    return [(base, lora) for base, lora in pairs if base and lora]


def _is_model(name: str) -> bool:
    if name in EMBEDDED or name.startswith(HUB) or Path(name).is_dir():
        return True
    return hub_name(name) is not None


def _is_lora(name: str) -> bool:
    try:
        find_lora(name)
    except InputError:
        return False
    return True


def _in_words(reading: tuple[str, str | None]) -> str:
    base, lora = reading
    return f"the model {base}" if lora is None else f"the LoRA {lora} on {base}"
