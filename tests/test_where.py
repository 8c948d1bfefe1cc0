"""The language of --where: what it means on both databases, and how it refuses."""

import re

import pytest
from sqlalchemy import create_engine

from search.conditions.field_tests import quoted
from search.conditions.where import MAX_DEPTH, MAX_VALUES, parse
from search.errors import BadCondition, UsageError
from search.records import Collection
from search.storing.store import Store
from tests.album_rows import keys


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("width = 100", "acf"),
        ("width == 100", "acf"),
        ("width != 100", "bde"),
        ("width <> 100", "bde"),
        ("width > 640", "be"),
        ("width >= 640", "bde"),
        ("width < 640.5", "acdf"),
        ("width <= 640.5", "acdf"),
        ("height in (50, 480)", "adef"),
        ("height not in (50, 480)", "bc"),
        ("height = 480.5", ""),
        ("bytes = 1099511627776", "b"),
        ("bytes > 3000000000 and width < 9223372036854775807", "b"),
        ("bytes < -1", ""),
        ("bytes = 0", "e"),
        ("width is null", ""),
        ("WIDTH IS NOT NULL", "abcdef"),
        ("format = 'JPEG'", "acef"),
        ("format in ('png', \"webp\")", "bd"),
        ("format like 'p%'", "b"),
        ("key = 'a'", "a"),
        ("key != 'a'", "bcdef"),
        ("uri like 's3://%'", "d"),
        ('path = "/photos/a b.jpg"', "a"),
        ('path like "%a b%"', "af"),
        # The uri spells a space as %20, which no search for a 20 must find.
        ('path like "%20%"', ""),
        (r'path like "%100\%/%"', "b"),
        (r'path like "%x\_y.png"', "b"),
        (r'path like "%a\_b%"', ""),
        ('path like "%a_b%"', "af"),
        ('path like "/größe/_.JPG"', "c"),
        ('path like "/GRÖSSE%"', ""),
        ("path is null", "d"),
        ("path is not null", "abcef"),
        ('path like "/photos/%"', "abe"),
        ('path like "/PHOTOS/%.jpg"', "ae"),
        ('path like "/photos/%%"', "abe"),
        ('path like "/photos/_ b.jpg"', "a"),
        (r'path like "/photos/100\%/%"', "b"),
        ('path like "/photos"', ""),
        ('path like "%"', "abcef"),
        ('path like "/größe/%" or path like "/Gr%" and not path like "/photos/%"', "c"),
        ('path not like "/photos/%"', "cdf"),
        ('not path like "/photos/%"', "cdf"),
        ('path != "/photos/a b.jpg"', "bcdef"),
        ("path = '/photos/say \"hi\"\n.jpg'", "e"),
        ('path = "/photos/say ""hi""\n.jpg"', "e"),
        ('label = "tabby"', "af"),
        ('label="Tabby Cat"', "af"),
        ('label = "tabby, tabby cat"', "af"),
        ('label = "cat"', ""),
        ('label = "panthera TIGRIS"', "abf"),
        ('label != "tabby"', "bcde"),
        ('label in ("crane", "tabby")', "acf"),
        ('label not in ("crane", "tabby")', "bde"),
        ('label like "%cat%"', "af"),
        ('label like "t%" and label like "crane"', ""),
        ('label = "äpfel"', "c"),
        ('label = "GRÖSSE"', "c"),
        ("label is null", "de"),
        ("label is not null", "abcf"),
        ("not label is null", "abcf"),
        ('label = "tabby" or width = 640 and height = 1', "af"),
        ('(label = "tabby" or width = 640) and height = 480', "d"),
        ("not (width = 100 or height = 480)", "b"),
        ("not width = 100 and height = 480", "de"),
        ("not not width = 100", "acf"),
        (f"{'(' * MAX_DEPTH}width = 100{')' * MAX_DEPTH}", "acf"),
        ("taken_at >= 2024-01-01", "abf"),
        ('taken_at >= "2024-01-01"', "abf"),
        ("taken_at = 2024-01", "af"),
        ("taken_at = 2024", "abf"),
        ("taken_at != 2024", "cde"),
        ("taken_at in (2023, 2024-02-01)", "bc"),
        ("taken_at not in (2023, 2024-02-01)", "adef"),
        ("taken_at > 2024-01", "b"),
        ("taken_at <= 2024-01", "acef"),
        ("taken_at < 2024-01", "ce"),
        ("taken_at >= 2024-02", "b"),
        ("taken_at > 2024-01-31T23:59:58", "abf"),
        ("taken_at > 2024-01-31t23:59:59", "b"),
        ("taken_at = 2024-01-31T23:59", "af"),
        ('taken_at < "2024-01-31 23:59"', "ce"),
        ("taken_at = 2023-12-31T12", "c"),
        ("taken_at = 0987", "e"),
        ("taken_at > 9999-12-31T23:59:59", ""),
        ("taken_at is null", "d"),
        ("not taken_at is null and taken_at<2000", "e"),
        ('metadata.camera = "X100"', "a"),
        ('metadata.camera like "x%"', "ab"),
        ('METADATA.camera in ("X100", 100, "")', "acf"),
        ("metadata.camera = 100", "c"),
        ('metadata.camera != "X100"', "bcdef"),
        ('metadata.camera >= "X"', "abd"),
        ("metadata.camera < 101", "c"),
        (r'metadata.camera like "Ä_ 😀\_100\%"', "d"),
        ('metadata.camera like "ä%"', ""),
        ('metadata.camera = ""', "f"),
        ("metadata.Camera is null", "abcdef"),
        ("metadata.camera is not null", "abcdf"),
        ("metadata.rating = 3", "a"),
        ("metadata.rating = 3.0", "a"),
        ('metadata.rating = "3"', "c"),
        ("metadata.rating >= 3", "abf"),
        ("metadata.rating > 3", "bf"),
        ("not metadata.rating > 3", "acde"),
        ("metadata.rating in (3.5, 9007199254740992)", "bf"),
        ("metadata.rating < 0", "d"),
        ("metadata.seen = true", "a"),
        ("metadata.seen != True", "bcdef"),
        ("metadata.seen = FALSE", "b"),
        ('metadata.seen = "true"', "c"),
        ("metadata.seen in (true, false)", "ab"),
        ("metadata.none is null", "abcdef"),
        ('metadata.place.city = "Köln"', "a"),
        ("metadata.place.city is null", "bce"),
        ('metadata.place."city" like "k%"', "af"),
        ('metadata.place.city.name = "Köln"', "d"),
        ("metadata.place.geo.lat > 50.9 and metadata.place.geo.lon < 7", "a"),
        ("metadata.place is not null", "abcdf"),
        ('metadata.place = "Köln"', "b"),
        ('metadata.place."0" = "no"', "f"),
        ('metadata.place."0" is not null', "f"),
        ("metadata.tags.0 is null", "abcdef"),
        ('metadata.0 = "zero"', "f"),
        ("metadata.größe = 7", "b"),
        ("metadata.\"shot by\" = 'Ann'", "a"),
        ("metadata.'shot by' like \"%nn\"", "a"),
        ('metadata."say ""hi""\\n" = "odd"', "b"),
        ("metadata.day = 2024-03-01", "c"),
        ("metadata.day >= 2024", ""),
        ('metadata.day >= "2024"', "c"),
        ("metadata.day < 2024-03-02", "c"),
        # Words need no blank beside a bracket or a quote, and are keys of metadata as good as any.
        ("(width=100)and(height in(50,480))or(key like'%')and not(key like'%')", "af"),
        ("metadata.and is null and metadata.not.null is null", "abcdef"),
    ],
)
def test_a_condition_lets_through(album_store: Store, album_rows: Collection, text: str, found: str) -> None:
    assert keys(album_store, album_rows, text) == found


def test_letters_beyond_ascii_keep_their_case_under_every_locale_of_postgresql() -> None:
    # The tests' own server may fold ASCII only, so that the answers alone would not tell.
    made = parse('path like "Ä%"').sql(1).compile(create_engine("postgresql+psycopg://"))
    assert 'lower(image.path COLLATE "C") >= ' in str(made)
    assert list(made.params.values()) == ["Ä", "Å"]


def test_hostile_text_is_a_value_and_never_sql(album_store: Store, album_rows: Collection) -> None:
    for text in ("'; DROP TABLE image; --", '" OR 1=1 --', "%(x)s", ":y", "?", "{}", "\\"):
        assert keys(album_store, album_rows, f"path = {quoted(text)} or key = {quoted(text)}") == ""
        assert keys(album_store, album_rows, f"label in ({quoted(text)}, 'tabby')") == "af"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "where is empty"),
        ("  \n", "where is empty"),
        ("colour = 3", "character 1: colour is no field; the fields are bytes, format, height, key, label, path,"),
        ("width > 3 and colour = 3", "character 15: colour is no field"),
        (
            "width",
            "character 6: it ends too early; expected a comparison (= != < <= > >=), `in`, `is`, `like` or `not`",
        ),
        ("width >", "character 8: it ends too early; expected true or false, a date, a number or text in quotes"),
        ("(width > 3", "character 11: it ends too early; expected `)`"),
        ("width > 3)", "character 10: ) does not belong here; expected the end"),
        ("width > 3 4", "character 11: 4 does not belong here; expected the end, `and` or `or`"),
        ("3 < width", "character 1: 3 does not belong here; expected a field, `(` or `not`"),
        ('width > "3"', 'character 9: "3" is text, but width is a number; write it without quotes'),
        ("path = 3", 'character 8: 3 is a number, but path is a text; write "3"'),
        ("label = tabby", 'character 9: tabby is text without quotes; write "tabby", and for a shell'),
        ('label = "tab', 'character 9: "tab is a text that does not end; close its quote'),
        ("label = “tabby”", "character 9: “ is no quote of this language"),
        ('label > "x"', "character 7: > cannot be asked of label, which is a text; use = != like in"),
        ('width LIKE "1%"', "character 7: LIKE cannot be asked of width, which is a number; use ="),
        ("path like 'x\\'", "ends with a single \\"),
        ("taken_at = 2024-13", "character 12: 2024-13 is no date; write 2024, 2024-03,"),
        ("taken_at = 2023-02-29", "character 12: 2023-02-29 is no date"),
        ("taken_at = 2024-1-1", "character 12: 2024-1-1 is no date"),
        ("taken_at = 20240101", "character 12: 20240101 is no date"),
        ("taken_at > 2024-01-01T10:00+02:00", "2024-01-01T10:00+02:00 is no date; write 2024,"),
        ("taken_at > 2024-01-01T24:00", "2024-01-01T24:00 is no date"),
        ('taken_at > "yesterday"', 'character 12: "yesterday" is no date'),
        ("taken_at = true", "character 12: true is no date"),
        ('taken_at like "2024%"', "character 10: like cannot be asked of taken_at, which is a date; use ="),
        ("width > 2024-01-01", "2024-01-01 is a date, but width is a number"),
        ("key = 2024-01-01", 'is a date, but key is a text; write "2024-01-01"'),
        ("width = true", "true is true or false, but width is a number"),
        ("metadata = 3", "character 1: metadata has no value of its own; name one of its keys"),
        ("metadata. = 3", "character 9: . means nothing here"),
        ('metadata."" = 3', "character 9: . means nothing here"),
        ("metadata" + ".a" * 9 + " = 3", "goes 9 keys deep; the limit is 8"),
        ("metadata.seen > true", "character 15: > cannot be asked of true and false; use = != in"),
        ("metadata.camera like 3", "character 17: like compares with a text in quotes only"),
        ("metadata.day = 2024-02-30", "character 16: 2024-02-30 is no date"),
        ("metadata.camera = X100", 'X100 is text without quotes; write "X100"'),
        ("widht > 3", "character 1: widht is no field; did you mean width? the fields are"),
        ("width > 3 or takenat = 2024", "character 14: takenat is no field; did you mean taken_at?"),
        ("width.x = 3", "character 1: width.x is no field; did you mean width?"),
        ("width > 1e999", "1e999 is too large"),
        ("width > 99999999999999999999", "is too large"),
        ("width > " + "0" * 5000, "is too large"),
        ("width in ()", "character 11: ) does not belong here"),
        ("width in (1,)", "character 13: ) does not belong here"),
        ("width = 1; drop table image", "character 10: ; means nothing here"),
        ("path = 'a\0b'", "is no letter that a name can have"),
        ("path = '\ud800'", "is no letter that a name can have"),
        (f"width in ({','.join(['1'] * (MAX_VALUES + 1))})", f"the limit is {MAX_VALUES}"),
        ("not " * (MAX_DEPTH + 1) + "width = 1", f"the limit is {MAX_DEPTH}"),
        ("(" * (MAX_DEPTH + 1) + "width = 1" + ")" * (MAX_DEPTH + 1), f"the limit is {MAX_DEPTH}"),
        ("width = 1 or " * 2000 + "width = 1", "the limit is 10000"),
    ],
)
def test_what_is_no_condition_names_the_place_and_the_remedy(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)) as refused:
        parse(text)
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "wrong", "says"),
    [
        ("key isnull", "isnull", "does not belong here; expected a comparison (= != < <= > >=), `in`"),
        ("key is notnull", "notnull", "does not belong here; expected `not` or `null`"),
        ("key notin (1)", "notin", "does not belong here"),
        ('key notlike "a"', "notlike", "does not belong here"),
        ("width > 1 andwidth > 2", "andwidth", "does not belong here; expected the end, `and` or `or`"),
        ("width > 1andwidth>2", "1andwidth", "is neither a number nor a date; put text in quotes, and a blank"),
        ("width > 1.and height > 2", "1.and", "is neither a number nor a date"),
        ("label = 3d", "3d", "is neither a number nor a date; put text in quotes"),
        ("width >= 1 andd height > 3", "andd", "does not belong here; expected the end, `and` or `or`"),
        ("notwidth = 3", "notwidth", "is no field"),
    ],
)
def test_a_word_of_the_language_stands_by_itself(text: str, wrong: str, says: str) -> None:
    with pytest.raises(BadCondition) as refused:
        parse(text)
    assert f": {wrong} {says}" in str(refused.value)
    assert refused.value.position == text.index(wrong) + 1


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("width > 3 or or width < 2", 14, "or does not belong here; expected a field, `(` or `not`"),
        ("NOT (width > 3 AND NULL)", 20, "NULL does not belong here; expected a field, `(` or `not`"),
        ("true", 1, "true does not belong here; expected a field, `(` or `not`"),
        ("like like 'a'", 1, "like does not belong here; expected a field, `(` or `not`"),
        ("in.x = 3", 1, "in does not belong here; expected a field, `(` or `not`"),
        ("label = null", 9, "null is no value; ask for it by `is null` or `is not null`"),
    ],
)
def test_a_word_of_the_language_is_never_a_field(text: str, position: int, says: str) -> None:
    with pytest.raises(BadCondition) as refused:
        parse(text)
    assert says in str(refused.value)
    assert refused.value.position == position


def test_misspelt_metadata_is_recognised_as_other_fields_are() -> None:
    for text, guess in [
        ("metadta.camera.lens = 3", "metadta.camera.lens is no field; did you mean metadata.camera.lens?"),
        ('Metdata."shot by" = 3', 'did you mean metadata."shot by"?'),
        ("metadat = 3", "metadat is no field; did you mean metadata.KEY?"),
    ]:
        with pytest.raises(BadCondition, match=re.escape(guess)):
            parse(text)


def test_the_largest_condition_that_is_allowed_is_answered(album_store: Store, album_rows: Collection) -> None:
    assert keys(album_store, album_rows, " or ".join(["width = 640"] * MAX_VALUES)) == "d"
    assert keys(album_store, album_rows, "not " * (MAX_DEPTH - 2) + "width = 640") == "d"
    assert keys(album_store, album_rows, f'width = 640 and not key = "{"(" * 2 * MAX_DEPTH}"') == "d"


@pytest.mark.parametrize(
    ("text", "drawing"),
    [
        ("width > 3 and colour = 3", "width > 3 and colour = 3\n              ^"),
        ("width >", "width >\n       ^"),
        ('key = "Größe" or colour = 1', 'key = "Größe" or colour = 1\n                 ^'),
        # Wide letters take two columns of a terminal, combining ones none, newlines and tabs become spaces.
        ('key = "写真"\n or\tcolour = 1', 'key = "写真"  or colour = 1\n                 ^'),
        ('key = "e\u0301" or no = 1', 'key = "e\u0301" or no = 1\n             ^'),
        # Of a long condition only what is around the place is shown.
        (
            "width > 3 and " * 20 + "colour = 3" + " and width > 3" * 20,
            "…dth > 3 and width > 3 and width > 3 and colour = 3 and width > 3 and w…\n" + " " * 41 + "^",
        ),
        (
            "colour = 3" + " and width > 3" * 20,
            "colour = 3 and width > 3 and width > 3 and width > 3 and width > 3 and …\n^",
        ),
    ],
)
def test_a_caret_stands_under_the_place(text: str, drawing: str) -> None:
    with pytest.raises(BadCondition) as refused:
        parse(text)
    assert refused.value.drawing == drawing
    assert text[refused.value.position - 1 :][:6] in ("", "colour", "no = 1")
    assert len(drawing.split("\n", maxsplit=1)[0]) <= 72
