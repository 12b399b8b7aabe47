"""The write-ahead record of accepted work, which outlives the process.

Owns: nothing itself. ``rows`` says what is kept, ``schema`` and ``sqlite`` keep it, ``leases`` says who is alive,
``matching`` decides what a step that is asked gets, ``writer`` is the thread that commits, ``place`` finds the file.
Never kept: prompts, answers, keys. Must not import the engine or the routes.
"""
