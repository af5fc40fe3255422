"""Load jobs: `job` is one, `board` all of them, `driver` sends their batches; `expansion` lists what they mean."""
