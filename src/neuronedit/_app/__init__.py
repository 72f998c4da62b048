"""The page of ``neuronedit app``: a local server that runs the command line, one verb a process. Nothing else imports it."""
