from installation import until

ENRICH = """
from pydantic import BaseModel, Field
from revops_lite import Proposal, Snapshot, agent

class Firmographics(BaseModel):
    numberofemployees: int = Field(ge=1)

@agent(writes=Firmographics)
def enrich(lead: Snapshot) -> Proposal:
    return Proposal(Firmographics(numberofemployees=10), because="known")
"""


def test_smoke(site):
    site.configure({"enrichment": "enrich"}, {"new_lead": ["enrichment"]})
    site.agent("enrichment", ENRICH)
    site.crm("lead", {"lead-1": {"email": "a@b.example"}})
    with site.up() as up:
        until(lambda: site.settled() == {"finished": 1})
        print(up.hosts(), up.server(), site.processes())
        assert site.crm_record("lead:lead-1")["numberofemployees"] == 10
    assert site.processes() == []
