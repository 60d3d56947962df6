"""Where the clips of a data set lie, by the folder layouts that its authors publish.

Each reader looks at a folder's files and gives its clips, none where the folder is not laid out so. Layouts
are told apart by trying them, the special ones before the plain ones. To find clips, nothing is opened but
CelebV-HQ's JSON.
"""

import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

from trainer.data.annotations import Region, read_boxes, read_crop

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

LONGEST = 80  # characters of a clip's id: two of them have to fit into the name of a file, 255 at most

Layout = Literal["auto", "300vw", "celebvhq", "vfhq", "rafd", "voxceleb", "videos", "stills"]


class Clip(NamedTuple):
    """One clip of a data set."""

    id: str  # unique in it: letters, digits, "_", "+" and "-" only
    identity: str  # whom it shows, or what comes nearest to that
    path: Path  # the video, or the folder of `frames`
    frames: tuple[Path, ...] = ()  # pictures in their order, where it is no video
    start_s: float = 0.0
    end_s: float | None = None  # seconds; None: to the end
    split: str | None = None  # the official one, where there is one: train or dev, test or test1 …
    region: Region | None = None
    boxes: Path | None = None  # a file that says where in the video the clip is: see `located`
    annotation: Path | None = None  # a folder of landmark files, one for each frame
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()  # by name: one word for each of `frames`
    series: bool = False  # the frames are single shots of one person, not moments of one motion


class Found(NamedTuple):
    """What is in a folder."""

    layout: str
    why: str  # what it was told by
    clips: list[Clip]


Reader = Callable[[Path, Sequence[Path]], list[Clip]]


def find_clips(folder: Path, layout: Layout = "auto", without: Path | None = None) -> Found:
    """The clips of a data set; hidden files, as macOS leaves beside others, are none of it. without: a folder
    in it that isn't looked into, such as the one that is written. Raises ValueError, in one line for a user,
    where the folder isn't laid out that way, or in none that is known."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that holds the data set")
    skipped = _place_in(folder, without)
    if skipped == folder:
        raise ValueError(f"{folder} is read and written: name another folder for what is written")
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and skipped not in path.parents and not _is_hidden(path.relative_to(folder))
    )
    for name in LAYOUTS if layout == "auto" else (layout,):
        reader, expected = LAYOUTS[name]
        clips = _told_apart(folder, reader(folder, files))
        if clips:
            example = (clips[0].frames[0] if clips[0].frames else clips[0].path).relative_to(folder)
            return Found(name, f"{len(clips)} clips, {expected}: {example} …", clips)
    if layout == "auto":
        known = "; ".join(f"{name}: {expected}" for name, (_, expected) in LAYOUTS.items())
        raise ValueError(f"{folder} holds neither clips nor pictures; expected one of {known}")
    raise ValueError(f"{folder} is not laid out as {layout}: expected {LAYOUTS[layout][1]}")


def located(clip: Clip) -> Clip:
    """The clip with what its file of boxes says: in which part of the video it is, and of the frame. Raises
    ValueError for a damaged one, OSError for one that is gone."""
    if clip.boxes is None:
        return clip
    read = read_crop if clip.boxes.name.startswith("Clip+") else read_boxes
    region, start_s, end_s = read(clip.boxes)
    return clip._replace(region=region, start_s=start_s, end_s=end_s)


def read_300vw(root: Path, files: Sequence[Path]) -> list[Clip]:
    """300-VW: `NNN/vid.avi`, and in `NNN/annot` one `NNNNNN.pts` of 68 points for each frame, from 000001.

    https://ibug.doc.ic.ac.uk/resources/300-VW/ (J. Shen et al.: The First Facial Landmark Tracking
    in-the-Wild Challenge, ICCV Workshops 2015), release 300VW_Dataset_2015_12_14: 50 clips to train with and
    64 to test with, in three categories of difficulty.
    """
    clips = []
    for path in files:
        number = path.parent.name
        if path.name != "vid.avi" or not re.fullmatch(r"\d{3}", number):
            continue
        tests = (f"test{category}" for category, those in TEST_300VW.items() if int(number) in those)
        annotation = path.parent / "annot"
        there = annotation if annotation.is_dir() else None
        clips.append(Clip(clip_id(number), number, path, split=next(tests, "train"), annotation=there))
    return clips


# The test clips of 300-VW, by category: well lit; in the wild; under arbitrary conditions.
TEST_300VW = {
    1: (114, 124, 125, 126, 150, 158, 401, 402, 505, 506, 507, 508, 509, 510, 511, 514, 515, 518, 519, 520,
        521, 522, 524, 525, 537, 538, 540, 541, 546, 547, 548),
    2: (203, 208, 211, 212, 213, 214, 218, 224, 403, 404, 405, 406, 407, 408, 409, 412, 550, 551, 553),
    3: (410, 411, 516, 517, 526, 528, 529, 530, 531, 533, 557, 558, 559, 562),
}  # fmt: skip


def read_celebvhq(root: Path, files: Sequence[Path]) -> list[Clip]:
    """CelebV-HQ: `YOUTUBEID_N.mp4` in one folder as its script cuts them (or `YOUTUBEID_START_END_N.mp4`, as
    others did), and `celebvhq_info.json`, whose `clips` have `ytb_id`, `duration` (`start_sec`, `end_sec`)
    and `bbox` (`top`, `bottom`, `left`, `right`, shares of the sides).

    https://github.com/CelebV-HQ/CelebV-HQ. With the JSON, whole videos (`YOUTUBEID.mp4`) are cut by it. Who
    is shown isn't published: the video's id stands for the person. Raises ValueError for a damaged JSON.
    """
    found = [path for path in files if path.suffix.lower() == ".mp4"]
    videos = {path.stem: path for path in found}
    cut = [
        Clip(clip_id(path.stem), path.stem[:11], path)
        for path in found
        if re.fullmatch(r"[\w-]{11}(_\d+){1,3}", path.stem)
    ]
    listed = [path for path in files if path.name == "celebvhq_info.json"]
    if not listed:
        return cut
    done = {clip.id for clip in cut}
    try:
        entries = json.loads(listed[0].read_text("utf-8"))["clips"]
        whole = [
            _celebvhq_part(key, entry, videos[entry["ytb_id"]])
            for key, entry in entries.items()
            if entry["ytb_id"] in videos and clip_id(key) not in done
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{listed[0]} is not CelebV-HQ's JSON ({type(error).__name__}: {error}): fetch it again"
        ) from None
    return cut + whole


def _celebvhq_part(key: str, entry: dict[str, Any], path: Path) -> Clip:
    box, time = entry["bbox"], entry["duration"]
    region = Region(float(box["left"]), float(box["top"]), float(box["right"]), float(box["bottom"]))
    start, end = float(time["start_sec"]), float(time["end_sec"])
    return Clip(clip_id(key), str(entry["ytb_id"]), path, start_s=start, end_s=end, region=region)


def read_vfhq(root: Path, files: Sequence[Path]) -> list[Clip]:
    """VFHQ: folders of frames named `Clip+YOUTUBEID+Pn+Cn+Fstart-end`, of the n-th person's n-th clip; or
    videos of such names; or, of `meta_info`, text files of such names that say where in a whole video,
    `YOUTUBEID.mp4` anywhere below the folder, the clip is.

    https://liangbinxie.github.io/projects/vfhq (L. Xie et al.: VFHQ, CVPR Workshops 2022).
    """
    name = re.compile(r"Clip\+(?P<who>(?P<video>[\w-]+)\+P\d+)\+C\d+\+F\d+-\d+.*")
    clips, folders, described = [], defaultdict(list), []
    whole = {path.stem: path for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
    for path in files:
        suffix = path.suffix.lower()
        if suffix in PICTURE_SUFFIXES and name.fullmatch(path.parent.name):
            folders[path.parent].append(path)
        elif match := name.fullmatch(path.stem):
            if suffix in VIDEO_SUFFIXES:
                clips.append(Clip(clip_id(path.stem), match["who"], path))
            elif suffix == ".txt" and match["video"] in whole:
                video = whole[match["video"]]
                described.append(Clip(clip_id(path.stem), match["who"], video, boxes=path))
    for folder, frames in folders.items():
        match = name.fullmatch(folder.name)
        assert match is not None
        clips.append(Clip(clip_id(folder.name), match["who"], folder, tuple(sorted(frames, key=natural))))
    cut = {clip.id for clip in clips}
    return clips + [clip for clip in described if clip.id not in cut]


def read_rafd(root: Path, files: Sequence[Path]) -> list[Clip]:
    """RaFD, the Radboud Faces Database: `Rafd090_28_Caucasian_male_angry_frontal.jpg`, where 090 is the
    camera's angle (000, 045, 090, 135, 180: from profile to profile), 28 the model's number, and the others
    say ethnicity, gender, emotion and gaze.

    https://rafd.socsci.ru.nl/FAQ.html (O. Langner et al.: Presentation and validation of the Radboud Faces
    Database, Cognition & Emotion 24, 2010). A clip is one model seen from one angle, a series of stills with
    the labels `emotion` and `gaze`.
    """
    name = re.compile(
        r"Rafd(?P<angle>000|045|090|135|180)_(?P<model>\d+)_(?P<ethnicity>[A-Za-z]+)_(?P<gender>[A-Za-z]+)"
        r"_(?P<emotion>[a-z]+)_(?P<gaze>left|frontal|right)"
    )
    series: dict[tuple[str, str], list[tuple[str, str, Path]]] = defaultdict(list)
    for path in files:
        match = name.fullmatch(path.stem)
        if match and path.suffix.lower() in PICTURE_SUFFIXES:
            series[match["model"], match["angle"]].append((match["emotion"], match["gaze"], path))
    clips = []
    for (model, angle), shots in series.items():
        emotions, gazes, paths = zip(*sorted(shots), strict=True)
        labels = (("emotion", emotions), ("gaze", gazes))
        clip = Clip(clip_id(f"Rafd{angle}", model), model, paths[0].parent, paths, labels=labels, series=True)
        clips.append(clip)
    return clips


def read_voxceleb(root: Path, files: Sequence[Path]) -> list[Clip]:
    """VoxCeleb 1 and 2: `idNNNNN/YOUTUBEID/NNNNN.mp4`, the cut faces, below `dev/` or `test/`; or
    `NAME/1.6/YOUTUBEID/NNNNNNN.jpg`, VoxCeleb 1's faces at one a second; or `idNNNNN/YOUTUBEID/NNNNN.txt`, a
    face's boxes in a whole video, `YOUTUBEID.mp4` anywhere below the folder.

    https://www.robots.ox.ac.uk/~vgg/data/voxceleb/ (A. Nagrani et al., Interspeech 2017; J. S. Chung et al.,
    Interspeech 2018). Of VoxCeleb 1, id10270 to id10309 are the test set.
    """
    clips: list[Clip] = []
    boxes, frames = [], defaultdict(list)
    whole = {path.stem: path for path in files if path.suffix.lower() in VIDEO_SUFFIXES}
    for path in files:
        parts = path.relative_to(root).parts
        if len(parts) < 3:
            continue
        person, video = parts[-3], parts[-2]
        if re.fullmatch(r"id\d{5}", person) and re.fullmatch(r"[\w-]{11}", video):
            name = clip_id(person, video, path.stem)
            if path.suffix.lower() == ".mp4":
                clips.append(Clip(name, person, path, split=_voxceleb_split(person, parts)))
            elif path.suffix == ".txt" and re.fullmatch(r"\d{5}", path.stem):
                boxes.append((name, person, video, path))
        elif person == "1.6" and len(parts) >= 4 and path.suffix.lower() in PICTURE_SUFFIXES:
            frames[parts[-4], path.parent].append(path)
    cut = {clip.id for clip in clips}
    for name, person, video, path in boxes:
        if name not in cut:
            place = whole.get(video, root / f"{video}.mp4")
            split = _voxceleb_split(person, path.relative_to(root).parts)
            clips.append(Clip(name, person, place, split=split, boxes=path))
    for (person, folder), paths in frames.items():
        shots = tuple(sorted(paths, key=natural))
        clips.append(Clip(clip_id(person, folder.name), person, folder, shots, series=True))
    return clips


def _voxceleb_split(person: str, parts: tuple[str, ...]) -> str | None:
    if 10270 <= int(person[2:]) <= 10309:
        return "test"
    return next((part for part in parts if part in ("dev", "test")), None)


def read_videos(root: Path, files: Sequence[Path]) -> list[Clip]:
    """Videos in any depth. Each stands for a person of its own."""
    found = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    return [Clip(name, name, path) for name, path in _named(root, found)]


def read_stills(root: Path, files: Sequence[Path]) -> list[Clip]:
    """Pictures in any depth. Each stands for a person of its own."""
    found = [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]
    return [Clip(name, name, path, (path,), series=True) for name, path in _named(root, found)]


def _named(root: Path, paths: Sequence[Path]) -> list[tuple[str, Path]]:
    """Files with their names: without suffix, but where two would be named alike."""
    names = [clip_id(*path.relative_to(root).with_suffix("").parts) for path in paths]
    times = Counter(names)
    return [
        (clip_id(*path.relative_to(root).parts) if times[name] > 1 else name, path)
        for name, path in zip(names, paths, strict=True)
    ]


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _place_in(folder: Path, other: Path | None) -> Path | None:
    """The other folder as a search of this one comes upon it; None where it lies elsewhere."""
    if other is None or not other.resolve().is_relative_to(folder.resolve()):
        return None
    return folder / other.resolve().relative_to(folder.resolve())


def _told_apart(root: Path, clips: Sequence[Clip]) -> list[Clip]:
    """The clips by their ids. Where two have one, as copies in other sizes do, they are called by where they
    lie."""
    times = Counter(clip.id for clip in clips)
    apart = [
        clip._replace(id=clip_id(*(clip.boxes or clip.path).relative_to(root).parts))
        if times[clip.id] > 1
        else clip
        for clip in clips
    ]
    return sorted(apart, key=lambda clip: clip.id)


LAYOUTS: dict[str, tuple[Reader, str]] = {
    "300vw": (read_300vw, "folders NNN with vid.avi and annot/*.pts"),
    "celebvhq": (read_celebvhq, "YOUTUBEID_N.mp4, or celebvhq_info.json beside YOUTUBEID.mp4"),
    "vfhq": (read_vfhq, "folders, videos or .txt named Clip+YOUTUBEID+Pn+Cn+Fstart-end"),
    "rafd": (read_rafd, "pictures named Rafd090_01_Caucasian_female_angry_frontal.jpg"),
    "voxceleb": (read_voxceleb, "idNNNNN/YOUTUBEID/NNNNN.mp4 or .txt, or NAME/1.6/YOUTUBEID/*.jpg"),
    "videos": (read_videos, f"videos ({', '.join(VIDEO_SUFFIXES)})"),
    "stills": (read_stills, f"pictures ({', '.join(PICTURE_SUFFIXES)})"),
}
"""Name → how it is read, and what is expected, in words. In the order in which they are tried."""


def clip_id(*parts: str) -> str:
    """A name for files made of these, the same every time: other characters than letters, digits, "_", "+"
    and "-" are replaced, what is beyond `LONGEST` is cut off, and a checksum of what was there is added."""
    plain = re.sub(r"[^A-Za-z0-9_+-]", "_", "+".join(parts))
    if plain == "+".join(parts) and len(plain) <= LONGEST:
        return plain
    return f"{plain[:LONGEST]}-{zlib.crc32('/'.join(parts).encode()):08x}"


def natural(path: PurePath) -> list[tuple[int, str]]:
    """To sort by name, numbers by their value."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
