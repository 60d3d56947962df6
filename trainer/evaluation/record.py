"""An evaluation as what JSON can hold. An infinite number is the word "inf": JSON has none."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.data.files import write_json
from trainer.evaluation.papers import reported
from trainer.evaluation.probing import MOTIONS, Probed
from trainer.evaluation.readings import Reading, Readings
from trainer.evaluation.retrieval import Retrieved
from trainer.evaluation.streaming import Streamed
from trainer.evaluation.transfer import BASELINES, Followed, Transfer
from trainer.metrics.summary import Summary

FORMAT = 1
Document = dict[str, Any]


def of_readings(found: Readings, network: str) -> Document:
    """network: by its name, for what its paper reports."""
    return {
        "figures": [_of_reading(one, network) for one in found.figures],
        "notes": list(found.notes),
    }


def of_steadiness(found: Mapping[str, Summary]) -> Document:
    return {name: one._asdict() for name, one in found.items()}


def of_sequences(found: Streamed, network: str) -> Document:
    return {
        **of_readings(found.readings, network),
        "sequences": len({(one["clip"], one["driver"]) for one in found.readings.clips}),
        "frames": list(found.frames),
        "steadiness": of_steadiness(found.flicker),
        "paper": {
            name: reported(network, found.readings.experiment, name) for name in ("akd_l2_256", "aced_l1")
        },
    }


def of_probes(found: Probed) -> Document:
    motion = {
        name: {
            "mean_r2": one.mean,
            "r2": dict(zip(MOTIONS, one.r2.tolist(), strict=True)),
            "n_train": one.n_train,
            "n_test": one.n_test,
        }
        for name, one in (("structure", found.structure), ("appearance", found.appearance))
    }
    who = {
        name: {"share": one.share, "chance": one.chance, "times_chance": one.share / one.chance, "n": one.n}
        for name, one in (("structure", found.who_structure), ("appearance", found.who_appearance))
    }
    return {"motion_r2_synthetic": motion, "identity_retrieval_at_1_synthetic": who}


def of_retrieval(found: Retrieved) -> Document:
    values = found._asdict()
    spread = values.pop("spread")
    return values | {
        "embedded_face_within": spread.within,
        "embedded_face_between": spread.between,
        "embedded_face_within_over_between": spread.ratio,
    }


def of_transfer(found: Transfer) -> Document:
    """Of what the judge says: nothing where there is none. `better_than` holds where both figures are."""
    document: Document = {
        "reconstruction": {
            codes: {name: one._asdict() for name, one in halves._asdict().items()}
            for codes, halves in (("sampled", found.sampled), ("encoded", found.encoded))
        },
        "inversion": {name: one._asdict() for name, one in found.inversion._asdict().items()},
        "coarse_rows": found.rows,
    }
    if found.followed:
        result = found.followed["result"]
        document["followed"] = {
            way: one._asdict() | {"appearance": one.appearance._asdict()}
            for way, one in found.followed.items()
        }
        document["better_than"] = {way: _better(result, found.followed[way]) for way in BASELINES}
    return document


def _better(one: Followed, other: Followed) -> bool:
    if one.structure is None or other.structure is None:
        return False
    return one.structure > other.structure and one.appearance.mean > other.appearance.mean


def save(path: Path, document: Mapping[str, Any] | Sequence[Any]) -> None:
    """Raises OSError where it can't be written."""
    write_json(path, _plain(document))


def load(path: Path) -> Document:
    """What `save` wrote. Raises ValueError for a file of another format, OSError where it can't be read."""
    found: Document = _numbers(json.loads(path.read_text(encoding="utf-8")))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path}: not figures of this program's format {FORMAT}")
    return found


def _of_reading(one: Reading, network: str) -> Document:
    return {
        "name": one.name,
        "unit": one.measure.unit,
        "better": one.measure.better,
        "meaning": one.measure.meaning,
        "drawn": one.drawn._asdict(),
        "copy": one.copy._asdict(),
        "mean_face": one.mean._asdict(),
        "beats_both": one.beats,
        "of_copy": one.drawn.mean / one.copy.mean if one.copy.mean else None,
        "paper": reported(network, one.experiment, one.name),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return str(value) if isinstance(value, Path) else value


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    return float(value) if value in ("inf", "-inf") else value
