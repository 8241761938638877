"""What was measured, as data: records of runs, beside what was published, and the tables made from both."""
