"""An example: a broker and a result backend for Stem that keep everything in a NATS stream."""
