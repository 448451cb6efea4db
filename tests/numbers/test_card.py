"""What the models' card states of who passes the gate."""

import pytest

from tests.numbers.results import CARD, MEASURED, assert_stated, each, result, rounded


def of_group(by, group, source="more/utkface", gate=0):
    """What nano's fairness result says of a group at the gate that 95 % of portraits pass, or 75 %."""
    run = result("epyc2-fairness-nano")
    assert run["gates"] == [47, 68]
    (row,) = [
        row for row in run["groups"]
        if (row["by"], row["group"], row["source"]) == (by, group, source)
    ]  # fmt: skip
    return row["gates"][str(run["gates"][gate])]


def passing(*groups, gate=0):
    return [rounded(of_group(*group, gate=gate)["accepted"][0], 1, 100) for group in groups]


def passing_first_and_range(by, first):
    """Of one group, then the lowest and the highest of all others, all at gate 47."""
    rows = result("epyc2-fairness-nano")["groups"]
    others = [r["group"] for r in rows if r["by"] == by and r["source"] == "more/utkface"]
    others.remove(first)
    rates = [of_group(by, group)["accepted"][0] for group in others]
    return [*passing((by, first)), rounded(min(rates), 1, 100), rounded(max(rates), 1, 100)]


WOMEN, MEN = ("sex", "female"), ("sex", "male")


def tones_of_celeba(field):
    """Of tan to dark and of light persons of CelebA at full size."""
    rows = {
        row["group"]: row
        for row in result("epyc2-fairness-nano")["recognition"]
        if row["source"] == "celeba5" and row["recogniser"] == "mobilefacenet_casia_112x96"
    }
    return [rounded(rows[tone][field][0], 1, 100) for tone in ("tan to dark", "light")]


def with_ends(*tones):
    """Of (tone, test list), by the tone of the face: share that passes gate 47, and its interval."""
    rows = [of_group("skin tone", tone, source)["accepted"] for tone, source in tones]
    return [rounded(value, 1, 100) for row in rows for value in row]


def sources_above_the_promise():
    """At gate 68, of the sources that have rates; then the only one whose interval is above 1 %."""
    rows = [r for r in result("epyc2-fairness-nano")["groups"] if r["by"] == "source"]
    assert max(r["gates"]["47"]["false_exits"][0] for r in rows if "gates" in r) <= 0.01
    rates = {r["source"]: r["gates"]["68"]["false_exits"] for r in rows if "gates" in r}
    (clearly,) = [source for source, (_, low, _) in rates.items() if low > 0.01]
    assert clearly == "more/aflw"
    above = sum(rate > 0.01 for rate, _, _ in rates.values())
    return [str(above), str(len(rates)), *(rounded(v, 1, 100) for v in rates[clearly])]


def faces_without_tone():
    rows = [r for r in result("epyc2-fairness-nano")["groups"] if r["source"] == "more/utkface"]
    (every,) = [row["faces"] for row in rows if row["by"] == "source"]
    return [
        rounded(every - sum(row["faces"] for row in rows if row["by"] == "skin tone")),
        rounded(every),
    ]


def unknown_actors():
    """And the card names every source whose persons nobody names."""
    rows = [r for r in result("epyc2-fairness-nano")["groups"] if r["by"] == "source"]
    unknown = {r["source"].removeprefix("more/"): r["faces_of_unknown_persons"] for r in rows}
    nobody = {r["source"].removeprefix("more/") for r in rows if r["persons"] is None}
    assert nobody == {"utkface", "aflw", "facemask", "indianceleb", "mtflnet", "rmfd"}
    assert {source for source, faces in unknown.items() if faces} == nobody | {"indianactors"}
    return [rounded(unknown["indianactors"])]


def fnmr_to_reach():
    """Of both recognisers: the mean over the lists in colour."""
    reached = []
    for network in ("mobilefacenet_casia_112x96", "mobileface_id_v2"):
        rows = [
            row
            for row in result("epyc2-fairness-nano")["recognition"]
            if (row["recogniser"], row["by"]) == (network, "source")
        ]
        lists = [row["fnmr_accepted"][0] for row in rows if row["source"] != "orl"]
        assert len(lists) == 3
        assert sum(lists) / 3 == pytest.approx(rows[0]["fnmr_to_reach"], abs=2e-5)
        reached.append(rounded(rows[0]["fnmr_to_reach"], 1, 100))
    return reached


def false_exits():
    return [
        rounded(of_group(*sex, gate=gate)["false_exits"][0], 2, 100)
        for gate in (0, 1)
        for sex in (WOMEN, MEN)
    ]


def depths_at_the_gate():
    return [rounded(of_group(*sex)["mean_depth"], 1) for sex in (WOMEN, MEN)]


def masks():
    return passing(*(("source", f"more/{name}", f"more/{name}") for name in ("rmfd", "facemask")))


CLAIMS = [
    (MEASURED, "women", "# % of the women and # % of the men pass the gate that",
     lambda: passing(WOMEN, MEN)),
    (CARD, "women", "# % of the women and # % of the men pass gate 47, and # and # % gate 68",
     lambda: passing(WOMEN, MEN) + passing(WOMEN, MEN, gate=1)),
    (CARD, "children",
     "# % of those below 3 years pass gate 47, # % of those from 3 to 12, # % from 40",
     lambda: passing(("age", "0-2"), ("age", "3-12"), ("age", "40-59"))),
    (CARD, "race", "# % pass gate 47, of the other labels # to # %",
     lambda: passing_first_and_range("race", "Asian")),
    (CARD, "tone", "# % pass gate 47, of the other tones # to # %",
     lambda: passing_first_and_range("skin tone", "dark")),
    (CARD, "faces of CelebA at full size",
     "# % [#, #] of the brown to dark faces pass gate 47, # % of the tan, # % [#, #] of the light",
     lambda: with_ends(("brown to dark", "celeba5")) + passing(("skin tone", "tan", "celeba5"))
     + with_ends(("light", "celeba5"))),
    (CARD, "faces of CelebA at half size",
     "# % [#, #] of the tan to dark faces pass, # % [#, #] of the light",
     lambda: with_ends(("tan to dark", "celeba10k"), ("light", "celeba10k"))),
    (CARD, "persons of CelebA", "# % of tan to dark pass in `celeba5`, # % of light",
     lambda: tones_of_celeba("accepted")),
    (CARD, "the promise", "# of # sources here are above 1 % at gate 68, one of them clearly: "
     "`more/aflw`, # % [#, #]", sources_above_the_promise),
    (CARD, "no tone", "# of the # faces of UTKFace have no tone", faces_without_tone),
    (CARD, "unknown persons", "and # faces of `indianactors`", unknown_actors),
    (CARD, "FNMR to reach", "the FNMR to reach (# %) is a mean of three lists, and the CelebA lists "
     "push it up (for the other recogniser it is # %", fnmr_to_reach),
    (CARD, "errors", "# % of the pairs fail against # %", lambda: tones_of_celeba("fnmr_accepted")),
    (CARD, "false exits", "# % of the women's decisions are others than at full depth, and # % of "
     "the men's; at gate 68 # and # %",
     false_exits),
    (CARD, "depths", "women go through # blocks on average, men through #", depths_at_the_gate),
    (CARD, "masks", "# % of `more/rmfd` (real masks) pass gate 47, and # % of `more/facemask`", masks),
    (CARD, "ORL", "ORL are refused**: # % pass gate 47",
     lambda: passing(("source", "orl", "orl"))),
]  # fmt: skip


@each(CLAIMS)
def test_a_number_is_that_of_its_file(page, claim, numbers):
    assert_stated(page, claim, numbers)
