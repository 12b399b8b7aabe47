"""What the adapters of all frameworks have in common.

Owns: nothing itself; its modules turn calls into steps that the service carries, and wait for them. The engine, the
routes and the wire must not import from here, and nothing here knows a framework.
"""
