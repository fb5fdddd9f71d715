"""What a scheduler does about each exit code, by which the schedules of conf/schedules are tested."""

DONE = 0
# Another run of the space is active.
BUSY = 4
# The cap of a run is reached: nothing is wrong, and the next start goes on.
CAPPED = 8
# The same command may succeed: unexpected errors, signals.
REPEATED = (1, 130, 143)
# Somebody has to look.
LOOKED_AT = (2, 3, 5, 6, 7)
# Of `plan --detailed-exitcode` alone.
WORK_TO_DO = 10
EVERY = tuple(sorted((DONE, BUSY, CAPPED, *REPEATED, *LOOKED_AT)))
