"""What the page on reasons states of how often they are right."""

from tests.numbers.results import REASONS, assert_stated, each, result, rounded


def percent(*values, digits=0):
    return [rounded(value, digits, times=100) for value in values]


def lowest_and_highest(values, digits=0):
    return percent(min(values), max(values), digits=digits)


def named(depth, *keys, of="own", operators="all"):
    """Shares of the pictures that other people's operators made bad."""
    cells = result("epyc2-causes_syngen")[of][operators][str(depth)]
    return percent(*(cells[key] for key in keys))


def turned(cause, angles, key="reported", exits=range(3, 7)):
    """Shares of the heads that are turned so far, at each exit."""
    rows = result("epyc2-causes_real")["turned heads"]["rows"]
    return [r[angles][key] for r in rows if r["cause"] == cause and r["exit"] in exits]


def correlation(cause):
    rows = result("epyc2-causes_real")["turned heads"]["rows"]
    return [rounded(r["spearman"], 2) for r in rows if (r["cause"], r["exit"]) == (cause, 6)]


def masks(*exits):
    rows = result("epyc2-causes_real")["rows"]
    shares = {r["exit"]: r["first"]["occlusion_lower"] for r in rows if r["set"] == "rmfd"}
    return percent(*(shares[depth] for depth in exits))


def clean_faces_with_a_cause(quality):
    """Clean faces with a cause: at each exit that reports, and at any of them with its interval."""
    nano = result("epyc2-reasons_given")["nano"]
    shares = nano[quality]["with a cause"]
    each_exit = [shares[f"exit {depth}"][0] for depth in nano["reporting"]]
    return [nano[quality]["faces"], each_exit, shares["any exit"]]


def promised():
    faces, each_exit, worst = clean_faces_with_a_cause("quality 67 or more, as promised")
    return [rounded(faces), *lowest_and_highest(each_exit), *percent(*worst, digits=1)]


def quality_50_or_more():
    faces, each_exit, (worst, *_) = clean_faces_with_a_cause("quality 50 or more")
    return [rounded(faces), *lowest_and_highest(each_exit), *percent(worst)]


def few_angles():
    (faces,) = set(turned("yaw", "0.75 to 1.0", key="faces"))
    (share,) = set(turned("yaw", "0.75 to 1.0"))
    between = lowest_and_highest(turned("yaw", "0.5 to 0.75"))
    least = max(turned("yaw", "0.0 to 0.25"))
    return [rounded(share * faces), rounded(faces), *between, *percent(least, digits=1)]


def answered_at_gate_50():
    rows = result("epyc2-reasons_given")["nano"]["rejected"]
    shares = {r["rejected faces"]: r["of those with a cause"][0] for r in rows if r["gate"] == 50}
    return percent(shares["told why"], shares["at once"])


def price():
    """Of telling why, in points of full depth, over gates."""
    rows = result("epyc2-reasons_given")["nano"]["rejected"]
    saved = {(r["gate"], r["rejected faces"]): r["gflops saved"] for r in rows}
    gates = {gate for gate, _ in saved}
    costs = [saved[g, "at once"] - saved[g, "told why"] for g in gates]
    return lowest_and_highest(costs)


CLAIMS = [
    (REASONS, "syngen", "the right cause comes first in # % of the pictures, and first or second in "
     "# %; # % of the reports name", lambda: named(6, "first", "first_two", "reports_right")),
    (REASONS, "two blocks", "After two blocks # % of the reports do",
     lambda: named(2, "reports_right")),
    (REASONS, "four blocks", "after four # %", lambda: named(4, "reports_right")),
    (REASONS, "one block", "(# % with the other limits of that file)",
     lambda: named(1, "reports_right", of="limits of all clean faces")),
    (REASONS, "no cameras", "Without these two operators the right cause comes first in # %, and # % "
     "of the reports are right",
     lambda: named(6, "first", "reports_right", operators="without_turned_cameras")),
    (REASONS, "yaw", "(rank correlation # at full depth", lambda: correlation("yaw")),
    (REASONS, "pitch", "and pitch less well (#)", lambda: correlation("pitch")),
    (REASONS, "angles", "it reports yaw of # of the # faces that are turned by about 30 degrees or "
     "more, of # to # % of those between 20 and 30, and of # % at most", few_angles),
    (REASONS, "up and down", "Pitch is reported of # to # % of the faces that look up or down most",
     lambda: lowest_and_highest(turned("pitch", "0.75 to 1.0"))),
    (REASONS, "masks", "# % are reported as `occlusion_lower` first at full depth, # % after four "
     "blocks, # % after two", lambda: masks(6, 4, 2)),
    (REASONS, "promised", "Of # clean test faces of quality 67 or more, for which at most 5 % are "
     "promised, # to # % get a cause at each exit from 2 on, and # % [#, #] if", promised),
    (REASONS, "good", "Of # of quality 50 or more it is # to # %, and # % at the worst exit",
     quality_50_or_more),
    (REASONS, "rejected", "# % of what gate 50 rejects get a reason instead of # %",
     answered_at_gate_50),
    (REASONS, "price", "with nano it costs # to # % of full depth", price),
]  # fmt: skip


@each(CLAIMS)
def test_a_number_is_that_of_its_file(page, claim, numbers):
    assert_stated(page, claim, numbers)
