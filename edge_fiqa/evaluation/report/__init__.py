"""`edge-fiqa evaluate`: a plan becomes scores and embeddings, those become curves and a report."""
