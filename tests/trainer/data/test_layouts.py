"""Each published layout on a tiny tree of its shape."""

import json
from pathlib import Path

import pytest

from trainer.data.layouts import LONGEST, TEST_300VW, clip_id, find_clips, located


def tree(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def test_voxceleb_cut_faces(tmp_path):
    tree(tmp_path, "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "test/mp4/id00017/01dfn2spqyE/00002.mp4")
    found = find_clips(tmp_path)
    assert found.layout == "voxceleb"
    assert [(clip.id, clip.identity, clip.split) for clip in found.clips] == [
        ("id00012+21Uxsk56VDQ+00001", "id00012", "dev"),
        ("id00017+01dfn2spqyE+00002", "id00017", "test"),
    ]
    assert "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4" in found.why


def test_voxceleb_boxes_beside_whole_videos(tmp_path):
    tree(tmp_path, "txt/id10270/5r0dWxy17C8/00001.txt", "txt/id10001/1zcIwhmdeo4/00002.txt")
    tree(tmp_path, "videos/5r0dWxy17C8.mp4")
    missing, there = find_clips(tmp_path).clips
    assert there.path == tmp_path / "videos/5r0dWxy17C8.mp4"
    assert there.boxes == tmp_path / "txt/id10270/5r0dWxy17C8/00001.txt"
    assert (there.identity, there.split) == ("id10270", "test")  # by the number: VoxCeleb 1's test set
    assert missing.split is None
    assert not missing.path.exists()  # told when it is looked at


def test_a_voxceleb_clip_that_is_cut_is_not_cut_again(tmp_path):
    tree(tmp_path, "mp4/id00012/21Uxsk56VDQ/00001.mp4", "txt/id00012/21Uxsk56VDQ/00001.txt")
    (clip,) = find_clips(tmp_path).clips
    assert clip.boxes is None


def test_voxceleb_faces_as_pictures(tmp_path):
    names = [f"unzippedFaces/Zac_Efron/1.6/xf3fGsQsBZo/{number}.jpg" for number in ("0000325", "0000025")]
    tree(tmp_path, *names)
    (clip,) = find_clips(tmp_path).clips
    assert (clip.id, clip.identity, clip.series) == ("Zac_Efron+xf3fGsQsBZo", "Zac_Efron", True)
    assert [path.stem for path in clip.frames] == ["0000025", "0000325"]


def test_celebvhq_cut_clips(tmp_path):
    tree(tmp_path, "processed/M2Ohb0FAaJU_1.mp4", "processed/-_a2n3rlJU0_10_15_0.mp4")
    found = find_clips(tmp_path)
    assert found.layout == "celebvhq"
    assert [(clip.id, clip.identity) for clip in found.clips] == [
        ("-_a2n3rlJU0_10_15_0", "-_a2n3rlJU0"),
        ("M2Ohb0FAaJU_1", "M2Ohb0FAaJU"),
    ]


def test_celebvhq_whole_videos_are_cut_by_the_json(tmp_path):
    entry = {
        "ytb_id": "M2Ohb0FAaJU",
        "duration": {"start_sec": 81.62, "end_sec": 86.17},
        "bbox": {"top": 0.0, "bottom": 0.8815, "left": 0.1964, "right": 0.6922},
    }
    tree(tmp_path, "raw/M2Ohb0FAaJU.mp4")
    clips = {"M2Ohb0FAaJU_1": entry, "_0tf2n3rlJU_0": {**entry, "ytb_id": "_0tf2n3rlJU"}}
    (tmp_path / "celebvhq_info.json").write_text(json.dumps({"meta_info": {}, "clips": clips}))
    (clip,) = find_clips(tmp_path).clips  # the other video isn't there
    assert (clip.id, clip.start_s, clip.end_s) == ("M2Ohb0FAaJU_1", 81.62, 86.17)
    assert clip.region == (0.1964, 0.0, 0.6922, 0.8815, None)


@pytest.mark.parametrize("text", ["{", '{"clips": {"a": {}}}', '{"clips": [1]}', "[]"])
def test_a_damaged_json_is_told(tmp_path, text):
    tree(tmp_path, "M2Ohb0FAaJU.mp4")
    (tmp_path / "celebvhq_info.json").write_text(text)
    with pytest.raises(ValueError, match="is not CelebV-HQ's JSON"):
        find_clips(tmp_path)


def test_vfhq(tmp_path):
    name = "Clip+-1Jouc19Ixo+P0+C1+F4196-4320"
    tree(tmp_path, *(f"GT/{name}/{number}.png" for number in ("10", "9", "00000008")))
    tree(tmp_path, "mp4/Clip+cjHs_pD8sT8+P2+C1+F3014-3293_0_277.mp4")
    found = find_clips(tmp_path)
    assert found.layout == "vfhq"
    frames, video = found.clips
    assert (frames.id, frames.identity) == (name, "-1Jouc19Ixo+P0")
    assert [path.stem for path in frames.frames] == ["00000008", "9", "10"]  # by their value
    assert not frames.series
    assert (video.identity, video.frames) == ("cjHs_pD8sT8+P2", ())


def test_vfhq_s_descriptions_say_where_in_whole_videos_its_clips_are(tmp_path):
    name = "Clip+-1Jouc19Ixo+P0+C1+F4196-4320"
    absent, cut = "Clip+cjHs_pD8sT8+P2+C1+F3014-3293", "Clip+-1Jouc19Ixo+P0+C2+F5000-5100"
    tree(tmp_path, f"meta_info/{absent}.txt", f"meta_info/{cut}.txt", f"GT/{cut}/00000001.png")
    tree(tmp_path, "youtube/-1Jouc19Ixo.webm")
    text = "FPS 25.0\nH 1080\nW 1920\nLANDMARK 1 2 3\nCROP 600 40 1300 740\n"
    (tmp_path / f"meta_info/{name}.txt").write_text(text)
    found = find_clips(tmp_path)
    assert found.layout == "vfhq"
    whole, frames = found.clips  # the third one's video isn't there
    assert (frames.id, frames.boxes) == (cut, None)  # cut already
    assert (whole.id, whole.identity) == (name, "-1Jouc19Ixo+P0")
    assert whole.path == tmp_path / "youtube/-1Jouc19Ixo.webm"
    assert located(whole).region == (600, 40, 1300, 740, 1080)
    assert (located(whole).start_s, located(whole).end_s) == (4197 / 25, 4320 / 25)  # 4197 to 4319


@pytest.mark.parametrize(
    "text", ["", "FPS 25\nH 9\nCROP 1 2 3\n", "FPS 0\nH 9\nCROP 1 2 3 4\n", "H 9\nCROP 1 2 3 4\n"]
)
def test_a_damaged_description_is_told(tmp_path, text):
    tree(tmp_path, "-1Jouc19Ixo.mp4")
    (tmp_path / "Clip+-1Jouc19Ixo+P0+C1+F4196-4320.txt").write_text(text)
    (clip,) = find_clips(tmp_path).clips
    with pytest.raises(ValueError, match="expected lines FPS, H and CROP"):
        located(clip)


@pytest.mark.parametrize(
    ("place", "whose"),
    [
        ("{}/Clip+-1Jouc19Ixo+P0+C1+F4196-4320/1.png", "-1Jouc19Ixo+P0"),
        ("{}/M2Ohb0FAaJU_1.mp4", "M2Ohb0FAaJU"),
        ("{}/id00012/21Uxsk56VDQ/00001.mp4", "id00012"),
        ("{}/114/vid.avi", "114"),
    ],
)
def test_copies_are_clips_of_their_own_and_of_one_person(tmp_path, place, whose):
    tree(tmp_path, place.format("GT"), place.format("small"))
    found = find_clips(tmp_path)
    assert len({clip.id for clip in found.clips}) == 2
    assert [clip.identity for clip in found.clips] == [whose] * 2


def test_what_is_written_is_not_read_again(tmp_path):
    name = "Clip+-1Jouc19Ixo+P0+C1+F4196-4320"
    tree(tmp_path, f"GT/{name}/1.png", f"out/clips/3f/{name}+000/000000.jpg")
    assert len(find_clips(tmp_path).clips) == 2
    (clip,) = find_clips(tmp_path, without=tmp_path / "out").clips
    assert clip.id == name
    with pytest.raises(ValueError, match="is read and written: name another folder"):
        find_clips(tmp_path, without=tmp_path / "out/..")


def test_300vw(tmp_path):
    for number in ("001", "114", "203", "410"):
        tree(tmp_path, f"{number}/vid.avi", f"{number}/annot/000001.pts")
    found = find_clips(tmp_path)
    assert found.layout == "300vw"
    assert [(clip.id, clip.split) for clip in found.clips] == [
        ("001", "train"),
        ("114", "test1"),
        ("203", "test2"),
        ("410", "test3"),
    ]
    assert found.clips[0].annotation == tmp_path / "001/annot"


def test_300vw_has_64_clips_to_test_with():
    assert [len(those) for those in TEST_300VW.values()] == [31, 19, 14]
    assert len(set().union(*TEST_300VW.values())) == 64


def test_rafd(tmp_path):
    tree(
        tmp_path,
        "Rafd090_28_Caucasian_male_angry_frontal.jpg",
        "Rafd090_28_Caucasian_male_angry_left.jpg",
        "Rafd045_28_Caucasian_male_angry_left.jpg",
        "Rafd090_03_Caucasian_female_happy_right.jpg",
        "Thumbs.db",
    )
    found = find_clips(tmp_path)
    assert found.layout == "rafd"
    assert [(clip.id, clip.identity, len(clip.frames)) for clip in found.clips] == [
        ("Rafd045+28", "28", 1),
        ("Rafd090+03", "03", 1),
        ("Rafd090+28", "28", 2),
    ]
    last = found.clips[-1]
    assert last.labels == (("emotion", ("angry", "angry")), ("gaze", ("frontal", "left")))
    assert last.frames[1].name == "Rafd090_28_Caucasian_male_angry_left.jpg"
    assert last.series


def test_plain_videos_in_any_depth(tmp_path):
    tree(tmp_path, "a/b/one.mp4", "two.MOV", "two.avi", "notes.txt", "poster.jpg", "with space.mkv")
    found = find_clips(tmp_path)
    assert found.layout == "videos"
    assert len({clip.id for clip in found.clips}) == 4
    assert found.clips[0].id == "a+b+one"


def test_hidden_files_are_no_clips(tmp_path):
    tree(tmp_path, "a.mp4", "._a.mp4", ".b.mp4", ".cache/c.mp4", "d/.cache/e/f.mp4")
    assert [clip.id for clip in find_clips(tmp_path).clips] == ["a"]


def test_plain_stills(tmp_path):
    tree(tmp_path, "me.JPG", "you/me.png")
    found = find_clips(tmp_path)
    assert (found.layout, [clip.id for clip in found.clips]) == ("stills", ["me", "you+me"])


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("auto", "neither clips nor pictures"),
        ("voxceleb", "idNNNNN/YOUTUBEID/NNNNN.mp4"),
        ("300vw", "vid.avi and annot"),
        ("videos", r"expected videos \(\.mp4"),
    ],
)
def test_a_folder_of_something_else(tmp_path, layout, expected):
    tree(tmp_path, "notes.txt")
    with pytest.raises(ValueError, match=expected) as raised:
        find_clips(tmp_path, layout)
    assert "\n" not in str(raised.value)


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="is no folder"):
        find_clips(tmp_path / "nowhere")


def test_long_names_fit_into_the_name_of_a_file():
    """A portrait's along a motion, both with the titles that downloaders give, and what a writer adds."""
    long = [clip_id("é" * 120, "x" * 200), clip_id("é" * 120, "x" * 201), clip_id("x" * LONGEST)]
    assert len(set(long)) == 3
    assert len(f".{long[0]}+{long[1]}+000+00000.01234567.part") < 255


def test_names_are_safe_and_remain_different():
    assert clip_id("a", "b-c_d") == "a+b-c_d"
    odd = [clip_id("a b"), clip_id("a.b"), clip_id("ä", "b"), clip_id("a_b")]
    assert len(set(odd)) == 4
    assert all(name.isascii() and not set(name) & set(" ./\\:") for name in odd)
