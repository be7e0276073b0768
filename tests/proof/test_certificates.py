"""Certificates of proofs: what they hold is proved again, and any change to them is seen."""

from __future__ import annotations

import json

import pytest
from test_equivalence import KNOWN, NARROW

from accelsim.errors import AccelsimError
from accelsim.proof import certificates
from accelsim.proof.certificates import recheck
from accelsim.proof.equivalence import prove


@pytest.mark.parametrize(
    "how",
    [{**KNOWN, **NARROW}, {**KNOWN, "method": "thresholds"}, {"shift": -7}, {"scale": 0.0055243, **NARROW}],
    ids=["exhaustive", "thresholds", "smt", "scale"],
)
def test_a_certificate_is_confirmed_and_a_forged_one_is_not(tmp_path, how):
    path = tmp_path / "proof.json"
    prove("tflite-double", "tosa-single", **how).save(path)
    again = recheck(path)
    assert again.confirmed, again.problems
    content = json.loads(path.read_text())
    content["result"]["equal"] = True
    content["result"]["visible"] = 0
    path.write_text(json.dumps(content))
    forged = recheck(path)
    assert not forged.confirmed
    assert any(p.startswith("equal:") for p in forged.problems)


FORGERIES = {
    "another multiplier": lambda c: c["a"].update(multiplier=c["a"]["multiplier"] + 2**20),
    "another zero point": lambda c: c["b"].update(zero_point=1),
    "another scheme": lambda c: c["b"].update(scheme="tosa-double"),
    "another definition": lambda c: c["a"].update(definition="rounds to even"),
    "a wider domain": lambda c: c.update(domain=[-(2**17), 2**17]),
    "a count that is none": lambda c: c["result"].pop("differing"),
    "a counterexample less": lambda c: c["result"]["counterexamples"].pop(),
    "a counterexample's code": lambda c: c["result"]["counterexamples"][0].update(code_a=5),
    "another version": lambda c: c["versions"].update(accelsim="9"),
    "other sources": lambda c: c.update(definitions_sha256="0" * 64),
    "a remark": lambda c: c.update(remark="checked"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_any_change_to_a_certificate_is_seen(tmp_path, forgery):
    path = tmp_path / "proof.json"
    prove("tflite-double", "tosa-single", **KNOWN, **NARROW).save(path)
    content = json.loads(path.read_text())
    FORGERIES[forgery](content)
    path.write_text(json.dumps(content))
    assert not recheck(path)
    # with the checksum made anew, what is proved is still proved again
    content["sha256"] = certificates._digest(content)
    path.write_text(json.dumps(content))
    again = recheck(path)
    stated = forgery not in ("another version", "other sources", "a remark")
    assert again.confirmed != stated
    assert bool(again.notes) == (forgery == "other sources")


def test_a_solved_certificate_holds_both_sides(tmp_path):
    path = tmp_path / "proof.json"
    prove("tflite-double", "tosa-double", shift=-7).save(path)
    content = json.loads(path.read_text())
    content["b"]["zero_point"] = 4
    content["sha256"] = certificates._digest(content)
    path.write_text(json.dumps(content))
    assert "b.zero_point: the certificate states 4, this run finds 0" in recheck(path).problems


def test_what_is_no_certificate_is_refused(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(AccelsimError, match="cannot read"):
        recheck(path)
    path.write_text("{")
    with pytest.raises(AccelsimError, match="not JSON"):
        recheck(path)
    path.write_text('{"format": "other"}')
    with pytest.raises(AccelsimError, match="not a certificate"):
        recheck(path)
    path.write_text('{"format": "accelsim-proof-1", "a": {}}')
    with pytest.raises(AccelsimError, match="malformed"):
        recheck(path)
