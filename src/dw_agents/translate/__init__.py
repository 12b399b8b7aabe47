"""Calls of the OpenAI API in terms of steps, and steps' answers in terms of the OpenAI API.

Owns: nothing itself; its modules say how a call travels, turn chat requests into ``/responses`` bodies and the answers
back, and write finished answers as event streams. Pure: nothing here does I/O, imports ``openai`` or knows whether a
client or a proxy asks.
"""
