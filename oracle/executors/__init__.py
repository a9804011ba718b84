"""Where jobs run. `base` has the words, `local` runs a job as a confined subprocess."""
