"""500 MB in 20,000 files that do not compress."""

import os

for number in range(20_000):
    directory = f"/bulk/{number // 100}"
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/{number}", "wb") as file:
        file.write(os.urandom(25_000))
