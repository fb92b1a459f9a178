"""The sealed audit trail: what Redis holds of it, written to files that cannot be changed unnoticed.

chain.py    what a line is, and how each line vouches for all before it (pure)
folder.py   the files: months, key, lock, the torn end of a killed write, anchors
seal.py     the service that follows the stream
verify.py   the whole chain and the stream recomputed, finding by finding
export.py   entries for other programs, sensitive values masked
"""
