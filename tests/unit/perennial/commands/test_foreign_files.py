"""Files as people send them: each ends in rows and a word on what was left open, or in one sentence with the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.commands._new_dataset import dataset_files
from perennial.commands._sample import read_sample
from perennial.errors import UnknownName

DAY, ROWS = "2024-03-{:02d}", range(1, 29)
LIKERT = ("Strongly disagree", "Neutral", "Strongly agree")


def lines(head: str, row: str) -> str:
    """A file of 28 rows."""
    return (
        head
        + "\n"
        + "".join(row.format(i=i, two=f"{i:02d}", word=LIKERT[i % 3], yes="YN"[i % 2], ja=("Ja", "Nein")[i % 2]) + "\n" for i in ROWS)
    )


@pytest.mark.parametrize(
    ("text", "types", "words"),
    [
        (lines("Nr;Datum;Betrag (EUR);Bezahlt", "B0{i};{two}.03.2024 08:15;{i}.5{two},50;{ja}"),
            {"Nr": "string", "Datum": "timestamp"}, ["numbers have the decimal mark ','", "'%d.%m.%Y %H:%M'"]),
        (lines("sensor,timestamp,value", "s1,17172000{two}000,20.{i}"), {"timestamp": "timestamp", "value": "float"},
            ["'epoch milliseconds'", "(a time: where two rows may have the same one, name the columns that tell them apart, too)"]),
        (lines('who,"How satisfied, overall?",Q2. Recommend?', '{i},{word},"well, {word}"'),
            {"How satisfied, overall?": "string", "Q2. Recommend?": "string"}, ["key: who"]),
        (lines("id," + ",".join(f"f{i}" for i in range(300)), "{i}," + ",".join(["0.5"] * 300)), {"f299": "float"}, ["and 281 more"]),
        (lines("month,revenue", "2024-03,{i}"), {"month": "string"}, ["month is text, since '2024-03' has no day: write the first of"]),
        (lines('id,"the ""price""",[kg] {{x}},\U0001f389 party,a;b', "{i},{i},0.5,1,2").replace("{{x}}", "{x}"),
            {'the "price"': "int", "[kg] {x}": "float", "\U0001f389 party": "int", "a;b": "int"}, ["key: id"]),
        (lines("id,active", "{i},{yes}"), {"active": "bool"}, ["'Y' means true; 'N' means false"]),
        (lines("id,day", "{i},2024-03-{two}").replace("2024-03-07", "07.03.2024").replace("2024-03-09", "09/03/2024"), {"day": "string"},
            ["no one form of days fits all its values, such as '2024-03-28', '07.03.2024' and '09/03/2024': write one form, or declare"]),
        (lines("id,price,weight", '{i},"${i},500.50",{i}.5 kg'), {"price": "string", "weight": "string"},
            ["price is text, since '$1,500.50' is a number with a unit: write the number alone", "weight is text, since '1.5 kg'"]),
        (lines("id,weight_net,weight", "{i},{i}.2 kg,{i}.5 kg"), {"weight": "string"},
            ["weight_net is text, since '1.2 kg'", "weight is text, since '1.5 kg'"]),
        (lines("id;km;am", "{i};{i},5;{two}.03.2024") + "x;unbekannt;k. A.\ny;unbekannt;k. A.\n" + "z;1,5;01.03.2024\n" * 12,
            {"km": "float", "am": "timestamp"}, ['nulls=("unbekannt", "k. A.")', "km holds numbers but for 'unbekannt' (2 rows), taken"]),
        (lines("id,km,farbe", "{i},{i}.5,rot") + "x,offen,n/a\n", {"km": "string", "farbe": "string"},
            ["'offen' in row 29 is no number; 28 of 29 values are. Where it means missing, write files=FileForm(nulls=(\"offen\",))",
             "farbe has 'n/a' in 1 row, as a value like any other: where it means missing, write files=FileForm(nulls=(\"n/a\",))"]),
    ],
    ids=["German orders", "sensor log", "survey", "wide", "months", "odd names", "Y and N", "three date forms",
         "units", "a name in another", "words between numbers", "a word"],
)  # fmt: skip
def test_a_foreign_file_becomes_a_dataset_and_what_is_open_is_said(
    tmp_path: Path, text: str, types: dict[str, str], words: list[str]
) -> None:
    """DM-01, DM-02: Types are those that all values fit; what looks like a number or a time and is none is told with what to do."""
    file = tmp_path / "foreign.csv"
    file.write_text(text)
    sample = read_sample(file)
    assert len(sample.rows) == text.count("\n") - 1
    assert {column.name: column.type for column in sample.columns if column.name in types} == types
    said = "\n".join(dataset_files("foreign", sample, None, None)[1])
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "Report of June,,,\n,North,,South\nDate,Sales,Returns,Sales\n2024-06-01,1,2,3\n",
            "If titles or groups stand above the names, leave",
        ),
        ("# exported today\nid,v\n1,2\n", "its first line, '# exported today', is one field and a later one has more"),
        (",a,b\n0,1,2\n1,1,2\n", r"a row number that pandas wrote, leave it out: to_csv\(index=False\)"),
        ("id,x,x,y,y\n1,2,3,4,5\n", "'x' and 'y' are empty or there before. Rename these columns"),
        ("", "is empty: land it again with its rows"),
        ("\n\n\n", r"cannot be read: Empty CSV file\. Land it again"),
        ("id,when,v\n", "has a header but no rows: land it again with its rows"),
        ("_row,_landed\n1,2\n", r"'_row' is no column name: .*; '_landed' is no column name: .* Rename these columns"),
    ],
)
def test_a_file_that_makes_no_dataset_gets_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    """DM-02: With what was found and what to do."""
    file = tmp_path / "foreign.csv"
    file.write_text(text)
    with pytest.raises(UnknownName, match=words):
        read_sample(file)
