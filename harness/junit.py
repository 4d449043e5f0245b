"""JUnit XML of a judged run: one suite for each candidate, one case for each policy rule.

FAIL and INCONCLUSIVE are `<failure>` (types `fail` and `inconclusive`: neither may turn a pipeline green),
ERROR is `<error>`. Without verdicts there is one skipped case: several CI servers refuse a file without any
case, and a skipped case is not read as a pass. Only what Jenkins, GitLab and the common GitHub actions all
read is written.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from .evidence import RuleVerdict
from .types import Verdict

# Everything outside the Char production of XML 1.0 (https://www.w3.org/TR/xml/#charsets).
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(verdicts: Sequence[RuleVerdict], name: str) -> bytes:
    """Render verdicts as a UTF-8 JUnit document; characters that XML cannot hold become U+FFFD.

    Args:
        verdicts: in any order; empty when no policy was given.
        name: of the whole document, e.g. that of the experiment.
    """
    root = ET.Element("testsuites", name=_clean(name))
    for candidate in dict.fromkeys(verdict.candidate for verdict in verdicts):
        suite = ET.SubElement(root, "testsuite", name=_clean(candidate))
        for verdict in verdicts:
            if verdict.candidate == candidate:
                _add_case(suite, verdict, name)
    if not verdicts:
        suite = ET.SubElement(root, "testsuite", name=_clean(name))
        case = ET.SubElement(suite, "testcase", name="policy", classname=_clean(name), time="0")
        ET.SubElement(case, "skipped", message="no policy was given: nothing was judged")
    for element in (root, *root):
        _count(element)
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_case(suite: ET.Element, verdict: RuleVerdict, name: str) -> None:
    classname = _clean(f"{name}.{verdict.candidate}")
    case = ET.SubElement(suite, "testcase", name=_clean(verdict.rule), classname=classname, time="0")
    reason = _clean(verdict.reason)
    match verdict.verdict:
        case Verdict.PASS:
            ET.SubElement(case, "system-out").text = reason
        case Verdict.ERROR:
            ET.SubElement(case, "error", type="error", message=reason).text = reason
        case Verdict.FAIL | Verdict.INCONCLUSIVE:
            kind = verdict.verdict.value.lower()
            ET.SubElement(case, "failure", type=kind, message=reason).text = reason


def _count(element: ET.Element) -> None:
    counted = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counted.items():
        element.set(attribute, str(len(list(element.iter(tag)))))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
