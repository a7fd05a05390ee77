"""The index of a data set on disk, and what is said when the disk is wrong."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import LAYOUTS, REAL, SMALL, plant, touch

from reidlib.data.datasets import DATASETS, load, parse, survey
from reidlib.data.loading import load_stack
from reidlib.protocol import Protocol


@pytest.fixture
def tree(tmp_path):
    home = tmp_path / "market1501"
    touch(home / "bounding_box_train", "0002_c1s1_000451_03.jpg", "0007_c3s3_077419_03.jpg")
    touch(home / "query", "0001_c1s1_001051_00.jpg")
    test = ("0001_c2s1_001051_00.jpg", "-1_c1s1_000401_03.jpg", "0000_c6s1_000151_01.jpg", "Thumbs.db")
    touch(home / "bounding_box_test", *test)
    return tmp_path


def test_reads_all_splits_without_junk(tree):
    split = load("market1501", tree)
    assert [(r.pid, r.camid) for r in split.train] == [(2, 1), (7, 3)]
    assert [(r.pid, r.camid) for r in split.gallery] == [(0, 6), (1, 2)]
    assert split.labels == {2: 0, 7: 1}
    assert split.counts()["gallery"]["distractors"] == 1
    assert all(record.mask is None for record in split.gallery)


def test_official_folder_name_and_case_of_suffix(tree):
    (tree / "market1501").rename(tree / "Market-1501-v15.09.15")
    touch(tree / "Market-1501-v15.09.15" / "query", "0009_c1s1_001051_00.JPG")
    assert [record.pid for record in load("market1501", tree).query] == [1, 9]


def test_masks_are_attached(tree):
    touch(tree / "market1501" / "masks" / "query", "0001_c1s1_001051_00.png")
    split = load("market1501", tree)
    assert split.query[0].mask.name == "0001_c1s1_001051_00.png"
    assert split.train[0].mask is None


def test_a_missing_mask_is_an_error_only_where_masks_are_read(tree, tmp_path):
    touch(tree / "market1501" / "masks" / "bounding_box_train", "0002_c1s1_000451_03.png")
    train = load("market1501", tree).train
    assert [image.mask is None for image in train] == [False, True]
    with pytest.raises(ValueError, match=r"0007_c3s3_077419_03\.jpg has no part map but others have"):
        load_stack(train, size=(8, 4), cache=tmp_path / "cache")


def test_transfer_sets_need_no_training_images(tree):
    home = tree / "synth-partial"
    (tree / "market1501").rename(home)
    for image in (home / "bounding_box_train").iterdir():
        image.unlink()
    (home / "bounding_box_train").rmdir()
    assert load("synth-partial", tree).train == ()
    home.rename(tree / "synth-market")
    with pytest.raises(FileNotFoundError, match="bounding_box_train"):
        load("synth-market", tree)


def test_unknown_name_lists_known(tree):
    with pytest.raises(ValueError, match=r"'market'.*market1501.*synth-partial"):
        load("market", tree)


@pytest.mark.parametrize(
    ("root", "hint"),
    [
        ("market1501", "folder above it"),
        ("..", "one level deeper"),
        ("other", "one level higher"),
        ("no", "not exist"),
    ],
)
def test_wrong_level_gives_a_hint(tree, root, hint):
    (tree / "other").mkdir()
    with pytest.raises(FileNotFoundError, match=hint):
        load("market1501", tree / root)


def test_incomplete_tree_says_what_is_expected(tree):
    (tree / "market1501" / "query").rename(tree / "market1501" / "queries")
    with pytest.raises(FileNotFoundError, match="lacks query/: unpack"):
        load("market1501", tree)


def test_what_lacks_is_said_of_the_layout_that_is_there(tmp_path):
    layout = DATASETS["occluded-reid"].layouts[1]
    (plant("occluded-reid", tmp_path, layout=layout) / "query").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="Occluded_REID lacks query/: unpack"):
        load("occluded-reid", tmp_path)


@pytest.mark.parametrize("name", ["market1501", "folder"])
def test_a_file_in_the_place_of_a_folder_is_told(tmp_path, name):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"a\.jpg is a file"):
        load(name, tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["me.jpg", "0002_c1_000451_03.jpg", "٣_c1s1_000451_03.jpg"])
def test_bad_name_is_named(tree, name):
    touch(tree / "market1501" / "query", name)
    with pytest.raises(ValueError, match=name):
        load("market1501", tree)


def test_distractor_only_in_the_gallery(tree):
    touch(tree / "market1501" / "query", "0000_c1s1_000451_03.jpg")
    with pytest.raises(ValueError, match="distractor"):
        load("market1501", tree)


def test_empty_split(tree):
    (tree / "market1501" / "query" / "0001_c1s1_001051_00.jpg").unlink()
    with pytest.raises(ValueError, match="no image of a person"):
        load("market1501", tree)


@given(
    st.integers(-1, 10**9 - 1), st.integers(0, 9999), st.integers(0), st.sampled_from(["jpg", "PNG", "jpeg"])
)
def test_parse_reads_back(pid, camid, frame, suffix):
    assert parse(f"{pid:04d}_c{camid}s1_{frame}_00.{suffix}".replace("-001", "-1")) == (pid, camid)


@given(st.text() | st.from_regex(r"-?\d+_c\d+s\d+_\d+_\d+\.jpg") | st.from_regex(r"[-0-9_cs.jpg]+"))
def test_parse_reads_or_refuses(name):
    try:
        pid, camid = parse(name)
    except ValueError as error:
        assert repr(name) in str(error)  # noqa: PT017
    else:
        assert -1 <= pid < 10**9
        assert 0 <= camid < 10**4
        assert name.isascii()


@pytest.mark.parametrize(("name", "number"), LAYOUTS)
def test_every_layout_of_every_set(tmp_path, name, number):
    layout = DATASETS[name].layouts[number]
    home = plant(name, tmp_path, layout=layout)
    if layout.extra:
        for junk in ("0000_c1s1_000001_00.jpg", "distractor.jpg"):
            touch(home / layout.extra, junk)
    split = load(name, tmp_path)
    assert len(split.train) == (SMALL["train"][0] if layout.train else 0)
    assert len(split.query) == SMALL["query"][0]
    assert len(split.gallery) == SMALL["gallery"][0] + 2 * bool(layout.extra)
    assert {r.pid for r in split.query} == {1, 2, 3}
    assert {r.pid for r in split.gallery} == {1, 2, 3, 4} | ({0} if layout.extra else set())
    without_cameras = layout.naming.pattern.groups == 1
    assert (split.protocol is Protocol.NO_CAMERA) == without_cameras
    if without_cameras:
        assert {r.camid for r in split.query}.isdisjoint(r.camid for r in split.gallery)


@pytest.mark.parametrize("name", REAL)
def test_names_are_found_whatever_their_case_and_punctuation(tmp_path, name):
    layout = DATASETS[name].layouts[0]
    home = plant(name, tmp_path, home=DATASETS[name].homes[0].upper().replace("-", "_"), suffix=".PNG")
    for folder in (layout.query, layout.gallery):
        (home / folder).rename((home / folder).with_name((home / folder).name.title()))
    if layout.extra:
        touch(home / layout.extra, "1.PNG")
    assert len(load(name, tmp_path).query) == SMALL["query"][0]


@pytest.mark.parametrize("name", ["cuhk03", "cuhk03-labelled"])
def test_cuhk03_as_a_split_file(tmp_path, name):
    kind = "detected" if name == "cuhk03" else "labeled"
    home = tmp_path / "cuhk03"
    touch(home / f"images_{kind}", "1_001_1_01.png", "1_001_2_06.png", "1_002_1_01.png")
    path = f"elsewhere/cuhk03/images_{kind}/"
    table = {
        "train": [[path + "1_002_1_01.png", 0, 0]],
        "query": [[path + "1_001_1_01.png", 1, 0]],
        "gallery": [[path + "1_001_2_06.png", 1, 1]],
    }
    file = home / f"splits_new_{kind}.json"
    file.write_text(json.dumps([table]))
    split = load(name, tmp_path)
    assert [(r.pid, r.camid) for r in split.train + split.query + split.gallery] == [(1, 0), (2, 0), (2, 1)]
    (home / f"images_{kind}" / "1_001_2_06.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 listed images.*1_001_2_06\.png"):
        load(name, tmp_path)
    file.write_text("{}")
    with pytest.raises(ValueError, match=f"{file.name}: expected a list"):
        load(name, tmp_path)


def table_of(folder, text):
    touch(folder / "crops", "a.jpg", "b.jpg", "c.jpg", "d.PNG")
    (folder / "index.csv").write_text(text)
    return folder


ROWS = "crops/a.jpg,anna,{},query\ncrops/b.jpg,anna,{},gallery\ncrops/c.jpg,bert,{},gallery\ncrops/d.PNG,0,{},gallery\n"


def test_csv_names_persons_as_it_likes(tmp_path):
    split = load("csv", table_of(tmp_path, "path,pid,camid,split\n" + ROWS.format("", "", "", "")))
    assert [r.pid for r in split.query + split.gallery] == [1, 1, 2, 0]
    assert split.protocol is Protocol.NO_CAMERA
    table_of(
        tmp_path, "\ufeffsplit,path,pid,camid,note\n" + "query,crops/a.jpg,7,1,x\ngallery,crops/b.jpg,7,2,\n"
    )
    split = load("csv", tmp_path / "index.csv")
    assert [(r.pid, r.camid) for r in split.query + split.gallery] == [(7, 1), (7, 2)]
    assert split.protocol is Protocol.MARKET


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("file,pid,camid,split\n", "lacks the column path"),
        ("", "lacks the column path, pid"),
        ("path,pid,camid,split\ncrops/a.jpg,1,1,test\n", r"line 2: split 'test'.*train, query, gallery"),
        ("path,pid,camid,split\ncrops/a.jpg,,1,query\n", "line 2: pid is empty"),
        ("path,pid,camid,split\ncrops/a.jpg\n", "line 2: pid is empty"),
        ("path,pid,camid,split\n" + ROWS.format("1", "", "2", "2"), "some lines have a camid"),
        ("path,pid,camid,split\ncrops/a.jpg,0,1,query\n", "distractor"),
        ("path,pid,camid,split\ncrops/a.jpg,1,1,query\n", "no gallery image"),
        ("path,pid,camid,split\n" + ROWS.replace("b.jpg", "z.jpg").format(1, 2, 3, 4), r"1 of 4.*z\.jpg"),
    ],
)
def test_csv_errors_name_the_place(tmp_path, text, error):
    table_of(tmp_path, text)
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        load("csv", tmp_path)


def test_a_folder_per_person(tmp_path):
    touch(tmp_path / "anna", "1.jpg", "2.JPG", "notes.txt")
    touch(tmp_path / "bert", "1.png")
    split = load("folder", tmp_path)
    assert [r.path.name for r in split.query] == ["1.jpg"]
    assert [(r.path.name, r.pid) for r in split.gallery] == [("2.JPG", 1), ("1.png", 2)]
    assert split.protocol is Protocol.NO_CAMERA
    (tmp_path / "anna" / "2.JPG").unlink()
    with pytest.raises(ValueError, match="second image"):
        load("folder", tmp_path)
    with pytest.raises(ValueError, match="one folder per person"):
        load("folder", tmp_path / "bert")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load("folder", tmp_path / "no")


def test_pictures_of_a_person_may_lie_deeper_and_in_any_format(tmp_path):
    touch(tmp_path / "anna" / "cam2" / "june", "1.jpg", "2.WEBP", "3.jfif")
    touch(tmp_path / "bert", "1.png")
    touch(tmp_path / "bert" / "cam1", "0.gif")
    split = load("folder", tmp_path)
    assert [(r.path.name, r.pid) for r in split.query + split.gallery] == [
        ("1.jpg", 1), ("1.png", 2), ("2.WEBP", 1), ("3.jfif", 1), ("0.gif", 2)
    ]  # fmt: skip


def test_parts_of_a_data_set_are_no_persons(tmp_path):
    for side in ("query", "bounding_box_test"):
        touch(tmp_path / "set" / side / "0001", "1.jpg", "2.jpg")
    with pytest.raises(ValueError, match="bounding_box_test, query, which are parts of a data set"):
        load("folder", tmp_path / "set")
    with pytest.raises(ValueError, match="one person only, set: nothing to tell apart"):
        load("folder", tmp_path)


NUMBERS = (
    ("1", "2", "-1", "3", "4", ""),
    ("1.0", "2.0", "-1.0", "3.0", "4.0", "nan"),
    ("1.00", "2.", "-1.", "3", "4.000", "<NA>"),
)


@pytest.mark.parametrize("words", NUMBERS)
def test_tables_as_pandas_writes_them(tmp_path, words):
    """Junk, persons and cameras in a column of floats, gaps in any spelling: no other set than in whole numbers."""
    one, two, junk, first, second, gap = words
    rows = f"a.jpg,{one},{{0}},query\nb.jpg,{junk},{{1}},gallery\nc.jpg,{one},{{1}},gallery\n"
    rows += f"d.PNG,{two},{{1}},gallery\n"
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.PNG")
    file = tmp_path / "index.csv"
    file.write_text("path,pid,camid,split\n" + rows.format(first, second))
    split = load("csv", file)
    assert [(r.pid, r.camid) for r in split.query + split.gallery] == [(1, 3), (1, 4), (2, 4)]
    assert split.protocol is Protocol.MARKET
    assert split.junk == (0,)
    for spelling in (gap, "NaN", "None", "NULL", "N/A", "NaT"):
        file.write_text("path,pid,camid,split\n" + rows.format(spelling, spelling))
        assert load("csv", file).protocol is Protocol.NO_CAMERA
    file.write_text("path,pid,camid,split\n" + rows.replace(f",{two},", ",nan,").format("", ""))
    with pytest.raises(ValueError, match="line 5: pid is empty"):
        load("csv", file)


@pytest.mark.parametrize("lines", [3, 9000])
def test_a_stray_quote_swallows_no_lines(tmp_path, lines):
    table_of(
        tmp_path,
        "path,pid,camid,split\ncrops/a.jpg,1,1,query\n"
        'crops/b.jpg,"1,2,gallery\n' + "crops/c.jpg,2,1,gallery\n" * lines,
    )
    with pytest.raises(ValueError, match=r"index\.csv, line 3: a quote is not closed"):
        load("csv", tmp_path)
    table_of(
        tmp_path,
        'path,pid,camid,split\ncrops/a.jpg,1,1,query\ncrops/b.jpg,"1,2,gallery\ncrops/c.jpg,2",1,gallery\n',
    )
    with pytest.raises(ValueError, match="line 3: a quote is not closed"):
        load("csv", tmp_path)


def test_places_of_junk_are_told(tree):
    assert load("market1501", tree).junk == (0,)


def test_only_what_is_asked_for_must_be_there(tree):
    for image in (tree / "market1501" / "bounding_box_train").iterdir():
        image.unlink()
    split = load("market1501", tree, sides=("query", "gallery"))
    assert split.train == ()
    assert len(split.gallery) == 2
    with pytest.raises(FileNotFoundError, match="bounding_box_train"):
        load("market1501", tree)


def test_all_badly_named_files_are_told_at_once(tree):
    touch(tree / "market1501" / "query", *(f"0001_c1s1_001051_00 ({n}).jpg" for n in range(1, 8)))
    with pytest.raises(ValueError, match=r"00 \(5\)\.jpg' is not like.* and 2 more; rename or remove"):
        load("market1501", tree)
    assert len(survey("market1501", tree).query) == 1


@pytest.mark.parametrize(
    ("home", "hint"), [("Market", "rename it to Market-1501-v15.09.15"), ("sets/mine", "sets/mine has these")]
)
def test_the_right_folders_under_another_name(tree, home, hint):
    (tree / home).parent.mkdir(exist_ok=True)
    (tree / "market1501").rename(tree / home)
    with pytest.raises(FileNotFoundError, match=hint):
        load("market1501", tree)


def test_another_toolkits_copy_is_recognised(tmp_path):
    for side in ("query", "gallery"):
        touch(tmp_path / "Market" / "pytorch" / side / "0001", "0001_c1s1_000100_00.jpg")
    with pytest.raises(FileNotFoundError, match="pytorch is another toolkit's copy"):
        load("market1501", tmp_path)


def test_an_archive_beside_is_mentioned(tmp_path):
    (tmp_path / "Occluded_Duke.zip").touch()
    with pytest.raises(FileNotFoundError, match=r"Occluded_Duke\.zip lies there but is not unpacked"):
        load("occluded-duke", tmp_path)


@pytest.mark.parametrize("suffixes", [(".npy",), (".jpg.confidence_fields.npy",)])
def test_published_masks_are_attached(tmp_path, suffixes):
    home = plant("occluded-duke", tmp_path)
    place = home / "masks" / "pifpaf_maskrcnn_filtering" / "bounding_box_train"
    place.mkdir(parents=True)
    for path in (home / "bounding_box_train").iterdir():
        (place / f"{path.stem}{suffixes[0]}").touch()
    split = load("occluded-duke", tmp_path)
    assert all(r.mask.name.removesuffix(suffixes[0]) == r.path.stem for r in split.train)
    assert all(r.mask is None for r in split.query)


def test_a_csv_may_come_from_windows(tmp_path):
    for name in ("a b.jpg", "c.jpg", "d.jpg"):
        touch(tmp_path / "bilder", name)
    lines = [
        "path,pid,camid,split",
        r"bilder\a b.jpg,1,,query",
        r"bilder\c.jpg,01,,gallery",
        r"bilder/d.jpg,1,,gallery",
    ]
    file = tmp_path / "index.csv"
    file.write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    split = load("csv", file)
    assert split.query[0].path == tmp_path / "bilder" / "a b.jpg"
    assert split.gallery[0].pid != split.query[0].pid == split.gallery[1].pid  # 01 is not 1
    file.write_bytes("\n".join([*lines, "bilder/d.jpg,Jörg,,gallery"]).encode("latin-1"))
    with pytest.raises(ValueError, match=r"index\.csv: is not UTF-8"):
        load("csv", file)


def test_junk_of_a_csv_is_dropped_in_every_split(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        touch(tmp_path, name)
    (tmp_path / "index.csv").write_text(
        "path,pid,camid,split\na.jpg,x,,query\nb.jpg,x,,gallery\nb.jpg,-1,,query\n"
    )
    assert len(load("csv", tmp_path).query) == 1


ODD = ["ünï cödé", "a b", "\udcff", "\u202egpj", "x" * 200, "line\nbreak", "-rf", "%s{}", "'"]


@pytest.mark.parametrize("odd", ODD)
def test_odd_names_of_folders_are_read_and_of_images_named(tmp_path, odd):
    """Spaces, letters of any script, bytes that are no text."""
    touch(tmp_path, "x.jpg")

    def put(*places):  # by the system: OpenCV writes to no name that is no text
        for place in places:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "x.jpg", place)

    for person in ("anna", odd):
        put(*(tmp_path / "people" / odd / person / name for name in (f"{odd}1.jpg", "2.jpg")))
    split = load("folder", tmp_path / "people" / odd)
    assert [record.pid for record in split.query] == [1, 2]
    assert len(load_stack(split.gallery, size=(8, 4), cache=tmp_path / odd)) == 2
    assert len(split.fingerprint) == 16
    home = tmp_path / odd / "market1501"
    for side in ("bounding_box_train", "query", "bounding_box_test"):
        put(home / side / "0001_c1s1_000451_03.jpg")
    put(home / "query" / f"{odd}.jpg")
    with pytest.raises(ValueError, match="is not like 0002_c1s1_000451_03.jpg; rename or remove") as error:
        load("market1501", tmp_path / odd)
    assert repr(f"{odd}.jpg") in str(error.value)
    assert "\n" not in str(error.value).replace(str(tmp_path / odd), "")


def test_links_are_followed_once_and_broken_files_are_named(tmp_path):
    """Images may lie on another disk; a link to a folder above does not lead round in circles."""
    touch(tmp_path / "disk", "1.jpg", "2.jpg")
    for person in ("anna", "bert"):
        (tmp_path / "people" / person).mkdir(parents=True)
        for name in ("1.jpg", "2.jpg"):
            (tmp_path / "people" / person / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "people" / "anna" / "round").symlink_to(tmp_path / "people" / "anna")
    split = load("folder", tmp_path / "people")
    assert {record.pid for record in split.gallery} == {1, 2}
    assert len(split.gallery) < 50
    (tmp_path / "disk" / "2.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"2\.jpg is unreadable or truncated.*restore or remove it"):
        load_stack(split.gallery, size=(8, 4), cache=tmp_path / "cache")
    (tmp_path / "disk" / "2.jpg").unlink()
    with pytest.raises(ValueError, match=r"2\.jpg cannot be read"):
        load_stack(split.gallery, size=(8, 4), cache=tmp_path / "cache")


CELLS = ("", "a.jpg", "1", "-1", "0", "nan", "1e400", '"', "query", "gallery", "\0", "9" * 30)
LINES = st.lists(st.lists(st.sampled_from(CELLS), max_size=6).map(",".join), max_size=4)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=(LINES.map("\n".join) | st.text(max_size=40)).map(str.encode) | st.binary(max_size=40),
    headed=st.booleans(),
)
def test_a_csv_of_anything_is_read_or_refused_in_one_line(tmp_path, text, headed):
    (tmp_path / "index.csv").write_bytes(b"path,pid,camid,split\n" * headed + text)
    touch(tmp_path, "a.jpg")
    try:
        split = load("csv", tmp_path)
    except (ValueError, FileNotFoundError) as error:
        assert "index.csv" in str(error)  # noqa: PT017
    else:
        assert split.query
        assert all(0 <= record.pid < 2**31 for record in split.query + split.gallery)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[{}]", "[[]]", "{}", "3", "\ud800"]
    + [
        json.dumps([{side: [row] for side in ("train", "query", "gallery")}])
        for row in (
            ["a/b.jpg", 1e999, 1],
            ["a/b.jpg", -5, 1],
            ["a/b.jpg", 10**30, 1],
            ["a/b.jpg", 1, -1],
            [5, 1, 1],
        )
    ],
)
def test_a_split_file_of_anything_is_one_clear_error(tmp_path, text):
    (tmp_path / "cuhk03-np").mkdir()
    (tmp_path / "cuhk03-np" / "splits_new_detected.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(
        ValueError, match=r"splits_new_detected\.json: (expected a list of one object|\S+ is no number)"
    ):
        load("cuhk03", tmp_path)
