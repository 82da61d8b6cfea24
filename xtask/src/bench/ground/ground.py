"""Files for the benchmark: 300 modules and a program that imports them, 100,000 empty files, scripts that time their parts.

A script says in its last line how many microseconds each part of its work took.
"""

import os
import subprocess

IMPORT = """
import importlib, sys, time
sys.path.insert(0, '/modules')
last = time.perf_counter_ns()
for number in range(300):
    importlib.import_module(f'm{number:03}')
    if number % 10 == 9:
        now = time.perf_counter_ns()
        print((now - last) // 1000, end=' ')
        last = now
"""

PARTS = """
set -e
# part COMMAND...: runs it, and notes how long it took.
part() {
    local begun=${EPOCHREALTIME/./}
    "$@" >/dev/null
    parts="$parts $((${EPOCHREALTIME/./} - begun))"
}
"""

# Twice: for a tracer, what the second loads is known. What the imports do not take is a part of its own.
PYTHON = """
set -e
for run in 1 2; do
    begun=${EPOCHREALTIME/./}
    inner=$(python3 -B /import.py)
    rest=$((${EPOCHREALTIME/./} - begun))
    for one in $inner; do rest=$((rest - one)); done
    parts="$parts $rest $inner"
done
echo $parts
"""

FIND = """
walk() { find /usr/lib /usr/share -xdev | head -6000; }
look() { xargs stat <"$1"; }
part walk
for names in /names/*; do part look "$names"; done
echo $parts
"""

# storm PARTS
STORM = """
ten() { for i in 0 1 2 3 4 5 6 7 8 9; do /bin/true; done; }
for ((run = 0; run < $1; run++)); do part ten; done
echo $parts
"""


def write(name, text):
    with open(name, "w") as file:
        file.write(text)


os.mkdir("/modules")
for number in range(300):
    write(f"/modules/m{number:03}.py", "x = 1\n")
write("/import.py", IMPORT)
write("/python.sh", PYTHON)
write("/find.sh", PARTS + FIND)
write("/storm.sh", PARTS + STORM)
os.mkdir("/names")
subprocess.run("find /usr/lib /usr/share -xdev | head -6000 | split -l 1000 - /names/", shell=True, check=True)
os.mkdir("/distinct")
for number in range(100_000):
    write(f"/distinct/{number:04}", "")
