"""The agent: ships spools to the server by docs/protocol.md. One per node as root, or one per user on a login node.

Needs the standard library only. It trusts nothing that a user can write, keeps nothing that a restart would lose, and
removes a fact only after the server said that it has it.
"""
