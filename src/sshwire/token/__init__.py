"""What OpenSSH's token programs speak: one private protocol each, over a stream to a child process.

Both keep code that talks to hardware out of the process that holds keys. They are not standards:
the messages are those of OpenSSH 8.6 and later, and a version that differs is told apart here.
"""
