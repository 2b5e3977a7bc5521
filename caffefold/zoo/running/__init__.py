"""The run of a plan: engines and workers, the journal, the lock, the commit of results."""
