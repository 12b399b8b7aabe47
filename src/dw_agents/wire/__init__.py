"""The only code that speaks HTTP."""

import msgspec

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for a text that is not what it should be, however it is broken."""
