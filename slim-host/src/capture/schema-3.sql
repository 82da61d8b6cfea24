-- What version 3 of the capture file adds to version 2, whose statements stay as they are.
PRAGMA user_version = 3;

-- What became of the events that the kernel saw and that were not lost, by the name of the counter. No rows: the capture
-- did not end in order, or nobody counted.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    count INTEGER NOT NULL CHECK (count >= 0)
) STRICT, WITHOUT ROWID;
