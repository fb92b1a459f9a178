"""The rules: one family per file, values and `now` in, values out. No I/O, no clock, and they do not know each
other, but for slots, which reads its lines with crontab.

flow.py         which step is next, and what a run is doing
checkpoint.py   whether an agent's output may be handed on
arbitration.py  which of several values for one field stands
governance.py   whether one value may be written to the CRM
breaker.py      whether an agent may be called
merge.py        what a read of the CRM changes in a record's context
dedupe.py       what has already been said
fanout.py       how many parts sum up to one run
crontab.py      what a cron line says
slots.py        when a cron line is due, and which missed slots still count
"""
