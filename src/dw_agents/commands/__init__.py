"""The commands `dw-agents jobs ...`: the journal's steps, and what the service says of them.

Owns: nothing itself. ``arguments`` says what each command takes, ``jobs`` opens what it needs and runs it, ``service``
asks the service, ``tables`` shows steps; the other modules are the commands. Must not be imported by the rest of the
package, but for ``cli``.
"""
