"""A flag that an unset shell variable leaves empty is refused, not taken as its usual value."""

import pytest

from edge_fiqa.cli import main


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["score", "face.png", "--fusion", ""], "fusion ''"),
        (["bench", "--scenario", "offline", "--fusion", ""], "fusion ''"),
        (["gate", "--bundle", "", "40"], "is not a bundle"),
        (["doctor", "--bundle", ""], "is not a bundle"),
        (["score", "face.png", "--bundle", ""], "is not a bundle"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_an_empty_flag_is_refused(words, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.png").touch()
    assert main(words) == 2
    assert says in capsys.readouterr().err
