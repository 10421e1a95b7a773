"""Jobs in, results out: take, decode, infer, decide, reply. Never flask, never the gateway."""
