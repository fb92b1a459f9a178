"""The starter's config.toml, cut down to the deal review. Comments stay where their lines do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from revops_lite.clean import clean
from revops_lite.errors import RevopsError

WORKFLOW = "deal_review"
SECTION = re.compile(r"\[([^\[\]]+)\]")
RULER = re.compile(r"# -{4}")  # "# ---- the agents ----" between groups of sections
ALWAYS = ("redis", "crm", "notify", "workers", "review", "audit", "governance")
RELATIONS = """\
[crm.relations]                         # which field points at which kind; a workflow's `include` follows them
"deal.hubspot_owner_id" = "owner"
# Once you have imported them (`revops crm import contacts.csv --kind contact --id …`), with the deal's id in deal_id,
# take the # away here and name them in the workflow's `include`, and single_threaded and missing_roles are checked too:
# "contact.deal_id" = "deal"             # include = ["contacts"]
# "activity.deal_id" = "deal"            # include = ["activities"]

"""
SURE_ENOUGH = (
    "confidence = 0.50                       # contacts and activities are missing: it is never surer than 0.75"
)
ENTRY = re.compile(r"^entry = .*$", re.MULTILINE)
LINK = re.compile(r"^link = .*$", re.MULTILINE)
INCLUDE = re.compile(r"^include = \[[^\]]*\]", re.MULTILINE)


def deal_review_only(starter: str, file: str) -> str:
    """`file` is the name of the export, for the comment on top. Raises RevopsError where the starter has no such
    workflow."""
    data = tomllib.loads(starter)
    workflow = data.get("workflows", {}).get(WORKFLOW)
    if workflow is None:
        raise RevopsError(f"the starter's config.toml has no [workflows.{WORKFLOW}]; reinstall revops-lite")
    agents = {step["agent"] for step in workflow["steps"]}
    return "".join(_fitted(name, text, file) for name, text in _blocks(starter) if _is_kept(name, agents))


def _fitted(name: str, text: str, file: str) -> str:
    match name:
        case "":
            made = f"# Made by `revops init --from {clean(file)}`: the deal review alone."
            return text.replace("\n\n", f"\n{made}\n\n", 1)
        case "crm.relations":
            return RELATIONS
        case "workflows.deal_review":
            return INCLUDE.sub('include = ["owner"]', text)
        case "agents.deal_inspection":
            return ENTRY.sub(lambda entry: f"{entry[0]}\n{SURE_ENOUGH}", text)
        case _ if name.startswith("agents."):
            return LINK.sub('# link = "https://…/{id}"                # where a deal is seen in your CRM', text)
        case _:
            return text


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """(name of the section, its text), in order; the head is "", a ruler "----"."""
    name, lines = "", list[str]()
    for line in text.splitlines(keepends=True):
        section = SECTION.match(line)
        if section or RULER.match(line):
            yield name, "".join(lines)
            name, lines = (section[1].strip() if section else "----"), []
        lines.append(line)
    yield name, "".join(lines)


def _is_kept(name: str, agents: set[str]) -> bool:
    parts = name.split(".")
    if parts[0] == "agents":
        return parts[1] in agents
    if parts[0] == "workflows":
        return parts[1] == WORKFLOW
    if parts[:2] == ["governance", "fields"]:
        return parts[2].strip('"').split(".")[0] == "deal"
    return name in ("", "----") or parts[0] in ALWAYS
