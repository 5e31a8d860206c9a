"""The producer: tasks and their calls, the one publish pipeline, the client.

`client.Stem` is the front; `pipeline` turns a call into a message and a message back into an
envelope; `lane` carries messages to a broker, one lane per event loop and process.
"""
